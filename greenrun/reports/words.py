"""Figures as people read them on the page of a report: a unit that fits, and `unknown` where nothing is known."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, time, timedelta
from html import escape
from typing import Any

UNKNOWN = "unknown"


def energy(kwh: float | None) -> str:
    """Return kWh for people: Wh, kWh or MWh."""
    if kwh is None:
        return UNKNOWN
    size = abs(kwh)
    return signed(
        f"{kwh / 1000:.4g} MWh" if size >= 1000 else f"{kwh:.3g} kWh" if size >= 1 else f"{kwh * 1000:.3g} Wh"
    )


def grams(value: float | None) -> str:
    """Return grams of CO2e for people: g, kg or t."""
    if value is None:
        return UNKNOWN
    if abs(value) >= 1e6:
        return signed(f"{value / 1e6:.3g} t")
    return signed(f"{_plain(value / 1000)} kg" if abs(value) >= 1000 else f"{_plain(value)} g")


def sum_of(values: Iterable[float | None]) -> float | None:
    """Sum what is known; None where there is something and nothing of it is known."""
    told = list(values)
    known = [value for value in told if value is not None]
    return sum(known) if known or not told else None


def intensity(value: float | None) -> str:
    """Return g/kWh for people."""
    return UNKNOWN if value is None else f"{value:.0f} g/kWh"


def money(row: Mapping[str, Any]) -> str:
    """Return a cost with its currency; empty where none is known."""
    return "" if row.get("cost") is None else f"{amount(row['cost'])} {row.get('currency') or ''}".rstrip()


def amount(value: float | None) -> str:
    """Return an amount of money: to the cent, and of less than ten of them what there is."""
    if value is None:
        return UNKNOWN
    return signed(f"{value:,.2f}" if abs(value) >= 0.1 or not value else f"{value:.2g}")


def per_work(row: Mapping[str, Any]) -> str:
    """Return the energy that each unit of work took; empty where that is not known."""
    each_j = row.get("energy_per_work_j")
    if each_j is None:
        return ""
    told = f"{each_j / 1000:.3g} kJ" if each_j >= 1000 else f"{each_j:.3g} J"
    return f"{told}/{row.get('work_unit') or 'unit'}"


def percent(ratio: float | None) -> str:
    """Return a ratio as percent."""
    return UNKNOWN if ratio is None else signed(f"{100 * ratio:.4g} %")


def points(value: float | None) -> str:
    """Return percent as they are; nothing where they are not known."""
    return "" if value is None else f"{value:.2g} %"


def width(value: float | None) -> str:
    """Return a half-width in percent."""
    return "uncertainty unknown" if value is None else f"± {value:.2g} %"


def span(start: str, end: str) -> str:
    """Return a period, which may be a whole month; of whole days, only their dates."""
    since, until = datetime.fromisoformat(start), datetime.fromisoformat(end)
    is_month = (since.day, (since + timedelta(days=32)).replace(day=1)) == (1, until)
    is_month = is_month and since.time() == time()
    return f"{since:%B %Y}" if is_month else f"{instant(start)} to {instant(end)}"


def instant(text: str) -> str:
    """Return an instant to the minute, or the date alone where it is the beginning of one."""
    day, time = text[:10], text[11:16]
    return day if time == "00:00" else f"{day} {time} UTC"


def signed(text: str) -> str:
    """Return a number with a minus that is as wide as its digits, and does not break from them."""
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[Sequence[str]] = (), *, caption: str
) -> str:
    """Return a table as HTML, its first column the heads of its rows; `caption` is for those who hear it."""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    body = "".join(_line(row) for row in rows)
    end = f"<tfoot>{''.join(_line(row) for row in foot)}</tfoot>" if foot else ""
    said = f"<caption>{escape(caption)}</caption>"
    inner = f"<table>{said}<thead><tr>{top}</tr></thead><tbody>{body}</tbody>{end}</table>"
    return f'<div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0">{inner}</div>'


def listed(notes: Sequence[str]) -> str:
    """Return notes as an HTML list."""
    lines = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<ul>{lines}</ul>" if notes else "<p>Nothing to remark.</p>"


def _line(cells: Sequence[str]) -> str:
    first, *rest = (escape(cell) for cell in cells)
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'


def _plain(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"

"""Figures as people read them on the page of a report: a unit that fits, and `unknown` where nothing is known."""

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta

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


def money(cost: float | None, currency: str | None) -> str:
    """Return a cost with its currency; empty where none is known."""
    return "" if cost is None else f"{amount(cost)} {currency or ''}".rstrip()


def amount(value: float | None) -> str:
    """Return an amount of money: to the cent, and of less than ten of them what there is."""
    if value is None:
        return UNKNOWN
    return signed(f"{value:,.2f}" if abs(value) >= 0.1 or not value else f"{value:.2g}")


def per_work(each_j: float | None, unit: str | None) -> str:
    """Return the energy that each unit of work took; empty where that is not known."""
    if each_j is None:
        return ""
    told = f"{each_j / 1000:.3g} kJ" if each_j >= 1000 else f"{each_j:.3g} J"
    return f"{told}/{unit or 'unit'}"


def percent(ratio: float | None) -> str:
    """Return a ratio as percent."""
    return UNKNOWN if ratio is None else signed(f"{100 * ratio:.4g} %")


def points(value: float | None) -> str:
    """Return percent as they are; nothing where they are not known."""
    return "" if value is None else f"{value:.2g} %"


def width(value: float | None) -> str:
    """Return a half-width in percent."""
    return "uncertainty unknown" if value is None else f"± {value:.2g} %"


def span(start: datetime, end: datetime) -> str:
    """Return a period, which may be a whole month; of whole days, only their dates."""
    is_month = start.day == 1 and start.time() == time() and end == (start + timedelta(days=32)).replace(day=1)
    return f"{start:%B %Y}" if is_month else f"{instant(start)} to {instant(end)}"


def instant(at: datetime) -> str:
    """Return an instant to the minute, or the date alone where it is the beginning of one."""
    return minute(at.astimezone(UTC).isoformat())


def minute(text: str) -> str:
    """Return the same of an instant in ISO 8601, which an earlier report may tell otherwise."""
    day, time = text[:10], text[11:16]
    return day if time == "00:00" else f"{day} {time} UTC"


def signed(text: str) -> str:
    """Return a number with a minus that is as wide as its digits, and does not break from them."""
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def _plain(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"

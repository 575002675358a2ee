"""A report as one HTML file that needs nothing else: no script, no network; it prints on paper as it shows."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from greenrun.reports import charts
from greenrun.reports.pagestyle import STYLE

Row = Mapping[str, Any]

_MOST_BARS = 12
_MOST_ROWS = 500
_UNKNOWN = "unknown"


def as_html(report: Row) -> str:
    """Return the page; every text that comes from a job or a source is escaped."""
    title = f"Energy and emissions {_span(report)}"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
            *_body(report),
            "</main></body></html>\n",
        ]
    )


def energy(kwh: float | None) -> str:
    """Return kWh for people: Wh, kWh or MWh."""
    if kwh is None:
        return _UNKNOWN
    size = abs(kwh)
    return f"{kwh / 1000:.4g} MWh" if size >= 1000 else f"{kwh:.3g} kWh" if size >= 1 else f"{kwh * 1000:.3g} Wh"


def grams(value: float | None) -> str:
    """Return grams of CO2e for people: g, kg or t."""
    if value is None:
        return _UNKNOWN
    size = abs(value)
    return (
        f"{value / 1e6:.3g} t"
        if size >= 1e6
        else f"{_plain(value / 1000)} kg"
        if size >= 1000
        else f"{_plain(value)} g"
    )


def _body(report: Row) -> Iterator[str]:
    total = report["total"]
    made = f"greenrun {report['greenrun_version']}, {_instant(report['generated_at'])}"
    zone = f"zone {report['zone']} · " if report["zone"] else ""
    yield f"<header><h1>Energy and emissions</h1><p>{escape(_span(report))} · {escape(zone)}{escape(made)}</p></header>"
    yield from _section("Summary", _summary(report))
    if report["days"]:
        yield from _section("By day", _days(report["days"]))
    yield from _section(f"By {report['by']}", _groups(report))
    yield from _section("Runs that came to nothing", _waste(report))
    yield from _section("Forecast against settled", _forecast(report["forecast_against_settled"]))
    yield from _section("Avoided emissions (not part of the inventory)", _avoided(total), kind="apart")
    yield from _section("Carbon intensity", _series(report["series"]))
    yield from _section("Data quality", _list(note["note"] for note in report["data_quality"]))
    yield from _section("Method", _list(report["method"]))
    yield from _section("Limits", _list(report["limits"]))
    if report["attribution"]:
        yield from _section("Sources", _list(report["attribution"]))


def _section(heading: str, body: Iterator[str], kind: str = "") -> Iterator[str]:
    yield f'<section class="{kind}"><h2>{escape(heading)}</h2>'
    yield from body
    yield "</section>"


def _summary(report: Row) -> Iterator[str]:
    total, free = report["total"], report["unattributed"]
    cards = (
        ("Emissions, location-based", grams(total["emissions_location_g"]), _width(total["emissions_uncertainty_pct"])),
        ("Energy of the devices", energy(total["it_energy_kwh"]), _width(total["energy_uncertainty_pct"])),
        ("With the facility (PUE)", energy(total["facility_energy_kwh"]), _pue(total["pue"])),
        ("Mean intensity", _intensity(total["ci_avg_g_per_kwh"]), _range(total)),
        ("Jobs", f"{total['jobs']}", f"{total['failed_jobs']} failed, {total['runs']} runs"),
        ("Held by no run", energy(free["it_energy_kwh"]), grams(free["emissions_location_g"])),
        ("Energy known for", _percent(total["coverage_ratio"]), "of the devices' time"),
        ("Settled", _percent(total["settled_ratio"]), "of the priced energy"),
    )
    yield '<div class="cards">'
    for name, value, note in cards:
        yield f"<div><p>{escape(name)}</p><strong>{escape(value)}</strong><small>{escape(note)}</small></div>"
    yield "</div>"
    for note in report["data_quality"]:
        if note["field"] == "emulated":
            yield f'<p class="warn">{escape(note["note"])}</p>'
    if not total["complete"]:
        yield '<p class="warn">Not everything is known: these sums are of what is. See “Data quality”.</p>'


def _days(days: Sequence[Row]) -> Iterator[str]:
    power = [_day(row, "attributed_energy_kwh", "it_energy_kwh", energy, 1.0) for row in days]
    carbon = [_day(row, "attributed_emissions_g", "emissions_location_g", grams, 1000.0) for row in days]
    yield '<p class="legend"><i class="p0"></i> held by runs <i class="p1"></i> held by none</p>'
    yield f"<h3>Energy</h3>{charts.over_days(power, 'kWh', 'Energy of each day')}"
    yield f"<h3>Emissions</h3>{charts.over_days(carbon, 'kg CO2e', 'Emissions of each day')}"


def _day(row: Row, held: str, whole: str, words: Any, per: float) -> charts.Bar:
    mine, total = row[held], row[whole]
    free = None if total is None else max(total - (mine or 0.0), 0.0) / per
    label = str(row["day"])[5:]
    told = f"{row['day']}: {words(total)}, of it {words(mine or 0.0)} held by runs"
    return charts.Bar(label=label, parts=(None if total is None else (mine or 0.0) / per, free), told=told)


def _groups(report: Row) -> Iterator[str]:
    rows = report["rows"]
    if not rows:
        yield "<p>No run held a device in this period.</p>"
        return
    largest = sorted(rows, key=lambda row: -(row["emissions_location_g"] or 0.0))[:_MOST_BARS]
    bars = [
        charts.Bar(
            label=_name(row), parts=(row["emissions_location_g"],), told=grams(row["emissions_location_g"]) + " CO2e"
        )
        for row in largest
    ]
    yield charts.by_group(bars, f"Emissions by {report['by']}")
    heads = (report["by"], "jobs", "energy", "CO2e", "±", "g/kWh", "covered", "settled")
    lines = [_cells(row) for row in rows[:_MOST_ROWS]]
    yield _table(heads, lines, foot=[_cells(report["unattributed"]), _cells(report["total"])])
    if len(rows) > _MOST_ROWS:
        yield f"<p>{len(rows) - _MOST_ROWS} more rows are in the CSV and JSON forms.</p>"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        _name(row),
        str(row.get("jobs", "")),
        energy(row["it_energy_kwh"]),
        grams(row["emissions_location_g"]),
        _percent_points(row["emissions_uncertainty_pct"]),
        "" if row["ci_avg_g_per_kwh"] is None else f"{row['ci_avg_g_per_kwh']:.0f}",
        _percent(row["coverage_ratio"]),
        _percent(row["settled_ratio"]),
    )


def _waste(report: Row) -> Iterator[str]:
    wasted = [row for row in report["waste"] if row["is_waste"]]
    runs, kwh = sum(row["runs"] for row in wasted), sum(row["it_energy_kwh"] or 0.0 for row in wasted)
    yield f"<p>Runs that failed, timed out or were lost: {runs}. They used {energy(kwh)}, a part of the above.</p>"
    lines = [
        (_words(row["outcome"]), str(row["runs"]), energy(row["it_energy_kwh"]), grams(row["emissions_location_g"]))
        for row in report["waste"]
    ]
    yield _table(("how runs ended", "runs", "energy", "CO2e"), lines)


def _forecast(row: Row) -> Iterator[str]:
    if row["booked_g"] is None:
        yield "<p>Nothing was booked by a forecast and settled since.</p>"
        return
    error = _percent_points(row["mean_absolute_error_pct"])
    yield (
        f"<p>Of {energy(row['energy_kwh'])} that was booked by a forecast and settled since, the forecast said "
        f"{grams(row['booked_g'])} and the measured intensity {grams(row['settled_g'])}: {grams(row['difference_g'])} "
        f"of difference. Hour by hour they differ by {error} in the mean.</p>"
    )


def _avoided(total: Row) -> Iterator[str]:
    if total["avoided_g"] is None:
        why = total["avoided_missing"] or "no run ended in this period"
        yield f"<p>Nothing can be compared: {escape(why)}.</p>"
        return
    off = total["avoided_uncertainty_g"]
    yield _table(
        ("", "CO2e"),
        [
            ("each run started as soon as possible", grams(total["baseline_emissions_g"])),
            ("the same runs as they were", grams(total["compared_emissions_g"])),
            ("avoided", grams(total["avoided_g"]) + (f" ± {grams(off)}" if off else "")),
        ],
    )
    yield f"<p>{total['avoided_runs']} of {total['runs']} runs are compared. "
    yield f"The others: {escape(total['avoided_missing'])}.</p>" if total["avoided_missing"] else "</p>"


def _series(rows: Sequence[Row]) -> Iterator[str]:
    lines = [
        (
            f"{row['provider']} · {row['zone']}",
            " · ".join(str(part) for part in (row["signal"], row["accounting"], row["basis"]) if part),
            energy(row["booked_kwh"]),
            grams(row["emissions_booked_g"]),
            energy(row["settled_kwh"]),
            grams(row["emissions_settled_g"]),
        )
        for row in rows
    ]
    if not lines:
        yield "<p>No intensity was known.</p>"
        return
    yield _table(("source", "what it tells", "booked", "CO2e", "settled", "CO2e"), lines)


def _list(notes: Iterator[str] | Sequence[str]) -> Iterator[str]:
    lines = [f"<li>{escape(note)}</li>" for note in notes]
    yield f"<ul>{''.join(lines)}</ul>" if lines else "<p>Nothing to remark.</p>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], foot: Sequence[Sequence[str]] = ()) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    end = f"<tfoot>{''.join(line(row, 'td') for row in foot)}</tfoot>" if foot else ""
    return f"<table><thead>{line(heads, 'th')}</thead><tbody>{body}</tbody>{end}</table>"


def _span(report: Row) -> str:
    return f"{_instant(report['from'])} to {_instant(report['to'])}"


def _instant(text: str) -> str:
    day, time = text[:10], text[11:16]
    return day if time == "00:00" else f"{day} {time} UTC"


def _name(row: Row) -> str:
    name = f"{row['group']} · {row['job_name']}" if "job_name" in row else str(row["group"])
    return {"unattributed": "held by no run"}.get(name, name)


def _words(code: str) -> str:
    return code.replace("_", " ")


def _plain(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _intensity(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.0f} g/kWh"


def _range(row: Row) -> str:
    low, high = row["ci_min_g_per_kwh"], row["ci_max_g_per_kwh"]
    return "" if low is None or high is None else f"from {low:.0f} to {high:.0f}"


def _pue(value: float | None) -> str:
    return "" if value is None else f"PUE {value:.3g}"


def _percent(ratio: float | None) -> str:
    return _UNKNOWN if ratio is None else f"{100 * ratio:.4g} %"


def _percent_points(value: float | None) -> str:
    return "" if value is None else f"{value:.2g} %"


def _width(value: float | None) -> str:
    return "uncertainty unknown" if value is None else f"± {value:.2g} %"

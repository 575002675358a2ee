"""A report as one HTML file that needs nothing else: no script, no network; it prints on paper as it shows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from greenrun.reports import charts, sections
from greenrun.reports.pagestyle import STYLE
from greenrun.reports.words import energy, grams, instant, intensity, listed, money, percent, points, span, table, width

Row = Mapping[str, Any]

_MOST_BARS = 12
_MOST_ROWS = 500


def as_html(report: Row) -> str:
    """Return the page; every text that comes from a job or a source is escaped."""
    title = f"Energy and emissions {span(report['from'], report['to'])}"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>",
            *_body(report),
            "</main></body></html>\n",
        ]
    )


def _body(report: Row) -> Iterator[str]:
    yield _header(report)
    yield from _section("Summary", _summary(report))
    if report["days"]:
        yield from _section("By day", _days(report["days"]))
    yield from _section(f"By {report['by']}", _groups(report))
    yield from _section("Runs that came to nothing", sections.waste(report))
    if work := list(sections.work(report)):
        yield from _section("What the energy was for", work)
    if beside := sections.bases(report["total"]):
        lines = [table(("", "of the whole period", ""), beside, caption="Cost and other bases")]
        yield from _section("Beside these emissions", lines)
    yield from _section("Forecast against settled", sections.forecast(report["forecast_against_settled"]))
    if "moved" in report:
        yield from _section("What moved since the earlier report", sections.movement(report))
    heading = "Avoided emissions (not part of the inventory)"
    yield from _section(heading, sections.avoided(report["total"]), kind="apart")
    yield from _section("Carbon intensity", sections.series(report["series"]))
    notes = listed([note["note"] for note in report["data_quality"]])
    yield from _section("Data quality", [*sections.quality(report), notes])
    yield from _section("Method", [listed(report["method"])])
    yield from _section("Limits", [listed(report["limits"])])
    if report["attribution"]:
        yield from _section("Sources", [listed(report["attribution"])])


def _header(report: Row) -> str:
    place = "".join(f"{text} · " for text in (report.get("site"), report.get("host")) if text)
    zone = place + (f"zone {report['zone']} · " if report["zone"] else "")
    made = f"greenrun {report['greenrun_version']}, made {instant(report['generated_at'])}"
    when = span(report["from"], report["to"])
    return f"<header><h1>Energy and emissions</h1><p>{escape(f'{when} (UTC) · {zone}{made}')}</p></header>"


def _section(heading: str, body: Iterable[str], kind: str = "") -> Iterator[str]:
    yield f'<section class="{kind}"><h2>{escape(heading)}</h2>' if kind else f"<section><h2>{escape(heading)}</h2>"
    yield from body
    yield "</section>"


def _summary(report: Row) -> Iterator[str]:
    total, free = report["total"], report["unattributed"]
    cards = (
        ("CO2e, location-based", grams(total["emissions_location_g"]), width(total["emissions_uncertainty_pct"])),
        ("Energy of the devices", energy(total["it_energy_kwh"]), width(total["energy_uncertainty_pct"])),
        ("With the facility (PUE)", energy(total["facility_energy_kwh"]), _pue(total["pue"])),
        ("Mean intensity", intensity(total["ci_avg_g_per_kwh"]), _range(total)),
        ("Jobs", f"{total['jobs']}", f"{total['failed_jobs']} failed, {total['runs']} runs"),
        ("Held by no run", energy(free["it_energy_kwh"]), f"{grams(free['emissions_location_g'])} CO2e"),
        ("Energy known for", percent(total["coverage_ratio"]), "of the devices' time"),
        ("Settled", percent(total["settled_ratio"]), "of the priced energy"),
    )
    yield '<div class="cards">'
    for name, value, note in cards:
        yield f"<div><p>{escape(name)}</p><strong>{escape(value)}</strong><small>{escape(note)}</small></div>"
    yield "</div>"
    if report.get("preliminary"):
        yield '<p class="warn">This report is preliminary: not all of it is settled, so figures can change.</p>'
    if report.get("moved"):
        yield "<p>An earlier report of this period said otherwise: see “What moved since the earlier report”.</p>"
    for note in report["data_quality"]:
        if note["field"] == "emulated":
            yield f'<p class="warn">{escape(note["note"])}</p>'
    if not total["complete"]:
        yield '<p class="warn">Not everything is known: these sums are of what is. See “Data quality”.</p>'


def _days(days: Sequence[Row]) -> Iterator[str]:
    power = [_day(row, "attributed_energy_kwh", "it_energy_kwh", energy, 1.0) for row in days]
    carbon = [_day(row, "attributed_emissions_g", "emissions_location_g", grams, 1000.0) for row in days]
    yield '<p class="legend"><i class="p0"></i> held by runs <i class="p1"></i> held by none</p>'
    yield f"<h3>Energy</h3>{charts.over_days(power, 'kWh', 'Energy of each day, held by runs and by none')}"
    yield f"<h3>Emissions</h3>{charts.over_days(carbon, 'kg CO2e', 'Emissions of each day, of runs and of none')}"


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
    has_cost = report["total"]["cost"] is not None
    heads = (
        report["by"],
        "jobs",
        "energy",
        "CO2e",
        "±",
        "g/kWh",
        "covered",
        "settled",
        *(("cost",) if has_cost else ()),
    )
    lines = [_cells(row)[: len(heads)] for row in rows[:_MOST_ROWS]]
    foot = [_cells(row)[: len(heads)] for row in (report["unattributed"], report["total"])]
    yield table(heads, lines, foot, caption=f"Energy and emissions by {report['by']}")
    if len(rows) > _MOST_ROWS:
        yield f"<p>{len(rows) - _MOST_ROWS} more rows are in the CSV and JSON forms.</p>"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        _name(row),
        str(row.get("jobs", "")),
        energy(row["it_energy_kwh"]),
        grams(row["emissions_location_g"]),
        points(row["emissions_uncertainty_pct"]),
        "" if row["ci_avg_g_per_kwh"] is None else f"{row['ci_avg_g_per_kwh']:.0f}",
        percent(row["coverage_ratio"]),
        percent(row["settled_ratio"]),
        money(row),
    )


def _name(row: Row) -> str:
    name = f"{row['group']} · {row['job_name']}" if "job_name" in row else str(row["group"])
    return {"unattributed": "held by no run"}.get(name, name)


def _range(row: Row) -> str:
    low, high = row["ci_min_g_per_kwh"], row["ci_max_g_per_kwh"]
    return "" if low is None or high is None else f"from {low:.0f} to {high:.0f}"


def _pue(value: float | None) -> str:
    return "" if value is None else f"PUE {value:.3g}"

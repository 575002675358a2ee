"""Write a report in the form that was asked for."""

from collections.abc import Iterator

from greenrun.cli import text
from greenrun.cli.tables import plain_lines
from greenrun.core.formatting import energy_text, mass_text
from greenrun.core.units import J_PER_KWH
from greenrun.reports.formats import WRITERS
from greenrun.reports.model import ComparedReport, JobRow, Report, Row, Unattributed
from greenrun.reports.words import money, per_work, sum_of

_MOST_ROWS = 1000
_COLUMNS = ("jobs", "energy", "CO2e", "±", "g/kWh", "covered", "avoided")
_MAYBE = ("busy", "per work", "cost")  # where something is known of them


def written(report: Report, form: str) -> str:
    """Return the report as text; `form` is one of greenrun.cli.report.FORMATS."""
    if form in WRITERS:
        return WRITERS[form](report)
    return "\n".join(text.printable(line) for line in _lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    start, end = (at.isoformat().replace("+00:00", "Z") for at in (report.start, report.end))
    yield f"{start} to {end}, location-based, PUE included"
    if report.total.it_energy_kwh is None:
        yield "nothing is booked in this period"
    else:
        rows = [*report.rows[:_MOST_ROWS], report.unattributed, report.total]
        columns = ("name", *_COLUMNS, *_MAYBE)
        lines = [dict(zip(columns, _cells(row), strict=True)) for row in rows]
        shown = [*_COLUMNS, *(name for name in _MAYBE if any(line[name] for line in lines))]
        yield from plain_lines(
            (report.by, *shown), [[line["name"], *(line[name] for name in shown)] for line in lines], right=shown
        )
        yield from _remarks(report)
    if isinstance(report, ComparedReport):
        yield from _movement(report)
    for note in report.data_quality:
        yield f"note: {note.note}"
    yield from report.attribution


def _cells(row: Row | Unattributed) -> list[str]:
    return [
        f"{row.group} {row.job_name}" if isinstance(row, JobRow) else row.group,
        str(row.jobs) if isinstance(row, Row) else "",
        energy_text(_joules(row.it_energy_kwh)),
        mass_text(row.emissions_location_g),
        _percent(row.emissions_uncertainty_pct),
        "" if row.ci_avg_g_per_kwh is None else f"{row.ci_avg_g_per_kwh:.0f}",
        _percent(None if row.coverage_ratio is None else 100 * row.coverage_ratio),
        mass_text(row.avoided_g) if row.avoided_runs else "",
        _percent(None if row.gpu_utilization_avg is None else 100 * row.gpu_utilization_avg),
        per_work(row.energy_per_work_j, row.work_unit),
        money(row.cost, row.currency).replace("\N{MINUS SIGN}", "-"),
    ]


def _remarks(report: Report) -> Iterator[str]:
    wasted = [row for row in report.waste if row.is_waste]
    if wasted:
        runs = sum(row.runs for row in wasted)
        energy = _joules(sum_of(row.it_energy_kwh for row in wasted))
        yield f"{runs} {'run' if runs == 1 else 'runs'} failed or were lost: {energy_text(energy)}"
    forecast = report.forecast_against_settled
    if forecast.mean_absolute_error_pct is not None:
        booked, settled = mass_text(forecast.booked_g), mass_text(forecast.settled_g)
        yield f"forecast against settled: {booked} booked, {settled} settled"


def _movement(report: ComparedReport) -> Iterator[str]:
    count = f"{len(report.moved)} {'figure' if len(report.moved) == 1 else 'figures'}"
    yield f"since the report of {report.compared_with}: {count} moved"
    lines = [[row.where, row.field, _figure(row.before), _figure(row.after), row.why] for row in report.moved]
    if lines:
        heads = ("where", "figure", "before", "now", "why")
        yield from plain_lines(heads, lines[:_MOST_ROWS], right=("before", "now"))


def _figure(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _joules(kwh: float | None) -> float | None:
    return None if kwh is None else kwh * J_PER_KWH


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} %"

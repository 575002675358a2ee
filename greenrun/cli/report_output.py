"""Render a report in the requested format: as a table here, otherwise with the writers of greenrun.reports."""

from collections.abc import Iterator

from greenrun.cli import text
from greenrun.cli.tables import Column, table_lines
from greenrun.cli.terminal.width import wrapped
from greenrun.core.formatting import (
    count_text,
    figure_text,
    intensity_text,
    mass_text,
    period_text,
    precise_percent_text,
)
from greenrun.reports.cells import cells, kwh_text, name
from greenrun.reports.formats import MOST_ROWS, WRITERS
from greenrun.reports.model import ComparedReport, Report

_MOST_ROWS = MOST_ROWS["table"]
_COLUMNS = ("jobs", "energy", "CO2e", "±", "g/kWh", "covered", "avoided", "of baseline")
_RANKS = {
    "jobs": 5,
    "energy": 0,
    "CO2e": 0,
    "±": 4,
    "g/kWh": 6,
    "covered": 3,
    "avoided": 3,
    "of baseline": 4,
    "marginal": 2,
    "busy": 7,
    "per work": 8,
    "cost": 3,
}
_MAYBE = ("marginal", "busy", "per work", "cost")  # where something is known of them


def render(report: Report, form: str, width: int | None = None) -> str:
    """Return the report as text; `form` is "table", which takes `width` columns at most, or one of WRITERS."""
    if form in WRITERS:
        return WRITERS[form](report)
    return "\n".join(text.printable(line) for line in _lines(report, width)) + "\n"


def _lines(report: Report, width: int | None) -> Iterator[str]:
    for line in _parts(report, width):
        yield from [line] if width is None else wrapped(line, width, "  ")


def _parts(report: Report, width: int | None) -> Iterator[str]:
    yield f"{period_text(report.start, report.end)}, location-based, PUE included"
    if report.preliminary:
        yield "preliminary: the period goes on, or not all of it is final; these figures can change"
    if report.total.it_energy_kwh is None:
        yield "nothing is booked in this period"
    else:
        rows = [
            *report.rows[:_MOST_ROWS],
            *([report.others] if report.others else []),
            report.unattributed,
            report.total,
        ]
        lines = [(text.printable(name(row)), cells(row)) for row in rows]
        shown = [*_COLUMNS, *(column for column in _MAYBE if any(line[column] for _, line in lines))]
        columns = [Column(report.by, least=12), *(Column(name, right=True, rank=_RANKS.get(name, 0)) for name in shown)]
        rows_of = [[who, *(line[column] for column in shown)] for who, line in lines]
        yield from table_lines(columns, rows_of, width=width)
        if more := max(0, len(report.rows) - _MOST_ROWS) + report.rows_left_out:
            yield f"{count_text(more, 'more row is', 'more rows are')} in --format csv and json, and in the total"
        yield from _remarks(report)
    if isinstance(report, ComparedReport):
        yield from _movement(report, width)
    for note in report.data_quality:
        yield f"note: {note.note}"
    yield from report.attribution


def _remarks(report: Report) -> Iterator[str]:
    if report.wasted_runs:
        runs = f"{count_text(report.wasted_runs, 'run')} failed or {'was' if report.wasted_runs == 1 else 'were'} lost"
        yield f"{runs}: {kwh_text(report.wasted_kwh)}"
    yield from _avoided(report)
    forecast = report.forecast_against_settled
    if forecast.mean_absolute_error_pct is not None:
        booked, settled = mass_text(forecast.booked_g), mass_text(forecast.settled_g)
        yield f"forecast against settled: {booked} booked, {settled} settled"


def _avoided(report: Report) -> Iterator[str]:
    total, grid = report.total, report.against_grid
    if total.avoided_pct is not None:
        share = precise_percent_text(abs(total.avoided_pct) / 100)
        less = "less" if (total.avoided_g or 0.0) >= 0 else "more"
        grams = mass_text(abs(total.avoided_g or 0.0))
        yield f"work that succeeded emitted {grams} ({share}) {less} than if it had started as soon as it could"
    if grid is not None and grid.difference_pct is not None:
        own, mean = intensity_text(grid.runs_ci_g_per_kwh), intensity_text(grid.grid_ci_g_per_kwh)
        yield f"runs used power of {own}; the mean of the grid in the same hours was {mean}"


def _movement(report: ComparedReport, width: int | None) -> Iterator[str]:
    yield f"since the report of {report.compared_with}: {count_text(len(report.moved), 'figure')} moved"
    lines = [[row.where, row.field, _figure(row.before), _figure(row.after), row.why] for row in report.moved]
    if lines:
        heads = ("where", "figure", "before", "now", Column("why", wraps=True))
        yield from table_lines(heads, lines[:_MOST_ROWS], right=("before", "now"), width=width)


def _figure(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return figure_text(value)
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)

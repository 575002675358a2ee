"""Write a report's document in the form that was asked for."""

from collections.abc import Iterator, Mapping
from typing import Any

from greenrun.cli import text
from greenrun.cli.tables import plain_lines
from greenrun.core.units import J_PER_KWH
from greenrun.reports import boamps, movement
from greenrun.reports.forms import WRITERS
from greenrun.reports.words import money, per_work, sum_of

Row = Mapping[str, Any]

_MOST_ROWS = 1000
_COLUMNS = ("jobs", "energy", "CO2e", "±", "g/kWh", "covered", "avoided")
_MAYBE = ("busy", "per work", "cost")  # where something is known of them


def compared(report: dict[str, Any], earlier: Row) -> dict[str, Any]:
    """Return the report with what moved since an earlier one; raise ValueError when they do not go together."""
    return report | movement.compared(earlier, report)


def lacking(report: Row) -> list[str]:
    """Return what BoAmps requires and nobody told of some job."""
    return sorted({path for row in boamps.boamps(report) for path in row.get("missing", ())})


def written(report: Row, form: str) -> str:
    """Return the report as text; `form` is one of greenrun.cli.report.FORMATS."""
    if form in WRITERS:
        return WRITERS[form](report)
    return "\n".join(text.printable(line) for line in _lines(report)) + "\n"


def _lines(report: Row) -> Iterator[str]:
    yield f"{report['from']} to {report['to']}, location-based, PUE included"
    if report["total"]["it_energy_kwh"] is None:
        yield "nothing is booked in this period"
    else:
        rows = [*report["rows"][:_MOST_ROWS], report["unattributed"], report["total"]]
        columns = ("name", *_COLUMNS, *_MAYBE)
        lines = [dict(zip(columns, _cells(row), strict=True)) for row in rows]
        shown = [*_COLUMNS, *(name for name in _MAYBE if any(line[name] for line in lines))]
        yield from plain_lines(
            (report["by"], *shown), [[line["name"], *(line[name] for name in shown)] for line in lines], right=shown
        )
        yield from _remarks(report)
    yield from _movement(report)
    for note in report["data_quality"]:
        yield f"note: {note['note']}"
    yield from report["attribution"]


def _cells(row: Row) -> list[str]:
    name = f"{row['group']} {row['job_name']}" if "job_name" in row else str(row["group"])
    return [
        name,
        str(row.get("jobs", "")),
        text.energy_text(_joules(row["it_energy_kwh"])),
        text.grams_text(row["emissions_location_g"]),
        _percent(row["emissions_uncertainty_pct"]),
        "" if row["ci_avg_g_per_kwh"] is None else f"{row['ci_avg_g_per_kwh']:.0f}",
        _percent(None if row["coverage_ratio"] is None else 100 * row["coverage_ratio"]),
        text.grams_text(row["avoided_g"]) if row["avoided_runs"] else "",
        _percent(None if (busy := row.get("gpu_utilization_avg")) is None else 100 * busy),
        per_work(row),
        money(row).replace("\N{MINUS SIGN}", "-"),
    ]


def _remarks(report: Row) -> Iterator[str]:
    wasted = [row for row in report["waste"] if row["is_waste"]]
    if wasted:
        runs = sum(row["runs"] for row in wasted)
        energy = _joules(sum_of(row["it_energy_kwh"] for row in wasted))
        yield f"{runs} {'run' if runs == 1 else 'runs'} failed or were lost: {text.energy_text(energy)}"
    compared = report["forecast_against_settled"]
    if compared["mean_absolute_error_pct"] is not None:
        booked, settled = text.grams_text(compared["booked_g"]), text.grams_text(compared["settled_g"])
        yield f"forecast against settled: {booked} booked, {settled} settled"


def _movement(report: Row) -> Iterator[str]:
    if "moved" not in report:
        return
    rows = report["moved"]
    count = f"{len(rows)} {'figure' if len(rows) == 1 else 'figures'}"
    yield f"since the report of {report['compared_with']}: {count} moved"
    lines = [[row["where"], row["field"], _figure(row["before"]), _figure(row["after"]), row["why"]] for row in rows]
    if lines:
        heads = ("where", "figure", "before", "now", "why")
        yield from plain_lines(heads, lines[:_MOST_ROWS], right=("before", "now"))


def _figure(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _joules(kwh: float | None) -> float | None:
    return None if kwh is None else kwh * J_PER_KWH


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} %"

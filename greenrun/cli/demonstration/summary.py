"""The demo's summary: what each job used, and what it would have emitted first come, first served."""

from collections.abc import Sequence

from greenrun.cli.demonstration.baseline import Line, total
from greenrun.cli.tables import print_table
from greenrun.core.formatting import UNKNOWN, decimal_text, mass_text, percent_text
from greenrun.core.units import J_PER_KWH

_COLUMNS = ("#", "job", "end", "waited", "energy", "CO2e", "at once", "saved", "share")
_RIGHT = ("#", "waited", "energy", "CO2e", "at once", "saved", "share")


def print_report(lines: Sequence[Line]) -> None:
    """Print a row per job, the totals, and a summarising sentence."""
    summed = total(lines)
    print_table(_COLUMNS, [*map(_row, lines), _total_row(summed, lines)], right=_RIGHT)
    print()
    print(_verdict(summed, lines))


def _row(line: Line) -> list[str]:
    waited = "" if line.waited_s is None else f"{decimal_text(line.waited_s, 1)} s"
    return [str(line.job), line.name, f"{line.state} late" if line.is_late else line.state, waited, *_amounts(line)]


def _total_row(summed: Line, lines: Sequence[Line]) -> list[str]:
    return ["", "total", f"{sum(line.is_late for line in lines)} late", "", *_amounts(summed)]


def _amounts(line: Line) -> list[str]:
    return [
        _with_unit(None if line.energy_j is None else line.energy_j / J_PER_KWH * 1000, "Wh"),
        *(_with_unit(amount, "g") for amount in (line.emissions_g, line.at_once_g, line.saved_g)),
        percent_text(line.saved_ratio),
    ]


def _with_unit(amount: float | None, unit: str) -> str:
    return UNKNOWN if amount is None else f"{decimal_text(amount, 3)} {unit}"


def _by_reports(summed: Line) -> str:
    """Return what the baseline of reports says, where it is booked and not the same."""
    if summed.baseline_g is None or mass_text(summed.baseline_g) == mass_text(summed.at_once_g):
        return ""
    return f";\nat the earliest start on the same GPUs, as reports compare, {mass_text(summed.baseline_g)}"


def _verdict(summed: Line, lines: Sequence[Line]) -> str:
    late = sum(line.is_late for line in lines)
    if summed.saved_ratio is None:
        return f"{len(lines)} jobs, {late} late; not everything is known, so what waiting was worth is not."
    change = f"{percent_text(abs(summed.saved_ratio))} {'less' if summed.saved_ratio >= 0 else 'MORE'}"
    return (
        f"{len(lines)} jobs, {late} late: {mass_text(summed.emissions_g)} CO2e, {change} than "
        f"first come, first served ({mass_text(summed.at_once_g)}),\n"
        f"that is in order, as soon as GPUs are free, with the power as it was{_by_reports(summed)}.\n"
        "The grid is SYNTHETIC, the GPUs are EMULATED; processes, plan, books are real."
    )

"""The demo's last word: what each job used, and what starting at once would have emitted."""

from collections.abc import Sequence

from greenrun.cli import text
from greenrun.cli.demonstration.accounts import Line, total
from greenrun.cli.tables import print_table

_COLUMNS = ("job", "name", "state", "waited", "energy", "CO2e", "at once", "saved", "saved %", "late")
_RIGHT = ("job", "waited", "energy", "CO2e", "at once", "saved", "saved %")


def print_report(lines: Sequence[Line]) -> None:
    """Print a row per job, the totals, and the sentence that sums it up."""
    summed = total(lines)
    print_table(_COLUMNS, [*map(_row, lines), _total_row(summed, lines)], right=_RIGHT)
    print()
    print(_verdict(summed, lines))


def _row(line: Line) -> list[str]:
    waited = "" if line.waited_s is None else f"{line.waited_s:.1f} s"
    return [str(line.job), line.name, line.state, waited, *_amounts(line), "late" if line.is_late else "no"]


def _total_row(summed: Line, lines: Sequence[Line]) -> list[str]:
    return ["", "total", "", "", *_amounts(summed), f"{sum(line.is_late for line in lines)} late"]


def _amounts(line: Line) -> list[str]:
    return [
        text.energy_text(line.energy_j),
        *(_grams(amount) for amount in (line.emissions_g, line.at_once_g, line.saved_g)),
        "unknown" if line.saved_ratio is None else f"{line.saved_ratio * 100:.0f} %",
    ]


def _grams(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount:.3f} g"


def _verdict(summed: Line, lines: Sequence[Line]) -> str:
    late = sum(line.is_late for line in lines)
    if summed.saved_ratio is None:
        return f"{len(lines)} jobs, {late} late; not everything is known, so what waiting was worth is not."
    change = f"{abs(summed.saved_ratio) * 100:.0f} % {'less' if summed.saved_ratio >= 0 else 'MORE'}"
    return (
        f"{len(lines)} jobs, {late} late: {text.grams_text(summed.emissions_g)} CO2e, which is {change} than "
        f"{text.grams_text(summed.at_once_g)} from starting at once.\n"
        "At once: in order, as soon as there were GPUs, with the power that was measured here.\n"
        "The grid is SYNTHETIC and the GPUs are EMULATED; processes, plan and books are real."
    )

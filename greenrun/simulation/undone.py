"""Says which jobs greenrun did not run in a simulation, why, and what its figures leave out for that."""

from collections.abc import Iterator

from greenrun.core.budgets.budget import OverBudget
from greenrun.core.formatting import count_text
from greenrun.simulation.case import Case
from greenrun.simulation.compare import Comparison
from greenrun.simulation.policies import GREENRUN

_SHOWN = 5


def undone_text(case: Case, found: Comparison) -> Iterator[str]:
    """Yield sentences for people; none where all jobs ran and nothing but GPUs and power was short."""
    budgets = case.site.budgets.budgets
    if budgets:
        yield "budgets hold under greenrun alone: other policies know none"
    rules = (*budgets.users.values(), *budgets.projects.values())
    if any(row.over is OverBudget.ASK for row in rules):
        yield (
            'nobody approves anything in a simulation: a job over a budget with over = "ask" waits until that begins '
            'anew, as with "wait"'
        )
    own = found.schedules.get(GREENRUN)
    if own is None or not own.undone:
        return
    are = "job was" if len(own.undone) == 1 else "jobs were"
    yield f"{len(own.undone)} {are} not run to the end under greenrun; its figures, and its saving, are of the others:"
    for row, why in sorted(own.undone.items())[:_SHOWN]:
        yield f"  the job in row {row} {why}"
    if len(own.undone) > _SHOWN:
        yield f"  and {count_text(len(own.undone) - _SHOWN, 'more job')}; --json tells all"

"""How long to search: counted in work that is the same on every machine, for a clock would change plans."""

from dataclasses import dataclass

from greenrun.core.planning.preemption.dual import SuspendableResponse
from greenrun.core.planning.problem import PlanningProblem

CELL_WORK = 6  # a cell of a job that may be suspended takes as long as so many candidates: measured
ROW_WORK = 3_000  # so does a row that is put into a schedule of thousands: measured
PRICING_SHARE = 1 / 3  # of the work goes into prices at most
FEWEST_STEPS = 3  # of the prices, however many candidates there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to search: iterations of the prices, attempts to improve, and the gap to the bound that is small enough.

    `work` bounds what both take together, in candidate starts priced; a row that is put into a schedule counts as
    `ROW_WORK` of them. Only long queues reach it.

    `from_scratch`: build schedules from nothing as well, and not only around the last plan.
    """

    iterations: int
    rearrangements: int
    gap: float
    work: int
    from_scratch: bool = True

    def affordable_iterations(self, problem: PlanningProblem, suspended: SuspendableResponse | None) -> int:
        """Return how many steps of the prices to take at most: each prices all candidates, and all cells of jobs that
        may be suspended.
        """
        priced = len(problem.rows.row) + (CELL_WORK * suspended.cells if suspended else 0)
        return min(self.iterations, max(FEWEST_STEPS, int(self.work * PRICING_SHARE) // max(1, priced)))


class Placings:
    """How many rows may still be put into schedules; what has been begun is brought to its end."""

    def __init__(self, effort: Effort) -> None:
        self._left = int(effort.work * (1 - PRICING_SHARE)) // ROW_WORK

    def take(self, rows: int, *, leaving: int = 0) -> bool:
        """Count so many rows and return True, unless all is used up, or fewer than `leaving` would then be left."""
        if self._left <= 0 or (self._left - rows < leaving and leaving):
            return False
        self._left -= rows
        return True

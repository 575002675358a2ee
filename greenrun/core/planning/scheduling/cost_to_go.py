"""What a row costs at least together with all that comes after it, so that it does not make those dear."""

from dataclasses import dataclass

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.dependencies import in_order
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.problem import PlanningProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class CostToGo:
    """What a row, and all that comes after it, cost at least from an instant on, as if all GPUs were free."""

    starts_s: Floats
    least: Floats

    def at(self, ready_s: Floats) -> Floats:
        """Return the least cost from each of these instants on; past the last start it stays what it is there."""
        after = self.starts_s.searchsorted(ready_s - EPSILON_S)
        return np.asarray(self.least[np.minimum(after, len(self.least) - 1)])


def costs_to_go(problem: PlanningProblem, costs: Floats) -> dict[int, list[CostToGo]]:
    """Return by row what comes right after it, at what the candidate starts cost; rows without candidates count not."""
    rows, length_s = problem.rows, problem.rows.demands.length_s
    ahead: dict[int, list[CostToGo]] = {}
    for row in reversed(in_order(sorted(problem.tied), problem.after)):
        mine = slice(rows.first[row], rows.first[row + 1])
        starts_s, cost = rows.starts_s[mine], costs[mine].copy()
        if not len(starts_s):
            continue
        for rest in ahead.get(row, ()):
            cost += rest.at(starts_s + length_s[row])
        least = np.minimum.accumulate(cost[::-1])[::-1]
        for other in problem.after.get(row, ()):
            ahead.setdefault(other, []).append(CostToGo(starts_s=starts_s, least=least))
    return ahead

"""What a place in the schedule costs, and the cheapest intervals of a job that may be suspended."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.capacity import EPSILON_S, Timeline
from greenrun.core.planning.lagrangian import spendings
from greenrun.core.planning.preemption.intervals import Interruptible, Spans
from greenrun.core.planning.problem import PlanningProblem, Response

SAME = 1 + 1e-9  # sums of floats that differ by less are equal


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row runs, what that emits, whether that is later than it should, and why it does not wait if asked to.

    `waiting_g` is what a row that does not wait would emit where it waited, as far as that has been weighed.

    Not `known`: the intensity is not known for all of the run, and `grams` are those of the rest.
    """

    start_s: float
    pool: int
    grams: float
    cost: float
    late: bool
    why: ReasonCode | None = None
    pieces: Spans = ()
    known: bool = True
    waiting_g: float | None = None


def cheapest_intervals(
    job: Interruptible,
    pools: Sequence[int],
    knots_s: Floats,
    spent: Floats,
    lines: Sequence[Timeline] | None,
    ready_s: float = -np.inf,
) -> Response | None:
    """Return where a job is cheapest from `ready_s` on; None when its work does not fit.

    Without `lines` as if all GPUs were free.
    """
    found = []
    for index, pool in enumerate(pools):
        costs = np.diff(np.interp(job.edges_s, knots_s, spent[pool])) * job.units if len(job.edges_s) else np.zeros(0)
        free = job.free_in(lines[index]) if lines is not None else np.ones(len(job.grams), bool)
        cheapest = job.cheapest(costs, free & (job.edges_s[:-1] >= ready_s - EPSILON_S))
        if cheapest:
            found.append(Response(cheapest[0], pool, cheapest[1]))
    return min(found, default=None)


def cheapest_suspended(problem: PlanningProblem, prices: Floats) -> dict[int, Response]:
    """Return the same for every interruptible row of a problem, as if all GPUs were free; cached by prices."""
    asked = prices.tobytes()
    if asked not in problem.response_cache:
        problem.response_cache[asked] = _cheapest_suspended(problem, prices)
    return problem.response_cache[asked]


def _cheapest_suspended(problem: PlanningProblem, prices: Floats) -> dict[int, Response]:
    spent = spendings(prices, problem.knots_s)
    pools = problem.rows.demands.pools
    rows = {
        row: cheapest_intervals(job, pools[row], problem.knots_s, spent, None) for row, job in problem.flexible.items()
    }
    return {row: found for row, found in rows.items() if found}


def cheapest_start(starts_s: Floats, costs: Floats) -> float | None:
    """Return the first of the cheapest starts, None when what they cost is NaN for all."""
    if np.isnan(costs).all():
        return None
    return float(starts_s[first_least(np.where(np.isnan(costs), np.inf, costs))])


def first_least(costs: Floats) -> int:
    """Return the index of the first of the least costs; those that differ by rounding alone are equal."""
    return int(np.argmax(costs <= costs.min() * SAME))


def earliest_cheapest(places: Sequence[Place]) -> Place | None:
    """Return the earliest of the cheapest places, if there is one."""
    least = min((place.cost for place in places), default=0.0) * SAME
    return min((place for place in places if place.cost <= least), key=lambda place: place.start_s, default=None)

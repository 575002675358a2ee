"""What a place in the schedule costs, and the cheapest intervals of a job that may be suspended."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.capacity import EPSILON_S, Timeline
from greenrun.core.planning.lagrangian import spendings
from greenrun.core.planning.preemption import Interruptible, Spans
from greenrun.core.planning.problem import Problem

SAME = 1 + 1e-9  # sums of floats that differ by less are equal


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row runs, what that emits, whether that is later than it should, and why it does not wait if asked to.

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


def cheapest_intervals(
    job: Interruptible,
    pools: Sequence[int],
    knots_s: Floats,
    spent: Floats,
    lines: Sequence[Timeline] | None,
    ready_s: float = -np.inf,
) -> tuple[float, int, Spans] | None:
    """Return the cost, pool and intervals from `ready_s` on in which a job is cheapest.

    Without `lines` as if all GPUs were free.
    """
    found = []
    for index, pool in enumerate(pools):
        costs = np.diff(np.interp(job.edges_s, knots_s, spent[pool])) * job.units if len(job.edges_s) else np.zeros(0)
        free = job.free_in(lines[index]) if lines is not None else np.ones(len(job.grams), bool)
        cheapest = job.cheapest(costs, free & (job.edges_s[:-1] >= ready_s - EPSILON_S))
        if cheapest:
            found.append((cheapest[0], pool, cheapest[1]))
    return min(found, default=None)


def cheapest_suspended(problem: Problem, prices: Floats) -> dict[int, tuple[float, int, Spans]]:
    """Return the same for every row of a problem that may be suspended, as if all GPUs were free.

    Asked again at the same prices, the problem knows.
    """
    asked = prices.tobytes()
    if asked not in problem.answers:
        problem.answers[asked] = _cheapest_suspended(problem, prices)
    return problem.answers[asked]


def _cheapest_suspended(problem: Problem, prices: Floats) -> dict[int, tuple[float, int, Spans]]:
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

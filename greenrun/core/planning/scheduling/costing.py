"""What a place in the schedule costs, and the cheapest intervals of a job that may be suspended."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S, Split, Timeline
from greenrun.core.planning.preemption.intervals import Interruptible, Spans
from greenrun.core.planning.preemption.placing import FreeTime, Terms
from greenrun.core.planning.problem import PlanningProblem, Response
from greenrun.core.units import J_PER_KWH

SAME = 1 + 1e-9  # sums of floats that differ by less are equal


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row runs, what that emits, whether that is later than it should, and why it does not wait if asked to.

    `waiting_g` is what a row that does not wait would emit where it waited, as far as that has been weighed.

    Not `known`: the intensity is not known for all of the run, and `grams` are those of the rest. `on` says, once it
    was put there, for each interval of which groups its GPUs are; () where they are all alike.
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
    on: tuple[Split, ...] = ()

    def costing(self, cost: float) -> "Place":
        """Return the same place at another cost: what `replace` does, in a third of its time."""
        return Place(
            self.start_s, self.pool, self.grams, cost, self.late, self.why, self.pieces, self.known, self.waiting_g,
            self.on,
        )  # fmt: skip

    def splits(self) -> tuple[Split, ...]:
        """Return of which groups its GPUs are, for each interval, as far as that is known."""
        return self.on or ((),) * max(1, len(self.pieces))


def cheapest_intervals(
    job: Interruptible,
    pools: Sequence[int],
    knots_s: Floats,
    rates: Sequence[Floats],
    lines: Sequence[Timeline] | None,
    ready_s: float = -np.inf,
    needs_mw: Sequence[int] = (),
) -> Response | None:
    """Return where a job is cheapest from `ready_s` on; None when its work does not fit.

    `rates`, shape (cells,) for each of its pools, are what a second of it costs in g, NaN where that is not known.
    Without `lines` as if all GPUs were free. `needs_mw` is what it draws of the site's power, for each of its pools.
    """
    found = []
    begins_s = max(job.release_s, ready_s)
    terms = Terms(
        length_s=job.length_s,
        min_run_s=job.min_run_s,
        restart_s=job.restart_s,
        is_running=job.is_running,
        forced_s=min(job.forced_s, job.length_s),
        begins_s=begins_s,
    )
    for index, pool in enumerate(pools):
        line = lines[index] if lines is not None else None
        mw = needs_mw[index] if needs_mw else 0
        cheapest = _stretches(job, begins_s, knots_s, rates[index], line, mw).cheapest(terms)
        if cheapest:
            found.append(Response(cheapest[0], pool, tuple(cheapest[1])))
    return min(found, default=None)


def _stretches(
    job: Interruptible, begins_s: float, knots_s: Floats, rates: Floats, line: Timeline | None, mw: int = 0
) -> FreeTime:
    """Return when the GPUs can be had, from `begins_s` to the deadline, and what each stretch costs."""
    is_too_large = line is not None and job.units > line.units
    if is_too_large or begins_s >= job.deadline_s:  # as where what it waits for ends too late
        return FreeTime((), (), ())
    blocked = job.blocked_in(line, mw) if line is not None else (np.zeros(0), np.zeros(0))
    first, last = knots_s.searchsorted((begins_s, job.deadline_s))
    cuts_s = [border[(border > begins_s) & (border < job.deadline_s)] for border in blocked]
    edges_s = np.sort(np.concatenate([[begins_s], knots_s[first:last], *cuts_s, [job.deadline_s]]))
    middles_s = (edges_s[1:] + edges_s[:-1]) / 2
    cell = knots_s.searchsorted(middles_s, side="right") - 1
    rate = rates[np.clip(cell, 0, len(rates) - 1)]
    usable = (np.diff(edges_s) > EPSILON_S) & ~np.isnan(rate) & (cell >= 0) & (cell < len(rates))
    if len(blocked[0]):
        usable &= np.append(blocked[0], np.inf)[blocked[1].searchsorted(middles_s, side="right")] >= middles_s
    froms_s, untils_s, rate = edges_s[:-1][usable], edges_s[1:][usable], rate[usable]
    is_new = np.ones(len(rate) + 1, bool)  # what goes on at the same rate is one stretch: there are fewer to look at
    is_new[1:-1] = (np.diff(rate) != 0) | (froms_s[1:] > untils_s[:-1] + EPSILON_S)
    return FreeTime(froms_s[is_new[:-1]].tolist(), untils_s[is_new[1:]].tolist(), rate[is_new[:-1]].tolist())


def cheapest_suspended(problem: PlanningProblem, prices: Floats) -> dict[int, Response]:
    """Return the same for every interruptible row of a problem, as if all GPUs were free."""
    demands, knots_s = problem.rows.demands, problem.knots_s
    means = problem.intensity.means_between(knots_s[:-1], knots_s[1:])
    found = {}
    for row, job in problem.flexible.items():
        pools = demands.kinds[row]
        rates = [rates_of(means, demands.watts[row], prices[pool], job.units) for pool in pools]
        found[row] = cheapest_intervals(job, pools, knots_s, rates, None)
    return {row: response for row, response in found.items() if response}


def rates_of(means: Floats, watts: float, prices: Floats, units: int) -> Floats:
    """Return what a second costs in each cell, in g: of energy at `means`, in g/kWh, and of GPUs at `prices`."""
    return np.asarray(means * (watts / J_PER_KWH) + prices * units)


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

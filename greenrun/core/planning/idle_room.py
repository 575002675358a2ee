"""Give up the last plan's places of jobs that wait beside idle GPUs and gain nothing by it: these are back early.

A search that begins at those places would keep them, since others emit no less.
"""

from collections import Counter
from collections.abc import Collection

from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.model import Situation
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import SAME, Place
from greenrun.core.planning.search import SearchResult
from greenrun.core.planning.site_limits.reserved import now_reserved
from greenrun.core.units import J_PER_KWH


def waiting_beside_idle(problem: PlanningProblem, situation: Situation, found: SearchResult) -> Collection[int]:
    """Return the rows that could start now on GPUs, or a CPU slot, that idle, and are not known to emit more then."""
    kept = now_reserved(situation.reserved, situation.now).keys() - situation.busy.keys()
    free = Counter({True: len(situation.devices) - len(situation.busy) - len(kept)})
    free[False] = situation.cpu_slots - len(situation.cpu_busy)
    waiting: list[int] = []
    for row, place in found.places.items():
        gpus = problem.jobs[row].spec.gpus
        if row in problem.running:
            continue
        if place.start_s <= problem.now_s + EPSILON_S:
            free[gpus > 0] -= max(1, gpus)
        elif problem.rows.demands.release_s[row] <= problem.now_s + EPSILON_S and _gains_nothing(problem, row, place):
            waiting.append(row)
    needs = {row: problem.jobs[row].spec.gpus for row in waiting}
    return {row for row, gpus in needs.items() if max(1, gpus) <= free[gpus > 0] and _has_power(problem, row, found)}


def _has_power(problem: PlanningProblem, row: int, found: SearchResult) -> bool:
    """Whether there is power for a row now, beside what starts now."""
    power, demands = problem.taken[0].power, problem.rows.demands
    if power is None:
        return True
    now_s, at_once = problem.now_s, 0
    for other, place in found.places.items():
        if place.start_s <= now_s + EPSILON_S:
            at_once += demands.of_power(other, place.pool)
    mw = min(demands.of_power(row, pool) for pool in demands.pools[row])
    return power.is_free(now_s, now_s + 1.0, at_once + mw)


def _gains_nothing(problem: PlanningProblem, row: int, place: Place) -> bool:
    """Whether a row's place is not known to emit less than a start now."""
    if not place.known or not len(problem.intensity) or problem.overdue[row]:
        return True
    at_once_g = _at_once_g(problem, row)
    if at_once_g is None:
        return True
    free = problem.unpinned
    if free is not None and problem.rows.demands.latest_s[row] < free.rows.demands.latest_s[row]:
        return False  # it was put off often enough, and is held to the start that it was told
    return place.grams * SAME >= at_once_g


def _at_once_g(problem: PlanningProblem, row: int) -> float | None:
    """Return what a row emits that starts as soon as it may and is not suspended, in g; None when that is not known."""
    begin, end = problem.rows.first[row], problem.rows.first[row + 1]
    if begin < end:
        return float(problem.rows.grams[begin])
    demands = problem.rows.demands
    start_s = float(demands.release_s[row])
    (mean,) = problem.means_over([(start_s, start_s + float(demands.length_s[row]))])
    return None if mean is None else float(mean * demands.length_s[row] * demands.watts[row]) / J_PER_KWH


def sooner(problem: PlanningProblem, found: SearchResult, other: SearchResult) -> SearchResult:
    """Return the second one where it misses no more, emits no more and starts jobs sooner; else the first.

    Only known emissions count, and not those of jobs that are overdue, which are to start as soon as they can.
    """
    rows = [row for row in found.places if found.places[row].known and other.places[row].known]
    weighed = [row for row in rows if not problem.overdue[row]]
    before, after = (sum(result.places[row].grams for row in weighed) for result in (found, other))
    late, late_then = (sum(place.late for place in result.places.values()) for result in (found, other))
    start_s, start_then_s = (sum(place.start_s for place in result.places.values()) for result in (found, other))
    is_as_good = late_then <= late and after <= before * SAME
    return other if is_as_good and start_then_s < start_s - EPSILON_S else found

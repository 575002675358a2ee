"""How soon new jobs can end when queued ones yield inside their limits: what a refusal may promise, and how it is kept.

New jobs are tried beside all others where those are, then at their soonest with others making room, and then at each
position in the order of urgency, everything starting as soon as it fits: the earlier the position, the sooner they
end, and the more limits behind it are missed, so that the best position is found by bisection.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from greenrun.core.jobs.dependencies import in_order
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S, copies
from greenrun.core.planning.precedence.room import end_of, misses_limit, put_first
from greenrun.core.planning.problem import LIMIT, PlanningProblem
from greenrun.core.planning.scheduling.costing import Place
from greenrun.core.planning.scheduling.schedule import Schedule
from greenrun.core.planning.search import WarmStart, begin, by_urgency


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """Places of all rows, and when the new ones have started and ended, in epoch seconds.

    `is_proved`: they cannot end any sooner, whatever the others do.
    """

    places: Mapping[int, Place]
    start_s: float
    end_s: float
    is_proved: bool


def soonest_arrangement(
    problem: PlanningProblem, warm: WarmStart, new: Sequence[int], was_late: Sequence[int] = ()
) -> Arrangement:
    """Return how the rows `new` end as soon as was found, the others missing no more limits than if `was_late` did."""
    made = _beside_all(problem, warm, new)
    bound_s = _bound_s(problem, warm, new)
    allowed = max(_weight(problem, was_late), _missed(problem, made, new))
    best = _arranged(problem, made, new, bound_s)
    if best.is_proved:
        return best
    if _put_all_first(problem, warm, made, new) and _missed(problem, made, new) <= allowed:
        best = min(best, _arranged(problem, made, new, bound_s), key=_end_s)
    if not best.is_proved:
        moved = _by_position(problem, warm, new, allowed)
        best = min(best, _arranged(problem, moved, new, bound_s), key=_end_s) if moved else best
    return best


def _missed(problem: PlanningProblem, made: Schedule, new: Sequence[int]) -> int:
    """Return the weight of the limits that others than the new rows miss."""
    return _weight(problem, [r for r, place in made.places.items() if r not in new and misses_limit(problem, r, place)])


def _weight(problem: PlanningProblem, rows: Iterable[int]) -> int:
    return sum(problem.limits[row] for row in rows if problem.limits[row] >= LIMIT)


def fits_before(problem: PlanningProblem, warm: WarmStart, new: Sequence[int], end_s: float) -> bool:
    """Tell whether the rows `new` are found to end by `end_s` without trying every order of the others."""
    made = _beside_all(problem, warm, new)
    if _ends_s(problem, made, new) > end_s and not _put_all_first(problem, warm, made, new):
        return False
    return _ends_s(problem, made, new) <= end_s


def _end_s(found: Arrangement) -> float:
    return found.end_s


def _ends_s(problem: PlanningProblem, made: Schedule, new: Sequence[int]) -> float:
    return max(end_of(problem, row, made.places[row]) for row in new)


def _arranged(problem: PlanningProblem, made: Schedule, new: Sequence[int], bound_s: float) -> Arrangement:
    last = max(new, key=lambda row: (end_of(problem, row, made.places[row]), row))
    end_s = end_of(problem, last, made.places[last])
    is_proved = end_s <= bound_s + EPSILON_S
    return Arrangement(places=dict(made.places), start_s=made.places[last].start_s, end_s=end_s, is_proved=is_proved)


def _bound_s(problem: PlanningProblem, warm: WarmStart, new: Sequence[int]) -> float:
    """Return an instant before which the new rows cannot end all, even if everything that may move did."""
    line = copies(problem.taken)  # what runs and may be suspended is no obstacle here
    demands = problem.rows.demands
    ends_s = []
    for row in new:
        length_s, units = float(demands.length_s[row]), int(demands.units[row])
        release_s = float(demands.release_s[row])
        starts = (
            line[pool].first_fit(release_s, length_s, units, demands.of_power(row, pool)) for pool in demands.pools[row]
        )
        ends_s.append(min((start_s + length_s for start_s in starts if start_s is not None), default=np.inf))
    return float(max(ends_s))


def _beside_all(problem: PlanningProblem, warm: WarmStart, new: Sequence[int]) -> Schedule:
    """Return the new rows where they start soonest beside all others, which are where they were."""
    made = begin(Schedule.unpriced(problem), problem, warm, range(len(problem.jobs)), kept=True)
    others = [row for row in by_urgency(problem) if row not in new and row not in made.places]
    for row in in_order(others, problem.after):
        if row in warm.kept and (place := made.fits_in(row, *warm.kept[row])):
            made.put(row, place)
    for row in in_order([*others, *new], problem.after):
        if row not in made.places:
            made.add_soonest(row)
    return made


def _put_all_first(problem: PlanningProblem, warm: WarmStart, made: Schedule, new: Sequence[int]) -> bool:
    """Put the new rows where they start soonest beside what runs or is due; tell whether all could be."""
    fixed = {*problem.running, *warm.due, *new}
    beside = begin(Schedule.unpriced(problem), problem, warm, range(len(problem.jobs)), kept=True)
    for row in in_order(new, problem.after):
        for other in problem.after.get(row, ()):
            if other not in beside.places:
                beside.put(other, made.places[other])
        soonest = beside.soonest(row)
        if soonest.start_s < made.places[row].start_s - EPSILON_S and not put_first(made, problem, row, soonest, fixed):
            return False
        beside.put(row, made.places[row])
    return True


def _by_position(problem: PlanningProblem, warm: WarmStart, new: Sequence[int], allowed: int) -> Schedule | None:
    """Return the schedule with the new rows as early in the order of urgency as lets others meet their limits.

    Those may miss limits of the weight that is `allowed`.
    """
    strict = [row for row in by_urgency(problem) if problem.limits[row] and row not in new]
    loose = [row for row in by_urgency(problem) if not problem.limits[row] and row not in new]
    low, high, best = 0, len(strict), None
    while low <= high:
        at = (low + high) // 2
        made = begin(Schedule.unpriced(problem), problem, warm, range(len(problem.jobs)), kept=True)
        order = [*strict[:at], *new, *strict[at:], *loose]
        for row in in_order((row for row in order if row not in made.places), problem.after):
            made.add_soonest(row)
        if _missed(problem, made, new) > allowed:
            low = at + 1
        else:
            best, high = made, at - 1
    return best

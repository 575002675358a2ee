"""Make room for a row: others that have not started yield to it, as far as their own limits allow."""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

import numpy as np

from greenrun.core.jobs.dependencies import in_order
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.preemption.intervals import Spans
from greenrun.core.planning.problem import LIMIT, PlanningProblem
from greenrun.core.planning.scheduling.costing import SAME, Place
from greenrun.core.planning.scheduling.schedule import Schedule

MOST_MOVED = 64  # rows that make room for another one; with more, what a single start changes is not worth its while


def end_of(problem: PlanningProblem, row: int, place: Place) -> float:
    """Return when a row that has this place ends, in epoch seconds."""
    return spans_of(problem, row, place)[-1][1]


def spans_of(problem: PlanningProblem, row: int, place: Place) -> Spans:
    """Return when a row that has this place runs, in epoch seconds."""
    return place.pieces or ((place.start_s, place.start_s + float(problem.rows.demands.length_s[row])),)


def ready_s(problem: PlanningProblem, made: Schedule, row: int) -> float:
    """Return when a row may start, as far as what it waits for has a place."""
    others = [other for other in problem.after.get(row, ()) if other in made.places]
    ends_s = [end_of(problem, other, made.places[other]) for other in others]
    return max([float(problem.rows.demands.release_s[row]), *ends_s])


def misses_limit(problem: PlanningProblem, row: int, place: Place) -> bool:
    """Whether a place misses a limit of the row's user."""
    if not place.late or problem.limits[row] < LIMIT:
        return False
    return not problem.meets_own_limit(row, end_of(problem, row, place))


def missed_limits(problem: PlanningProblem, places: Mapping[int, Place]) -> tuple[int, ...]:
    """Return the weights of the limits missed, summed by priority, the highest first: less is better."""
    priorities = problem.precedence
    missed = dict.fromkeys(sorted(set(priorities), reverse=True), 0)
    for row, place in places.items():
        if misses_limit(problem, row, place):
            missed[priorities[row]] += problem.limits[row]
    return tuple(missed.values())


def put_first(
    made: Schedule,
    problem: PlanningProblem,
    row: int,
    place: Place,
    fixed: Collection[int],
    most_g: Mapping[int, float] = MappingProxyType({}),
) -> bool:
    """Put a row at `place`, others but the `fixed` ones yielding inside their limits.

    Undo it and return False where more limits would be missed than before, or one of an equal or higher priority would
    miss its own for it, or a row would emit more than `most_g` allows it.
    """
    if place.start_s < ready_s(problem, made, row) - EPSILON_S:
        return False
    fixed = {*fixed, *_before(problem, row)}
    followers = _with_followers(made, problem, row, ()) if row in made.places else []
    if fixed.intersection(followers[1:]):
        return False
    missed = made.missed
    for urgent_stay in (True, False):
        old = {other: made.remove(other) for other in followers}
        if _clear(made, problem, row, place, fixed, old, urgent_stay=urgent_stay):
            if _put_back(made, problem, row, place, old, missed, most_g):
                return True
            if _clear_around(made, problem, fixed, old) and _put_back(made, problem, row, place, old, missed, most_g):
                return True
        _undo(made, old)
    return False


def _put_back(
    made: Schedule,
    problem: PlanningProblem,
    row: int,
    place: Place,
    old: Mapping[int, Place],
    missed: int,
    most_g: Mapping[int, float],
) -> bool:
    """Put a row at `place`, and then what was taken out for it; undo it and return False where that is worse."""
    priority = problem.precedence[row]
    urgent = sorted((other for other in old if other != row), key=lambda other: _urgency(problem, other))
    order = in_order(urgent, problem.after)
    ways: tuple[Callable[[int], object], ...] = (made.add, made.add_soonest)
    for put in ways:
        made.put(row, place)
        for other in order:
            put(other)
        if missed >= made.missed and all(
            _is_as_good(problem, other, old[other], made.places[other], priority, most_g) for other in order
        ):
            return True
        for other in (*order, row):
            made.remove(other)
    return False


def _urgency(problem: PlanningProblem, row: int) -> tuple[int, float, int]:
    return -problem.precedence[row], float(problem.rows.demands.latest_s[row]), problem.jobs[row].id


def _is_as_good(
    problem: PlanningProblem, row: int, old: Place, new: Place, priority: int, most_g: Mapping[int, float]
) -> bool:
    """Whether a row that yielded misses no limit that it met, and emits no more than it may if it did not.

    One below that priority may miss its limit: then the other met its own, for no more limits are missed in all.
    """
    is_above = problem.precedence[row] >= priority
    if is_above and misses_limit(problem, row, new) and not misses_limit(problem, row, old):
        return False
    return new.grams <= max(old.grams, most_g.get(row, np.inf)) * SAME


def _clear(
    made: Schedule,
    problem: PlanningProblem,
    row: int,
    place: Place,
    fixed: Collection[int],
    old: dict[int, Place],
    *,
    urgent_stay: bool,
) -> bool:
    """Take out, and keep in `old`, rows in the way of a place until it is free; False where it cannot be.

    Those of the lowest priority go first, and of these the ones that may start last, or first unless `urgent_stay`.
    """
    end_s, units = end_of(problem, row, place), int(problem.rows.demands.units[row])
    line, mw = made.pools[place.pool], problem.rows.demands.of_power(row, place.pool)
    near = [
        other
        for other, at in made.places.items()
        if other not in fixed and (at.pool == place.pool or mw) and _overlap(problem, other, at, place.start_s, end_s)
    ]
    order = sorted(near, key=lambda other: _urgency(problem, other), reverse=urgent_stay)
    if not urgent_stay:
        order.sort(key=lambda other: problem.precedence[other])
    for other in order:
        if line.is_free(place.start_s, end_s, units, mw):
            break
        for each in _with_followers(made, problem, other, old):
            if each in fixed or len(old) > MOST_MOVED:
                return False
            old[each] = made.remove(each)
    return line.is_free(place.start_s, end_s, units, mw)


def _clear_around(made: Schedule, problem: PlanningProblem, fixed: Collection[int], old: dict[int, Place]) -> bool:
    """Take out, and keep in `old`, what is in the way of rows in `old` inside their limits; False if nothing may go."""
    demands, near = problem.rows.demands, dict[int, None]()
    for row in [row for row in old if problem.limits[row]]:
        begin_s, end_s = float(demands.release_s[row]), float(demands.latest_s[row] + demands.length_s[row])
        pools = demands.pools[row] if demands.mw is None else range(len(problem.pools))  # power is needed in any
        near |= dict.fromkeys(
            other
            for other, at in made.places.items()
            if other not in fixed and at.pool in pools and _overlap(problem, other, at, begin_s, end_s)
        )
    every = dict.fromkeys(each for other in near for each in _with_followers(made, problem, other, old))
    if not every or len(old) + len(every) > MOST_MOVED or not every.keys().isdisjoint(fixed):
        return False
    for each in every:
        old[each] = made.remove(each)
    return True


def _overlap(problem: PlanningProblem, row: int, place: Place, start_s: float, end_s: float) -> bool:
    spans = spans_of(problem, row, place)
    return any(begin < end_s - EPSILON_S and end > start_s + EPSILON_S for begin, end in spans)


def _before(problem: PlanningProblem, row: int) -> list[int]:
    """Return all that must end before a row."""
    found = [row]
    for other in found:
        found += [early for early in problem.after.get(other, ()) if early not in found]
    return found[1:]


def _with_followers(made: Schedule, problem: PlanningProblem, row: int, gone: Collection[int]) -> list[int]:
    """Return a row and all that come after it, of those that have a place."""
    found = [row] if row in made.places and row not in gone else []
    for other in found:
        found += [
            late
            for late, waits in problem.after.items()
            if other in waits and late in made.places and late not in found
        ]
    return found


def _undo(made: Schedule, old: Mapping[int, Place]) -> None:
    for row, place in old.items():
        if row not in made.places:
            made.put(row, place)

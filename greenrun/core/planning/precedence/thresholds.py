"""Start jobs at once that are not to wait: where that is clean enough, or where waiting would save them too little.

What is weighed against waiting is the soonest start beside the jobs that run, those that are due, and those of this
kind decided before: all others yield, for they have not started and may move inside their limits. Whether waiting
saves enough is decided once with the cleanest place that the job could have had, and again with the place that it got.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.precedence.room import missed_limits, put_first
from greenrun.core.planning.problem import AT_ONCE, PlanningProblem
from greenrun.core.planning.scheduling.costing import SAME, Place
from greenrun.core.planning.scheduling.schedule import Schedule
from greenrun.core.planning.search import SearchResult, WarmStart, begin, by_urgency

Search = Callable[[PlanningProblem, WarmStart], SearchResult]

ROUNDS = 3  # searches for a plan in which everybody who waits saves enough; after them, room is made one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Which rows start at once, with what waiting would emit at the least (None where waiting gains nothing).

    `waiting` are the others, with the soonest place that they could have, and `most_g` what those of them may emit at
    most that wait only for a saving.
    """

    at_once: Mapping[int, float | None]
    waiting: Mapping[int, Place]
    most_g: Mapping[int, float]

    def also(self, more: Mapping[int, float | None]) -> "Decisions":
        """Return these decisions with further rows that start at once."""
        return replace(self, at_once={**self.at_once, **more})


def search_with_thresholds(problem: PlanningProblem, warm: WarmStart, search: Search) -> SearchResult:
    """Return what `search` finds when no job waits that is not to wait, as far as others' limits allow."""
    rows = _weighing(problem, warm)
    if not rows:
        return search(problem, warm)
    decided = _decisions(problem, warm, rows)
    found = search(problem, _with(warm, decided))
    if decided.at_once and any(missed_limits(problem, found.places)):
        others = search(problem, warm)
        if missed_limits(problem, others.places) < missed_limits(problem, found.places):
            wanted = [*decided.at_once, *_in_vain(problem, decided, others)]
            return _made_room(problem, warm, others, decided, wanted)
    for _ in range(ROUNDS):
        in_vain = _in_vain(problem, decided, found)
        if not in_vain:
            return _told(problem, found, decided)
        more = decided.also({row: found.places[row].grams for row in in_vain})
        again = search(problem, _with(warm, more))
        if missed_limits(problem, again.places) > missed_limits(problem, found.places):
            break
        decided, found = more, again
    return _made_room(problem, warm, found, decided, _in_vain(problem, decided, found))


def _weighing(problem: PlanningProblem, warm: WarmStart) -> list[int]:
    """Return the rows that weigh waiting against starting at once, most urgent first."""
    but = {*warm.due, *problem.running, *problem.after}  # what waits for others cannot start at once
    rows = (row for row in by_urgency(problem) if row in problem.start_thresholds and row not in but)
    return [row for row in rows if problem.start_thresholds[row] is not AT_ONCE]


def _with(warm: WarmStart, decided: Decisions) -> WarmStart:
    return replace(warm, due=(*warm.due, *decided.at_once))


def _fixed(problem: PlanningProblem, warm: WarmStart) -> Schedule:
    """Return a schedule of what does not yield: what runs, and what is due."""
    return begin(Schedule.unpriced(problem), problem, warm, range(len(problem.jobs)), kept=True)


def _decisions(problem: PlanningProblem, warm: WarmStart, rows: Sequence[int]) -> Decisions:
    """Decide for each row whether the cleanest place that it could have is worth waiting for."""
    made = _fixed(problem, warm)
    at_once, waiting, most_g = dict[int, float | None](), dict[int, Place](), dict[int, float]()
    for row in rows:
        below_g, ratio = problem.start_thresholds[row]
        soonest, best = made.soonest(row), made.cheapest(row)
        if not soonest.known:
            continue  # nothing can be said of what waiting saves
        least_g = best.grams if best is not None and best.start_s > soonest.start_s + EPSILON_S else None
        gains = least_g is not None and least_g <= (1 - ratio) * soonest.grams * SAME
        if soonest.grams <= below_g * SAME or (ratio and not gains):
            at_once[row] = least_g
            made.put(row, soonest)
        else:
            waiting[row] = soonest
            most_g |= {row: (1 - ratio) * soonest.grams} if ratio else {}
    return Decisions(at_once=at_once, waiting=waiting, most_g=most_g)


def _in_vain(problem: PlanningProblem, decided: Decisions, found: SearchResult) -> list[int]:
    """Return the rows that wait although it saves them too little."""
    rows = (row for row in decided.most_g if row not in decided.at_once)
    return [row for row in rows if _waits_in_vain(problem, row, decided.waiting[row], found.places[row])]


def _waits_in_vain(problem: PlanningProblem, row: int, soonest: Place, place: Place) -> bool:
    """Whether a place saves too little against the soonest one, and is not clean enough either."""
    below_g, ratio = problem.start_thresholds[row]
    if not ratio or not soonest.known or place.start_s <= soonest.start_s + EPSILON_S:
        return False
    return place.grams > max((1 - ratio) * soonest.grams, below_g) * SAME


def _made_room(
    problem: PlanningProblem, warm: WarmStart, found: SearchResult, decided: Decisions, rows: Sequence[int]
) -> SearchResult:
    """Put these rows where they start soonest, one by one, where no other then misses a limit.

    Then others may find the grid clean enough, or wait in vain, that were thought to come after them or to yield.
    """
    told = decided.also({row: found.places[row].grams for row in rows if row not in decided.at_once})
    if not rows:
        return _told(problem, found, told)
    made, beside = Schedule.unpriced(problem), _fixed(problem, warm)
    for row, place in found.places.items():
        made.put(row, replace(place, cost=place.grams))
    fixed = {*problem.running, *warm.due}
    for row in dict.fromkeys([*rows, *decided.waiting]):
        soonest = beside.soonest(row)
        if row not in rows:
            is_clean = soonest.known and soonest.grams <= problem.start_thresholds[row].run_below_g * SAME
            if not (is_clean or _waits_in_vain(problem, row, soonest, made.places[row])):
                continue
            told = told.also({row: None if is_clean else made.places[row].grams})
        if soonest.start_s < made.places[row].start_s - EPSILON_S and not put_first(
            made, problem, row, soonest, fixed, decided.most_g
        ):
            continue
        fixed.add(row)
        beside.put(row, made.places[row])
    return _told(problem, replace(found, places=dict(made.places)), told)


def _told(problem: PlanningProblem, found: SearchResult, decided: Decisions) -> SearchResult:
    """Say of the rows that start at once why they do, where that is true of the places they have got."""
    places = dict(found.places)
    for row, least_g in decided.at_once.items():
        place, (below_g, ratio) = places[row], problem.start_thresholds[row]
        if place.grams <= below_g * SAME:
            places[row] = replace(place, why=ReasonCode.CLEAN_ENOUGH)
        elif ratio and least_g is not None and least_g > (1 - ratio) * place.grams:
            places[row] = replace(place, why=ReasonCode.NOT_WORTH_WAITING, waiting_g=least_g)
    return replace(found, places=places)

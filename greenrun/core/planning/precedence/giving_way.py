"""Let jobs that start as soon as they can give way where a limit that can be met would be missed for them.

What is to start at once, and what is due, comes first in every schedule. Where a limit is missed for that, two orders
are tried: that of submission, in which nobody waits for what came later, so that a stream of small jobs with limits
starves no large one; and, where a finish-by is still missed, one with those jobs first, for a finish-by was accepted.
What was first then starts as soon as it can: all others yield to it inside their limits.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from greenrun.core.jobs.dependencies import in_order
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.precedence.room import end_of, put_first, spans_of
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import Place
from greenrun.core.planning.scheduling.schedule import Schedule
from greenrun.core.planning.search import SearchResult, WarmStart, by_urgency, schedule_soonest

Search = Callable[[PlanningProblem, WarmStart], SearchResult]

MOST_TRIED = 6  # starts before the one it has that are tried for each job that gives way


class Missed(NamedTuple):
    """The rows that end after their finish-by, and those that miss another limit only."""

    promised: frozenset[int]
    others: frozenset[int]

    @property
    def rows(self) -> frozenset[int]:
        """All of them."""
        return self.promised | self.others

    @property
    def counts(self) -> tuple[int, int]:
        """How many, to be compared: a finish-by counts for more than any number of other limits."""
        return len(self.promised), len(self.others)


def search_with_way_given(problem: PlanningProblem, warm: WarmStart, search: Search) -> SearchResult:
    """Return what `search` finds, with those of `warm.due` starting later for which a limit would be missed."""
    found = search(problem, warm)
    if not warm.due:
        return found
    missed = _missed(problem, warm, found.places)
    if missed.rows and (made := _as_fair(problem, warm, found, missed)):
        found = _with_way_given(problem, problem, warm, made, search, found)
        missed = _missed(problem, warm, found.places)
    promised = {row for row in missed.promised if not problem.overdue[row]}
    if promised:
        trusting = replace(problem, taken=problem.unheld)
        tried = [_with_first(trusting, warm, promised), _as_kept(trusting, warm)]
        made = min(tried, key=lambda one: (len(_missed(problem, warm, one.places).promised), _delay_s(warm, one)))
        left = _missed(problem, warm, made.places).promised
        if len(left) < len(missed.promised):
            spared = sorted(promised - left)
            beside = [(row, made.places[row].pool, spans_of(problem, row, made.places[row])) for row in spared]
            found = _with_way_given(trusting, problem.holding_beside(beside), warm, made, search, found)
    return found


def _as_fair(problem: PlanningProblem, warm: WarmStart, found: SearchResult, missed: Missed) -> Schedule | None:
    """Return a schedule with fewer limits missed in which what is due waits no longer than in order of submission."""
    fair = schedule_soonest(problem)
    latest_s = {row: max(fair.places[row].start_s, found.places[row].start_s) + EPSILON_S for row in warm.due}
    tried = [_with_first(problem, warm, missed.rows), _as_kept(problem, warm), fair]
    better = [
        made
        for made in tried
        if all(made.places[row].start_s <= at_s for row, at_s in latest_s.items())
        if _missed(problem, warm, made.places).counts < missed.counts
    ]
    return min(
        better, key=lambda made: (_missed(problem, warm, made.places).counts, _delay_s(warm, made)), default=None
    )


def _delay_s(warm: WarmStart, made: Schedule) -> float:
    """Add up when what is due starts."""
    return sum(made.places[row].start_s for row in warm.due)


def _as_kept(problem: PlanningProblem, warm: WarmStart) -> Schedule:
    """Return a schedule with all where the last plan had them, and the others at their soonest, by urgency."""
    made, urgent = Schedule.unpriced(problem), by_urgency(problem)
    order = in_order(dict.fromkeys([*sorted(problem.running), *warm.due, *urgent]), problem.after)
    for row in order:
        if row in warm.kept and (place := made.fits_in(row, *warm.kept[row])):
            made.put(row, place)
    for row in order:
        if row not in made.places:
            made.add_soonest(row)
    return made


def _with_first(problem: PlanningProblem, warm: WarmStart, rows: Collection[int]) -> Schedule:
    """Return a schedule with these rows first, then what is due, then the others by urgency, each at its soonest."""
    made, urgent = Schedule.unpriced(problem), by_urgency(problem)
    order = [*sorted(problem.running), *(row for row in urgent if row in rows), *warm.due, *urgent]
    for row in in_order(dict.fromkeys(order), problem.after):
        made.add_soonest(row)
    return made


def _with_way_given(
    free: PlanningProblem,
    problem: PlanningProblem,
    warm: WarmStart,
    made: Schedule,
    search: Search,
    found: SearchResult,
) -> SearchResult:
    """Search again with what is due no sooner than in `made`, a schedule of `free`; return the better result."""
    _hasten(made, free, warm)
    beside = _running_as_in(made, free)
    pressed, later = list[int](), dict[int, float]()
    for row in warm.due:
        soonest = beside.soonest(row)
        gives_way = made.places[row].start_s > soonest.start_s + EPSILON_S
        if gives_way and not problem.is_pressed(row):
            continue  # it chooses its hour again, like any other
        pressed.append(row)
        later |= {row: made.places[row].start_s} if gives_way else {}
        beside.put(row, made.places[row])
    kept = {row: (place.pool, spans_of(free, row, place)) for row, place in made.places.items()}
    again = search(problem.not_before(later), replace(warm, due=tuple(pressed), kept=kept))
    missed, instead = _missed(problem, warm, found.places), _missed(problem, warm, again.places)
    if instead.counts >= missed.counts:
        return found
    places = {row: replace(place, late=True) if row in later else place for row, place in again.places.items()}
    spared = tuple(sorted(missed.rows - instead.rows))
    put_off = [row for row in warm.due if again.places[row].start_s > found.places[row].start_s + EPSILON_S]
    return replace(again, places=places, gives_way={**found.gives_way, **dict.fromkeys(put_off, spared)})


def _hasten(made: Schedule, problem: PlanningProblem, warm: WarmStart) -> None:
    """Move what is due ahead, in order, as far as the others can yield to it inside their limits."""
    beside = _running_as_in(made, problem)
    fixed = set(problem.running)
    for row in warm.due:
        soonest, now_s = beside.soonest(row), made.places[row].start_s
        if soonest.start_s < now_s - EPSILON_S:
            starts_s = _ends_between(made, problem, row, soonest.start_s, now_s)
            tried = [soonest, *(made.value.place_at(row, start_s, pool) for start_s, pool in starts_s)]
            next((place for place in tried if put_first(made, problem, row, place, fixed)), None)
        fixed.add(row)
        beside.put(row, made.places[row])


def _running_as_in(made: Schedule, problem: PlanningProblem) -> Schedule:
    twin = Schedule.unpriced(problem)
    for row in sorted(problem.running):
        twin.put(row, made.places[row])
    return twin


def _ends_between(
    made: Schedule, problem: PlanningProblem, row: int, begin_s: float, end_s: float
) -> list[tuple[float, int]]:
    """Return some instants in between, with the pools of the row where something ends then, the earliest first."""
    ends_s = sorted(
        {
            (at_s, place.pool)
            for other, place in made.places.items()
            if other != row and place.pool in problem.rows.demands.pools[row]
            if begin_s < (at_s := end_of(problem, other, place)) < end_s
        }
    )
    return ends_s[:: -(-len(ends_s) // MOST_TRIED)] if ends_s else []


def _missed(problem: PlanningProblem, warm: WarmStart, places: Mapping[int, Place]) -> Missed:
    """Return which rows miss limits of their users, be they lost already or not."""
    promised, others, due = set[int](), set[int](), set(warm.due)
    for row, place in places.items():
        job = problem.jobs[row]
        if row in problem.out_of_reach or not (job.has_limit and (place.late or row in due)):
            continue
        start, end = (datetime.fromtimestamp(at_s, UTC) for at_s in (place.start_s, end_of(problem, row, place)))
        if not job.misses_limit(start, end):
            continue
        is_promise = job.spec.finish_by is not None and replace(job, spec=replace(job.spec, max_delay=None))
        (promised if is_promise and is_promise.misses_limit(start, end) else others).add(row)
    return Missed(frozenset(promised), frozenset(others))

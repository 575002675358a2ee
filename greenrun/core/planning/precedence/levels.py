"""Plan the jobs of higher priority first: lower ones take what is left, unless a limit of theirs needs more.

Among jobs of one priority nothing but limits and grams counts. A row that others wait for has the highest of their
priorities. What runs already, and may be suspended, belongs to the highest.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from greenrun.core.jobs.dependencies import in_order
from greenrun.core.planning.arrivals.response import ExpectedArrivals
from greenrun.core.planning.candidates import Candidates, Demands
from greenrun.core.planning.gpu_timelines.timeline import copies
from greenrun.core.planning.improvement.effort import Effort
from greenrun.core.planning.precedence.even_use import even_use
from greenrun.core.planning.precedence.room import missed_limits, misses_limit, put_first, ready_s
from greenrun.core.planning.precedence.thresholds import search_with_thresholds
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import SAME, Place
from greenrun.core.planning.scheduling.schedule import Schedule
from greenrun.core.planning.search import SearchResult, WarmStart, begin, by_urgency, search

MOST_LATE = 32  # rows for which higher ones make room one by one
MOST_PREFERRED = 64  # rows that are given better places where priorities have to be fitted to limits
MOST_TRIED = 6  # places beside others that are tried for each of them
FEWEST_ITERATIONS = 10  # for the prices of one priority, however many there are


def search_by_priority(
    problem: PlanningProblem, warm: WarmStart, effort: Effort, arrivals: ExpectedArrivals | None = None
) -> SearchResult:
    """Return the best plan in which no job holds a place that one of higher priority would rather have.

    With a single priority that is what `search` finds. The bound is that of all jobs together, whatever comes first.
    """
    together = search_with_thresholds(problem, warm, partial(search, effort=effort, arrivals=arrivals))
    levels = _levels(problem)
    if len(levels) < 2:
        return together
    made = Schedule.unpriced(problem)
    share = max(FEWEST_ITERATIONS, effort.iterations * 2 // len(levels))
    for rows in levels:
        expected = arrivals if problem.jobs[rows[-1]].spec.priority <= 0 else None  # those to come have the default
        one = replace(effort, iterations=min(effort.iterations, share), from_scratch=True)
        places = _level(problem, made, rows, warm, one, expected)
        for row in in_order(rows, problem.after):
            made.put(row, replace(places[row], cost=places[row].grams))
    if _relieve(made, problem, warm):
        _prefer(made, problem, warm)
    if sum(missed_limits(problem, together.places)) < sum(missed_limits(problem, made.places)):
        made = Schedule.unpriced(problem)
        for row, place in together.places.items():
            made.put(row, replace(place, cost=place.grams))
        _relieve(made, problem, warm)
        _prefer(made, problem, warm)
    even_use(made, problem, warm.due)
    return replace(together, places=dict(made.places))


def _levels(problem: PlanningProblem) -> list[list[int]]:
    """Return the rows by priority, the highest first, and last those out of reach: GPUs do not stand idle for them."""
    priority = list(problem.precedence)
    for row in reversed(in_order(range(len(priority)), problem.after)):
        for other in problem.after.get(row, ()):
            priority[other] = max(priority[other], priority[row])
    queued = [own for row, own in enumerate(priority) if row not in problem.running | problem.out_of_reach]
    highest = max(queued, default=0)
    by_level: dict[int, list[int]] = {}
    for row, own in enumerate(priority):
        if row not in problem.out_of_reach:
            by_level.setdefault(highest if row in problem.running else own, []).append(row)
    last = sorted(problem.out_of_reach)
    return [by_level[own] for own in sorted(by_level, reverse=True)] + ([last] if last else [])


def _level(
    problem: PlanningProblem,
    made: Schedule,
    rows: Sequence[int],
    warm: WarmStart,
    effort: Effort,
    arrivals: ExpectedArrivals | None,
) -> Mapping[int, Place]:
    """Return the best places of these rows beside what is in `made` already."""
    part = _part(problem, made, rows)
    index = {row: number for number, row in enumerate(rows)}
    own = WarmStart(
        due=tuple(index[row] for row in warm.due if row in index),
        kept={index[row]: spans for row, spans in warm.kept.items() if row in index},
        prices=np.zeros_like(warm.prices),
    )
    found = search_with_thresholds(part, own, partial(search, effort=effort, arrivals=arrivals))
    return {row: found.places[number] for row, number in index.items()}


def _part(problem: PlanningProblem, made: Schedule, rows: Sequence[int]) -> PlanningProblem:
    """Return the problem of these rows alone, beside what is placed in `made`."""
    index, every = {row: number for number, row in enumerate(rows)}, list(rows)
    all_demands = problem.rows.demands
    release_s = np.array([ready_s(problem, made, row) for row in rows])
    demands = Demands(
        release_s=release_s,
        latest_s=np.maximum(all_demands.latest_s[every], release_s),
        length_s=all_demands.length_s[every],
        units=all_demands.units[every],
        watts=all_demands.watts[every],
        pools=tuple(all_demands.pools[row] for row in rows),
        alike=all_demands.alike,
        mw=None if all_demands.mw is None else all_demands.mw[:, every],
    )
    flexible = {index[row]: job for row, job in problem.flexible.items() if row in index}
    taken = tuple(copies(made.pools))
    return replace(
        problem,
        jobs=tuple(problem.jobs[row] for row in rows),
        precedence=tuple(problem.precedence[row] for row in rows),
        later=frozenset(),
        taken=taken,
        unheld=taken,
        rows=Candidates.of(demands, problem.knots_s, problem.intensity, without=flexible),
        overdue=tuple(problem.overdue[row] for row in rows),
        running=frozenset(index[row] for row in problem.running if row in index),
        flexible=flexible,
        limits=tuple(problem.limits[row] for row in rows),
        after=_after(problem, index),
        soft_deadlines={index[row]: end_s for row, end_s in problem.soft_deadlines.items() if row in index},
        start_thresholds={index[row]: limits for row, limits in problem.start_thresholds.items() if row in index},
        unpinned=None,
        out_of_reach=frozenset(),
        standing=None,
        slipped=tuple(index[row] for row in problem.slipped if row in index),
        has={index[row]: devices for row, devices in problem.has.items() if row in index},
    )


def _after(problem: PlanningProblem, index: Mapping[int, int]) -> dict[int, tuple[int, ...]]:
    found = {
        index[row]: tuple(index[other] for other in others if other in index)
        for row, others in problem.after.items()
        if row in index
    }
    return {row: others for row, others in found.items() if others}


def _relieve(made: Schedule, problem: PlanningProblem, warm: WarmStart) -> bool:
    """Let others yield to rows that miss their limits: inside their own, or where one of lower priority misses it.

    Return whether there were any such rows.
    """
    late = [row for row in _by_priority(problem) if misses_limit(problem, row, made.places[row])]
    fixed = {*problem.running, *warm.due}
    for row in late[:MOST_LATE]:
        if row not in fixed:
            _put_within_limits(made, problem, row, fixed)
    return bool(late)


def _prefer(made: Schedule, problem: PlanningProblem, warm: WarmStart) -> None:
    """Give rows, the highest priorities first, the cheapest places that those below them can leave them."""
    beside = begin(Schedule.unpriced(problem), problem, warm, range(len(problem.jobs)), kept=True)
    fixed = {*problem.running, *warm.due}
    lowest = min(problem.precedence)
    stay = fixed | problem.tied | problem.out_of_reach
    movable = [row for row in _by_priority(problem) if row not in stay]
    for row in movable[:MOST_PREFERRED]:
        if problem.precedence[row] == lowest:
            return
        for place in _cheaper_places(made, problem, row, beside):
            if put_first(made, problem, row, place, fixed):
                break
        fixed.add(row)
        beside.put(row, made.places[row])


def _cheaper_places(made: Schedule, problem: PlanningProblem, row: int, beside: Schedule) -> Iterator[Place]:
    """Yield some places that are free beside what does not yield and emit less than the row does, the least first."""
    rows, now_g = problem.rows, made.places[row].grams
    length_s, units = float(rows.demands.length_s[row]), int(rows.demands.units[row])
    mine = np.arange(rows.first[row], rows.first[row + 1])
    cheaper = mine[rows.grams[mine] < now_g / SAME]
    tried = 0
    for at in cheaper[np.argsort(rows.grams[cheaper], kind="stable")].tolist():
        start_s, pool = float(rows.starts_s[at]), int(rows.pool[at])
        if tried < MOST_TRIED and beside.pools[pool].is_free(
            start_s, start_s + length_s, units, rows.demands.of_power(row, pool)
        ):
            tried += 1
            yield made.value.place_at(row, start_s, pool)


def _put_within_limits(made: Schedule, problem: PlanningProblem, row: int, fixed: Collection[int]) -> None:
    """Put a row within its limits where that costs those of higher priorities least; leave it where it cannot be."""
    before = dict(made.places)
    best, least = before, None
    for place in _places_within_limits(made, problem, row):
        if put_first(made, problem, row, place, fixed):
            costs = _costs(problem, made.places)
            if least is None or costs < least:
                best, least = dict(made.places), costs
            _restore(made, before)
    _restore(made, best)


def _places_within_limits(made: Schedule, problem: PlanningProblem, row: int) -> list[Place]:
    """Return some places of a row within its limits, free or not: the first and the last, and those beside others."""
    demands = problem.rows.demands
    first_s, last_s, length_s = ready_s(problem, made, row), float(demands.latest_s[row]), float(demands.length_s[row])
    found = []
    for pool in demands.pools[row]:
        begins, ends = made.pools[pool].blocked(int(demands.units[row]), demands.of_power(row, pool))
        beside = np.unique(np.concatenate([ends, begins - length_s]))
        beside = beside[(beside > first_s) & (beside < last_s)]
        some = beside[:: max(1, len(beside) // MOST_TRIED)]
        found += [
            made.value.place_at(row, start_s, pool) for start_s in dict.fromkeys([last_s, first_s, *some.tolist()])
        ]
    return [place for place in found if not place.late]


def _by_priority(problem: PlanningProblem) -> list[int]:
    """Return the rows by priority, the highest first, and then by urgency."""
    return sorted(by_urgency(problem), key=lambda row: -problem.precedence[row])


def _costs(problem: PlanningProblem, places: Mapping[int, Place]) -> tuple[tuple[float, float], ...]:
    """Return what all emit, and of equals how late they start, summed by priority, the highest first."""
    sums = {own: [0.0, 0.0] for own in sorted(set(problem.precedence), reverse=True)}
    for row in sorted(places):
        own = sums[problem.precedence[row]]
        own[0] += places[row].grams
        own[1] += places[row].start_s - problem.now_s
    return tuple((round(grams, 6), delay_s) for grams, delay_s in sums.values())


def _restore(made: Schedule, places: Mapping[int, Place]) -> None:
    """Move rows back to where they were."""
    moved = [row for row, place in places.items() if made.places[row] is not place]
    for row in moved:
        made.remove(row)
    for row in moved:
        made.put(row, places[row])

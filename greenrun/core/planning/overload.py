"""Schedules for queues whose limits cannot all be met: the fewest missed first, then the least lateness, then grams.

Which rows are to miss their limits is chosen as Moore and Hodgson do (Moore 1968, Management Science 15(1)): in order
of their limits, and where one would be late the largest before it gives way. What is late goes by its size, smallest
first, which keeps the sum of lateness small (Smith 1956, Naval Research Logistics Quarterly 3). The plain orders by
limit and by size are tried too; the search also weighs first come first served, so that no plan is worse than that.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from greenrun.core.jobs.dependencies import in_order
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.schedule import Schedule

MOST_ROWS = 2_000  # with more, only whole orders are tried
MOST_VICTIMS = 3  # rows that are tried, largest first, to give way to one that would be late


def overload_schedules(problem: PlanningProblem, begin: Callable[[], Schedule]) -> Iterator[Schedule]:
    """Yield schedules of all rows; `begin` returns a new one with those that have a place whatever the others do."""
    placed = begin().places
    rows = [row for row in range(len(problem.rows.demands)) if row not in placed]
    by_limit, by_size = sorted(rows, key=_by_limit(problem)), sorted(rows, key=_by_size(problem))
    for order in (by_limit, by_size):
        yield _relaxed(_soonest(begin(), problem, order), problem, rows)
    if len(rows) > MOST_ROWS:
        return
    made = begin()
    late = sorted(_give_up(made, problem, in_order(by_limit, problem.after)), key=_by_size(problem))
    kept = [row for row in by_limit if row in made.places]
    yield _relaxed(_soonest(made, problem, late), problem, rows)
    if not problem.after:
        yield _relaxed(_soonest(_as_late_as_possible(begin(), problem, kept), problem, late), problem, rows)


def _by_limit(problem: PlanningProblem) -> Callable[[int], tuple[float, int, int]]:
    latest_s = problem.rows.demands.latest_s.tolist()
    return lambda row: (latest_s[row], -problem.precedence[row], problem.jobs[row].id)


def _by_size(problem: PlanningProblem) -> Callable[[int], tuple[int, float, int]]:
    sizes = _sizes(problem)
    return lambda row: (-problem.precedence[row], sizes[row], problem.jobs[row].id)


def _sizes(problem: PlanningProblem) -> Sequence[float]:
    """Return the time of GPUs that each row takes."""
    demands = problem.rows.demands
    sizes: list[float] = (demands.length_s * demands.units).tolist()
    return sizes


def _soonest(made: Schedule, problem: PlanningProblem, order: Iterable[int]) -> Schedule:
    """Put rows in this order, each as soon as it fits."""
    for row in in_order([row for row in order if row not in made.places], problem.after):
        made.add_soonest(row)
    return made


def _give_up(made: Schedule, problem: PlanningProblem, order: Sequence[int]) -> list[int]:
    """Put the rows, in order of their limits, that can meet them together; return the others."""
    sizes, limits, given_up = _sizes(problem), problem.limits, list[int]()
    kept: list[int] = []
    for row in order:
        if problem.overdue[row] or any(other not in made.places for other in problem.after.get(row, ())):
            given_up.append(row)
            continue
        if not made.add_soonest(row).late:
            kept.append(row)
            continue
        larger = [
            other
            for other in kept
            if sizes[other] > sizes[row] and limits[other] <= limits[row] and other not in problem.tied
        ]
        for victim in sorted(larger, key=lambda other: -sizes[other])[:MOST_VICTIMS]:
            place, old = made.remove(row), made.remove(victim)
            if not made.add_soonest(row).late:
                kept.remove(victim)
                kept.append(row)
                given_up.append(victim)
                break
            made.remove(row)
            made.put(victim, old)
            made.put(row, place)
        else:
            made.remove(row)
            given_up.append(row)
    return given_up


def _as_late_as_possible(made: Schedule, problem: PlanningProblem, rows: Sequence[int]) -> Schedule:
    """Put rows that can meet their limits together as late as these allow, so that what is late can go before them."""
    for row in reversed(rows):
        if place := made.latest(row):
            made.put(row, place)
    return _soonest(made, problem, rows)


def _relaxed(made: Schedule, problem: PlanningProblem, rows: Sequence[int]) -> Schedule:
    """Move what is late as far ahead as there is room, and the others to where they emit less inside their limits."""
    by_start = sorted(rows, key=lambda row: made.places[row].start_s)
    free = [row for row in by_start if row not in problem.tied]
    for row in free:
        if made.places[row].late or problem.overdue[row]:
            made.remove(row)
            made.add_soonest(row)
    for row in free:
        if not made.places[row].late and not problem.overdue[row]:
            made.remove(row)
            made.add(row)
    return made

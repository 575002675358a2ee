"""What large queues need beside: room is made for rows that would be late, and a plan near the bound is good enough."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np

from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.schedule import Schedule

MANY = 400  # rows from which on a queue is large: building a schedule takes so long that one near the bound has to do
ATTEMPTS = 60
FEW_LATE = 32  # of more late rows than that, no swaps will make a schedule without any
TRADES = 48  # rows that one that is late tries to trade places with
TAKEN_OUT = 16  # rows that make room for one that is late


def until_near(best: Schedule, schedules: Iterable[Schedule], bound_g: float, gap: float) -> Iterator[Schedule]:
    """Pass schedules on, `best` first, up to one that misses no limit and is within `gap` of the bound."""
    for made in chain([best], schedules):
        yield made
        if _is_near(made, bound_g, gap):
            return


def repair(made: Schedule, problem: PlanningProblem, fixed: frozenset[int]) -> None:
    """Put rows that miss their limits before some of those in their way; undo what makes more of them late.

    Deterministic. `fixed` are the rows that stay where they are.
    """
    rng, demands = np.random.default_rng(len(problem.jobs)), problem.rows.demands
    for _ in range(ATTEMPTS):
        late = [row for row, place in made.places.items() if place.late and row not in fixed]
        if not late or len(late) > FEW_LATE:
            return
        row = late[int(rng.integers(len(late)))]
        begin_s = rng.uniform(demands.release_s[row], demands.latest_s[row])
        near = _between(made, problem, begin_s, begin_s + float(demands.length_s[row]), fixed | {row})
        out = [near[int(index)] for index in rng.permutation(len(near))[:TAKEN_OUT]]
        before, old = made.missed, {other: made.remove(other) for other in [row, *out]}
        made.add_all([row, *sorted(out, key=lambda other: float(demands.latest_s[other]))])
        if made.missed > before:
            for other in old:
                made.remove(other)
            for other, place in old.items():
                made.put(other, place)


def trade_places(
    made: Schedule, problem: PlanningProblem, fixed: frozenset[int], may_place: Callable[[int], bool]
) -> None:
    """Let rows that miss their limits have the time of one that can be put elsewhere inside its own; deterministic.

    Largest first leaves the smallest rows without room in crowded hours. The hole that one large row leaves is enough
    for many of them, where building everything anew would only make others late. `fixed` are the rows that stay;
    `may_place` tells whether so many rows may still be put.
    """
    demands = problem.rows.demands
    starts_s = np.array([made.places[row].start_s for row in range(len(demands))])
    movable = np.array([row not in fixed and not made.places[row].pieces for row in range(len(demands))], dtype=bool)
    late = [row for row, place in made.places.items() if place.late and movable[row]]
    for row in sorted(late, key=lambda row: -float(demands.length_s[row] * demands.units[row])):
        begin_s, end_s = float(demands.release_s[row]), float(demands.latest_s[row] + demands.length_s[row])
        near = movable & (starts_s < end_s) & (starts_s + demands.length_s > begin_s)
        near &= np.array(demands.units >= demands.units[row])
        elsewhere_s = np.maximum(demands.latest_s - end_s, begin_s - demands.release_s - demands.length_s)
        ways = near.nonzero()[0]
        ways = ways[np.argsort(-elsewhere_s[ways], kind="stable")][:TRADES]
        for other in (row, *(other for other in ways.tolist() if other != row)):
            if not may_place(2):
                return
            if _traded(made, row, other):
                starts_s[[row, other]] = made.places[row].start_s, made.places[other].start_s
                break


def _traded(made: Schedule, row: int, other: int) -> bool:
    """Put `row`, and then `other`, inside their limits; undo it and return False where they do not both fit there.

    With itself for `other` the row is only put where others have made room meanwhile.
    """
    old = {each: made.remove(each) for each in dict.fromkeys((row, other))}
    for each in old:
        place = made.cheapest(each)
        if place is None:
            break
        made.put(each, place)
    else:
        return True
    for each in old:
        if each in made.places:
            made.remove(each)
    for each, place in old.items():
        made.put(each, place)
    return False


def _is_near(made: Schedule, bound_g: float, gap: float) -> bool:
    return not made.missed and not made.unknown and made.grams - bound_g <= gap * abs(bound_g)


def _between(made: Schedule, problem: PlanningProblem, begin_s: float, end_s: float, but: frozenset[int]) -> list[int]:
    """Return the rows, `but` these, that run at some time of `[begin_s, end_s)`."""
    length_s = problem.rows.demands.length_s
    return [
        row
        for row, place in made.places.items()
        if row not in but and place.start_s < end_s and place.start_s + length_s[row] > begin_s
    ]

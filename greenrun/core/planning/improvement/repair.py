"""What large queues need beside: room is made for rows that would be late, and a plan near the bound is good enough."""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.schedule import Schedule

MANY = 400  # rows from which on a queue is large: building a schedule takes so long that one near the bound has to do
ATTEMPTS = 60
FEW_LATE = 32  # of more late rows than that, no swaps will make a schedule without any
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

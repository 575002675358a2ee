"""Rows trade time where some may be suspended: one far from what it would like goes first, then those in its way."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from greenrun.core.planning.candidates import Ints
from greenrun.core.planning.improvement.effort import Effort
from greenrun.core.planning.improvement.rearrangement import STEADY_G, Goal, is_far, put_back
from greenrun.core.planning.lagrangian import DualSolution
from greenrun.core.planning.preemption.dual import SuspendableResponse
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.schedule import Schedule

MOST_OUT = 2  # rows that are taken out beside one: more are seldom put back to do better
PLACINGS, FEWER = 6, 4  # rows put into a schedule for each attempt to rearrange it; a light plan puts fewer


class _Wishes:
    """Where rows would run if all GPUs were free for what they cost, and what that costs, in g.

    `cells` tells of each pair of a row and a cell whether the row would run then.
    """

    def __init__(self, problem: PlanningProblem, sought: DualSolution, suspended: SuspendableResponse) -> None:
        rows, knots_s, count = problem.rows, problem.knots_s, len(problem.jobs)
        self.cost, self.pool = np.full(count, np.inf), np.zeros(count, dtype=np.int64)
        self.cells = np.zeros((count, len(knots_s) - 1), bool)
        at, own = sought.chosen, rows.row[sought.chosen]
        self.cost[own], self.pool[own] = sought.costs[at], rows.pool[at]
        ends_s = rows.starts_s[at] + rows.demands.length_s[own]
        nth = np.arange(len(knots_s) - 1)
        first, last = knots_s.searchsorted(rows.starts_s[at], "right") - 1, knots_s.searchsorted(ends_s)
        self.cells[own] = (nth >= first[:, None]) & (nth < last[:, None])
        flexible = sorted(problem.flexible)
        self.cost[flexible], self.pool[flexible], self.cells[flexible] = suspended.preferred(sought.prices)


class _Busy:
    """The pool and the cells in which each row runs in a schedule, kept up as rows move."""

    def __init__(self, made: Schedule, problem: PlanningProblem) -> None:
        self._made, self._knots_s, self._length_s = made, problem.knots_s, problem.rows.demands.length_s
        self._alike = problem.rows.demands.alike or tuple(range(len(problem.pools)))
        self._pool = np.zeros(len(problem.jobs), dtype=np.int64)
        self._cells: NDArray[np.bool_] = np.zeros((len(problem.jobs), len(problem.knots_s) - 1), bool)
        for row in made.places:
            self.note(row)

    def note(self, row: int) -> None:
        """Note where a row is now."""
        place = self._made.places[row]
        spans = place.pieces or ((place.start_s, place.start_s + float(self._length_s[row])),)
        self._pool[row], self._cells[row] = self._alike[place.pool], False
        for begin_s, end_s in spans:
            first, last = self._knots_s.searchsorted(begin_s, "right") - 1, self._knots_s.searchsorted(end_s)
            self._cells[row, first:last] = True

    def in_the_way(self, row: int, wishes: _Wishes, movable: NDArray[np.bool_]) -> Ints:
        """Return the movable rows that run where a row would like to."""
        wished = wishes.cells[row]
        meets = movable & (self._pool == wishes.pool[row]) & self._cells[:, wished].any(axis=1)
        meets[row] = False
        return np.flatnonzero(meets)


def exchanged(
    best: Schedule,
    problem: PlanningProblem,
    sought: DualSolution,
    suspended: SuspendableResponse,
    bound_g: float,
    goal: Goal,
    effort: Effort,
    fixed: frozenset[int],
) -> Schedule:
    """Take out a row that costs more than where it would like to be, and one or two in its way; put it back first.

    What a row loses is measured at the prices found, since the gap to the bound is made of that; where it is put is
    chosen by `goal`. Deterministic.
    """
    wishes = _Wishes(problem, sought, suspended)
    movable = wishes.cost < np.inf
    movable[list(fixed | problem.running | problem.tied | problem.start_thresholds.keys())] = False
    if not movable.any():
        return best
    value, size = best.value.at(sought.prices, sought.costs), problem.rows.demands.length_s * problem.rows.demands.units
    made = best if goal.priced else best.repriced(problem, np.zeros_like(sought.prices), problem.rows.grams)
    least, busy = least_costs(problem, suspended, goal), _Busy(made, problem)

    def lost_g(row: int) -> float:
        place = made.places[row]
        return max(0.0, place.grams + value.spent_on(row, place) - float(wishes.cost[row]))

    lost = np.array([lost_g(row) if movable[row] else 0.0 for row in range(len(movable))])
    rng, left = np.random.default_rng(len(problem.jobs)), PLACINGS * effort.rearrangements
    left //= 1 if effort.from_scratch else FEWER
    while left > 0 and lost.any() and (goal.priced or is_far(made, bound_g, effort.gap)):
        up_to = np.cumsum(lost)
        row = int(up_to.searchsorted(rng.random() * up_to[-1], side="right"))
        near = rng.permutation(busy.in_the_way(row, wishes, movable))[: int(rng.integers(1, MOST_OUT + 1))]
        out = [row, *sorted(near.tolist(), key=lambda other: -size[other])]
        left -= len(out)
        before, state = goal.of(made), made.state()
        for other in out:
            made.remove(other)
        if put_back(made, out, goal, (*before[:3], before[3] - STEADY_G), least):
            for other in out:
                busy.note(other)
                lost[other] = lost_g(other)
        else:
            made.restore(state)
    return made


def least_costs(problem: PlanningProblem, suspended: SuspendableResponse, goal: Goal) -> Mapping[int, float]:
    """Return what rows emit at least, in g, where grams are the goal; nothing where prices count as well."""
    if goal.priced:
        return {}
    grams, first = problem.rows.grams, problem.rows.first
    filled = np.diff(first).nonzero()[0]
    whole = np.minimum.reduceat(grams, first[filled]) if len(filled) else np.zeros(0)
    pieces = suspended.least_emitted()
    return dict(zip([*filled.tolist(), *sorted(problem.flexible)], [*whole.tolist(), *pieces.tolist()], strict=True))

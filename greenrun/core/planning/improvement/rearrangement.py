"""A schedule improved in places: some rows taken out and put back, each moved alone, a few put in every order."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from greenrun.core.planning.improvement.effort import Effort
from greenrun.core.planning.improvement.exhaustive import FEW, ExhaustiveSearch, Objective
from greenrun.core.planning.lagrangian import DualSolution
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import Place
from greenrun.core.planning.scheduling.schedule import Schedule

TAKEN_OUT = 8  # rows that make room for another when a schedule is improved
SUSPENDED_GAP = 0.2  # of the gap that is small enough: jobs that may be suspended come nearer to the bound
TURNS_EACH = 25  # turns in trying a few rows in every order that an attempt to rearrange stands for
STEADY_G = 1e-9
LEAST = 1 - 1e-9  # of a sum of floats, so as to stay below it


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What makes a schedule better than another."""

    priced: bool

    def of(self, schedule: Schedule) -> Objective:
        of_known = schedule.cost if self.priced else schedule.grams
        return schedule.missed, schedule.late_s, schedule.unknown, round(of_known, 9)

    def best(self, schedules: Iterable[Schedule]) -> Schedule:
        return min(schedules, key=self.of)  # the first of equals


def is_far(best: Schedule, bound_g: float, gap: float) -> bool:
    """Tell whether a plan emits more than the bound by a larger share than is asked for."""
    return best.grams - bound_g > gap * abs(bound_g)


def rearrange(
    best: Schedule, problem: PlanningProblem, sought: DualSolution, goal: Goal, effort: Effort, fixed: frozenset[int]
) -> None:
    """Take out a row that costs more than its best start, and some in its way; put it back first; keep the better."""
    rng = np.random.default_rng(len(problem.jobs))
    rows = problem.rows
    wish = {
        row: at
        for row, at in zip(rows.row[sought.chosen].tolist(), sought.chosen.tolist(), strict=True)
        if row not in fixed
    }
    least = {row: float(sought.costs[at]) for row, at in wish.items()}
    size = rows.demands.length_s * rows.demands.units
    movable: list[int] = []
    up_to = np.zeros(0)  # the shares of their regrets, summed up
    is_changed = True
    for _ in range(effort.rearrangements):
        if not is_far(best, sought.bound_g, effort.gap) and not goal.priced:
            return
        if is_changed:
            movable = [row for row in wish if best.places[row].cost > least[row] * (1 + 1e-9)]
            up_to = np.cumsum([best.places[row].cost - least[row] for row in movable])
        if not movable:
            return
        nth = int(up_to.searchsorted(rng.random() * up_to[-1], side="right"))
        row = movable[min(nth, len(movable) - 1)]
        out = [row, *_in_the_way(best, problem, row, wish, rng)]
        before, state = goal.of(best), best.state()
        for other in out:
            best.remove(other)
        again = [row, *sorted(out[1:], key=lambda other: -size[other])]
        is_changed = put_back(best, again, goal, (*before[:3], before[3] - STEADY_G), least if goal.priced else {})
        if not is_changed:
            best.restore(state)


def put_back(made: Schedule, order: Sequence[int], goal: Goal, before: Objective, least: Mapping[int, float]) -> bool:
    """Put rows back in this order; stop and return False once they cannot become better than `before`.

    `least` is what they cost at least, 0 where nothing is said. What is missed, late or unknown only grows.
    """
    to_come = sum(least.get(row, 0.0) for row in order)
    for row in order:
        to_come -= least.get(row, 0.0)
        made.add(row)
        *limits, cost = goal.of(made)
        if (*limits, cost + to_come * LEAST) >= before:
            return False
    return goal.of(made) < before


def swept(
    best: Schedule, *, problem: PlanningProblem, sought: DualSolution, goal: Goal, fixed: frozenset[int]
) -> Schedule:
    """Move each row to where it costs less beside all others, those first that their places cost most.

    Nothing gets worse. On long queues one sweep does what no order of building does: the holes are filled that larger
    rows have left.
    """
    made = best.twin() if goal.priced else best.repriced(problem, np.zeros_like(sought.prices), problem.rows.grams)
    costs, first = sought.costs if goal.priced else problem.rows.grams, problem.rows.first
    filled = np.diff(first).nonzero()[0]
    least = np.minimum.reduceat(costs, first[filled]).tolist() if len(filled) else []
    regret = {row: made.places[row].cost - cost for row, cost in zip(filled.tolist(), least, strict=True)}
    but = fixed | problem.tied | problem.start_thresholds.keys()
    rows = [row for row, lost_g in regret.items() if row not in but and lost_g > STEADY_G]
    for row in sorted(rows, key=lambda row: -regret[row]):
        made.move_if_cheaper(row, exactly=False)
    return made if goal.priced else made.repriced(problem, sought.prices, sought.costs)


def moved(
    best: Schedule,
    problem: PlanningProblem,
    sought: DualSolution,
    goal: Goal,
    effort: Effort,
    fixed: frozenset[int],
    least: Mapping[int, float],
) -> Schedule:
    """Move each row that may be suspended to where it costs less beside all others; few rows to their best cells.

    `least` is what rows cost at least by the goal, where that is known.
    """
    rows = problem.flexible.keys() - fixed - problem.start_thresholds.keys()
    near = effort.gap * (SUSPENDED_GAP if effort.from_scratch else 1)
    is_good = best.grams - sought.bound_g <= near * abs(sought.bound_g) and not goal.priced
    if is_good and len(rows) > FEW:
        return best
    made = best if goal.priced else best.repriced(problem, np.zeros_like(sought.prices), problem.rows.grams)
    for row in sorted(rows):
        place = made.places[row]
        if place.late or place.cost > least.get(row, 0.0) + STEADY_G:
            made.move_if_cheaper(row, exactly=len(rows) <= FEW)
    return made


def in_every_order(
    best: Schedule, problem: PlanningProblem, due: Sequence[int], sought: DualSolution, goal: Goal, effort: Effort
) -> Mapping[int, Place]:
    """Return the best places of a few rows put in every order; those they have when none is better."""
    rows = [row for row in sorted(best.places) if row not in problem.running and row not in due]
    is_good = not is_far(best, sought.bound_g, effort.gap) and not (goal.priced or best.missed)
    if is_good or len(rows) > FEW or problem.tied or problem.flexible.keys() & set(rows):  # too many ways
        return best.places
    made = Schedule(problem, sought.prices, sought.costs) if goal.priced else Schedule.unpriced(problem)
    made.add_all(row for row in sorted(best.places) if row in problem.running)
    for row in due:
        made.put(row, made.soonest(row))
    costs, first = sought.costs if goal.priced else problem.rows.grams, problem.rows.first
    least = {row: float(costs[first[row] : first[row + 1]].min(initial=np.inf)) for row in rows}
    exhaustive = ExhaustiveSearch(
        made, goal.of, goal.of(best), gap=effort.gap, turns=TURNS_EACH * effort.rearrangements
    )
    exhaustive.run({row: 0.0 if cost == np.inf else cost for row, cost in least.items()})
    return exhaustive.places or best.places


def _in_the_way(
    best: Schedule, problem: PlanningProblem, row: int, wish: Mapping[int, int], rng: "np.random.Generator"
) -> list[int]:
    """Return some of the rows that hold GPUs of the pool and the time that `row` would like best."""
    length_s, start_s, pool = (
        problem.rows.demands.length_s,
        problem.rows.starts_s[wish[row]],
        int(problem.rows.pool[wish[row]]),
    )
    alike = problem.rows.demands.alike or range(len(problem.pools))
    end_s = start_s + length_s[row]
    near = [
        other
        for other in wish
        if other != row
        and alike[(place := best.places[other]).pool] == pool
        and place.start_s < end_s
        and place.start_s + length_s[other] > start_s
    ]
    return [near[int(index)] for index in rng.permutation(len(near))[:TAKEN_OUT]]

"""The search for a good plan: prices first, then arrangements that fit, the best of which is rearranged in places."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.dependencies import in_order
from greenrun.core.planning.bound import bound_at
from greenrun.core.planning.candidates import Candidates
from greenrun.core.planning.costing import SAME, Place, cheapest_suspended
from greenrun.core.planning.exhaustive import FEW, Trial
from greenrun.core.planning.lagrangian import Prices, Respond, find_prices
from greenrun.core.planning.preemption import Spans, mean_use
from greenrun.core.planning.problem import Problem
from greenrun.core.planning.repair import MANY, mend, until_near
from greenrun.core.planning.schedule import Arrangement

ROUNDS = 4  # how often rows that missed their limits are put first and all is arranged anew
TAKEN_OUT = 8  # rows that make room for another when a plan is rearranged
STEP_WEIGHT, TABLE_WEIGHT, FEWEST_STEPS = 600, 20, 3  # a table for restarts costs so many times a mere choice of cells
BOUND_SHARE = 3  # beside jobs that may arrive, a part of the steps goes into the bound, which leaves them out
GHOST_SLACK = 2.0  # what jobs that may arrive will emit is guessed at so many times the least they could
TURNS_EACH = 25  # turns in trying a few rows in every order that an attempt to rearrange stands for
STEADY_G = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to search: steps of the prices, attempts to rearrange, and the gap to the bound that is small enough.

    `work` bounds the candidates that are priced in all steps together.

    `anew`: build the plan from scratch too, and not only around the last one.
    """

    iterations: int
    rearrangements: int
    gap: float
    work: int
    anew: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """What is known before: rows that must start as soon as they can, in order; and last plan's places and prices.

    A place is kept as its pool and the intervals in which the row was to run.
    """

    due: tuple[int, ...]
    kept: Mapping[int, tuple[int, Spans]]
    prices: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The places of all rows, the prices they were found with, and a lower bound on all plans, in g.

    `soonest_g` is what starting all as soon as possible would emit; None when that is not known.
    """

    places: Mapping[int, Place]
    prices: Floats
    bound_g: float
    soonest_g: float | None


def search(problem: Problem, seeds: Seeds, effort: Effort, ghosts: Candidates | None = None) -> Found:
    """Return the best plan found: least in missed limits, then in emissions (and in room left to `ghosts`)."""
    urgent = by_urgency(problem)
    first = _arranged(problem, seeds, seeds.prices, problem.rows.costs(seeds.prices), urgent, kept=True)
    others = [flexible_response(problem)] if problem.flexible else []
    ask = partial(find_prices, problem.rows, problem.free, upper_g=first.grams, gap=effort.gap)
    effort = replace(effort, iterations=min(effort.iterations, _affordable(problem, effort.work)))
    bounding = effort.iterations if ghosts is None else effort.iterations // BOUND_SHARE
    sought = ask(seeds.prices, iterations=bounding, others=others)
    bound_g = bound_at(problem, sought.prices) if problem.flexible else sought.bound_g  # cells are a choice of ours
    proved_g = bound_at(problem.unpinned, sought.prices) if problem.unpinned else bound_g
    if ghosts is not None:
        pressed, unpriced = ghost_response(ghosts), np.zeros_like(seeds.prices)
        upper_g = first.grams + GHOST_SLACK * pressed(unpriced)[0]
        sought = ask(seeds.prices, iterations=effort.iterations, others=[*others, pressed], upper_g=upper_g, gap=0.0)
    goal = _Goal(priced=ghosts is not None)
    soonest = arranged_soonest(problem, seeds.due)
    made, soonest_g = [first, soonest], None if soonest.unknown else soonest.grams
    if sought.prices.any() or seeds.prices.any():  # else these are weighed at the same prices already
        made = [old.repriced(problem, sought.prices, sought.costs) for old in made]
        made.insert(1, _arranged(problem, seeds, sought.prices, sought.costs, urgent, kept=True))
    best = goal.best(made)
    if not goal.priced and _is_proved(best, bound_g):
        effort = replace(effort, anew=False, rearrangements=0)
    if best.missed or effort.anew:
        arranged = _arrangements(problem, seeds, sought, urgent)
        if len(problem.jobs) >= MANY:
            arranged = until_near(best, arranged, bound_g, effort.gap)
        best = goal.best([best, *arranged])
    if effort.rearrangements:
        _rearrange(best, problem, sought, goal, effort, problem.tied | frozenset(seeds.due))
    places = _tried(best, problem, seeds, sought, goal, effort)
    return Found(places=places, prices=sought.prices, bound_g=proved_g, soonest_g=soonest_g)


def _is_proved(best: Arrangement, bound_g: float) -> bool:
    """Tell whether no plan can be better."""
    return not best.missed and not best.unknown and best.grams <= bound_g * SAME


def _affordable(problem: Problem, work: int) -> int:
    """Return how many steps of the prices to take at most; jobs that may be suspended make a step dear."""
    weight = sum(
        TABLE_WEIGHT if job.restart_s or job.min_run_s > job.step_s else 1 for job in problem.flexible.values()
    )
    steps = min(work // max(1, len(problem.rows.row)), STEP_WEIGHT // weight if weight else sys.maxsize)
    return max(FEWEST_STEPS, steps)


def arranged_soonest(problem: Problem, due: Sequence[int] = ()) -> Arrangement:
    """Start everything as soon as it fits, what is due first, then in order of earliest start: without a forecast."""
    made = Arrangement.unpriced(problem)
    jobs = problem.jobs
    first = dict.fromkeys([*sorted(problem.running), *due])
    order = sorted(range(len(jobs)), key=lambda row: (jobs[row].earliest_start, jobs[row].id))
    for row in in_order([*first, *(row for row in order if row not in first)], problem.after):
        made.put(row, made.soonest(row))
    return made


def flexible_response(problem: Problem) -> Respond:
    """Return how all rows that may be suspended answer prices: each takes its cheapest intervals."""

    def respond(prices: Floats) -> tuple[float, Floats]:
        places = cheapest_suspended(problem, prices)
        usage = np.zeros_like(prices)
        for row, (_, pool, pieces) in places.items():
            spans = np.array(pieces)
            usage[pool] += mean_use(spans[:, 0], spans[:, 1], problem.knots_s) * problem.flexible[row].units
        return sum(cost for cost, _, _ in places.values()), usage

    return respond


def ghost_response(ghosts: Candidates) -> Respond:
    """Return how jobs that are expected to arrive answer prices."""

    def respond(prices: Floats) -> tuple[float, Floats]:
        chosen, least = ghosts.cheapest(ghosts.costs(prices))
        return float(least.sum()), ghosts.usage(chosen, len(prices))

    return respond


@dataclass(frozen=True, slots=True, kw_only=True)
class _Goal:
    """What makes an arrangement better than another."""

    priced: bool

    def of(self, arrangement: Arrangement) -> tuple[int, int, float]:
        of_known = arrangement.cost if self.priced else arrangement.grams
        return arrangement.missed, arrangement.unknown, round(of_known, 9)

    def best(self, arrangements: Iterable[Arrangement]) -> Arrangement:
        return min(arrangements, key=self.of)  # the first of equals


def by_urgency(problem: Problem) -> list[int]:
    """Return the rows by latest start, then priority, then id."""
    latest_s = problem.rows.demands.latest_s
    return sorted(
        range(len(problem.jobs)),
        key=lambda row: (latest_s[row], -problem.jobs[row].spec.priority, problem.jobs[row].id),
    )


def _arrangements(problem: Problem, seeds: Seeds, sought: Prices, urgent: Sequence[int]) -> Iterable[Arrangement]:
    """Build plans that fit from scratch: the largest row first, as is mostly best, by preferred start, by urgency."""
    size = problem.rows.demands.length_s * problem.rows.demands.units
    yield _on_time(problem, seeds, sought, sorted(urgent, key=lambda row: -size[row]))
    preferred = np.full(len(problem.jobs), -np.inf)
    preferred[problem.rows.row[sought.chosen]] = problem.rows.starts_s[sought.chosen]
    yield _on_time(problem, seeds, sought, sorted(urgent, key=lambda row: preferred[row]))
    yield _on_time(problem, seeds, sought, urgent)


def _on_time(problem: Problem, seeds: Seeds, sought: Prices, order: Sequence[int]) -> Arrangement:
    """Arrange in this order; as long as rows miss their limits, put them first and arrange again."""
    best = found = _arranged(problem, seeds, sought.prices, sought.costs, order)
    first: dict[int, None] = {}
    for _ in range(ROUNDS):
        late = [row for row in order if found.places[row].late and row not in first]
        if not late:
            break
        first |= dict.fromkeys(late)
        rest = (row for row in order if row not in first)
        found = _arranged(problem, seeds, sought.prices, sought.costs, [*first, *rest])
        best = min(best, found, key=lambda arrangement: (arrangement.missed, arrangement.grams))
    if len(problem.jobs) >= MANY:
        mend(best, problem, problem.running | problem.tied | frozenset(seeds.due))
    return best


def _arranged(
    problem: Problem, seeds: Seeds, prices: Floats, costs: Floats, order: Sequence[int], *, kept: bool = False
) -> Arrangement:
    """Put what is due first, as soon as it fits; then what the last plan had where it had it; then the others."""
    made, order = Arrangement(problem, prices, costs), in_order(order, problem.after)
    running = [row for row in order if row in problem.running]
    _keep(made, seeds, running if kept else ())
    made.add_all(row for row in running if row not in made.places)
    for row in seeds.due:
        made.put(row, made.soonest(row))
    _keep(made, seeds, order if kept else ())
    return made.add_all(row for row in order if row not in made.places)


def _keep(made: Arrangement, seeds: Seeds, order: Iterable[int]) -> None:
    """Put those rows where the last plan had them that still fit there."""
    for row in order:
        if row in seeds.kept and row not in made.places and (place := made.fits_in(row, *seeds.kept[row])):
            made.put(row, place)


def _rearrange(
    best: Arrangement, problem: Problem, sought: Prices, goal: _Goal, effort: Effort, fixed: frozenset[int]
) -> None:
    """Take out a job that pays more than it would like, and some in its way; put it back first; keep what is better."""
    rng = np.random.default_rng(len(problem.jobs))
    rows = problem.rows
    wish = {
        row: at
        for row, at in zip(rows.row[sought.chosen].tolist(), sought.chosen.tolist(), strict=True)
        if row not in fixed
    }
    size = rows.demands.length_s * rows.demands.units
    for _ in range(effort.rearrangements):
        if best.grams - sought.bound_g <= effort.gap * abs(sought.bound_g) and not goal.priced:
            return
        movable = [row for row in wish if best.places[row].cost > sought.costs[wish[row]] * (1 + 1e-9)]
        if not movable:
            return
        regret = np.array([best.places[row].cost - sought.costs[wish[row]] for row in movable])
        row = movable[int(rng.choice(len(movable), p=regret / regret.sum()))]
        out = [row, *_in_the_way(best, problem, row, wish, rng)]
        before = goal.of(best)
        old = {other: best.remove(other) for other in out}
        for other in [row, *sorted(out[1:], key=lambda other: -size[other])]:
            best.add(other)
        if goal.of(best) >= (*before[:2], before[2] - STEADY_G):
            for other in out:
                best.remove(other)
            for other, place in old.items():
                best.put(other, place)


def _tried(
    best: Arrangement, problem: Problem, seeds: Seeds, sought: Prices, goal: _Goal, effort: Effort
) -> Mapping[int, Place]:
    """Return the best places of a few rows put in every order; those they have when none is better."""
    rows = [row for row in sorted(best.places) if row not in problem.running and row not in seeds.due]
    is_good = best.grams - sought.bound_g <= effort.gap * abs(sought.bound_g) and not (goal.priced or best.missed)
    if is_good or len(rows) > FEW or problem.tied or problem.flexible.keys() & set(rows):  # too many ways
        return best.places
    made = Arrangement(problem, sought.prices, sought.costs) if goal.priced else Arrangement.unpriced(problem)
    made.add_all(row for row in sorted(best.places) if row in problem.running)
    for row in seeds.due:
        made.put(row, made.soonest(row))
    costs, first = sought.costs if goal.priced else problem.rows.grams, problem.rows.first
    least = {row: float(costs[first[row] : first[row + 1]].min(initial=np.inf)) for row in rows}
    trial = Trial(made, goal.of, goal.of(best), gap=effort.gap, turns=TURNS_EACH * effort.rearrangements)
    trial.run({row: 0.0 if cost == np.inf else cost for row, cost in least.items()})
    return trial.places or best.places


def _in_the_way(
    best: Arrangement, problem: Problem, row: int, wish: Mapping[int, int], rng: np.random.Generator
) -> list[int]:
    """Return some of the rows that hold GPUs of the pool and the time that `row` would like best."""
    length_s, start_s, pool = (
        problem.rows.demands.length_s,
        problem.rows.starts_s[wish[row]],
        problem.rows.pool[wish[row]],
    )
    end_s = start_s + length_s[row]
    near = [
        other
        for other in wish
        if other != row
        and (place := best.places[other]).pool == pool
        and place.start_s < end_s
        and place.start_s + length_s[other] > start_s
    ]
    return [near[int(index)] for index in rng.permutation(len(near))[:TAKEN_OUT]]

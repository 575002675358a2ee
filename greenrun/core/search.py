"""The search for a good plan: prices first, then arrangements that fit, the best of which is rearranged in places."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from greenrun.core.candidates import Candidates
from greenrun.core.intensity import Floats
from greenrun.core.placing import Arrangement, Place, cheapest_suspended
from greenrun.core.prices import Prices, Respond, find_prices
from greenrun.core.problem import Problem
from greenrun.core.relaxing import least_suspended_g
from greenrun.core.resuming import mean_use
from greenrun.core.trying import FEW, Trial

ROUNDS = 4  # how often rows that missed their limits are put first and all is arranged anew
TAKEN_OUT = 8  # rows that make room for another when a plan is rearranged
GHOST_SLACK = 1.1  # what jobs that may arrive will emit is guessed at so many times the least they could
STEADY_G = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to search: steps of the prices, attempts to rearrange, and the gap to the bound that is small enough."""

    iterations: int
    rearrangements: int
    gap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """What is known before: rows that must start as soon as they can, in order; and last plan's starts and prices."""

    due: tuple[int, ...]
    kept: Mapping[int, tuple[float, int]]
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
    sought = ask(seeds.prices, iterations=effort.iterations, others=others)
    bound_g = sought.bound_g
    if problem.flexible:  # their cells are a choice of ours, which no bound may rest on
        bound_g += least_suspended_g(problem, sought.prices) - flexible_response(problem)(sought.prices)[0]
    if ghosts is not None:
        pressed, unpriced = ghost_response(ghosts), np.zeros_like(seeds.prices)
        upper_g = first.grams + GHOST_SLACK * pressed(unpriced)[0]
        sought = ask(
            seeds.prices, iterations=effort.iterations, others=[*others, pressed], upper_g=upper_g, gap=0.0
        )
    goal = _Goal(priced=ghosts is not None)
    soonest = arranged_soonest(problem)
    fixed = [made.repriced(problem, sought.prices, sought.costs) for made in (first, soonest)]
    best = goal.best([fixed[0], *_arrangements(problem, seeds, sought, urgent), fixed[1]])
    if effort.rearrangements:
        _rearrange(best, problem, sought, goal, effort, frozenset(seeds.due))
    return Found(places=_tried(best, problem, seeds, sought, goal, effort), prices=sought.prices, bound_g=bound_g, soonest_g=None if soonest.unknown else soonest.grams)


def arranged_soonest(problem: Problem) -> Arrangement:
    """Start everything as soon as it fits, in order of earliest start: what a queue without a forecast does."""
    made = Arrangement.unpriced(problem)
    jobs = problem.jobs
    first = sorted(problem.running)
    order = sorted(range(len(jobs)), key=lambda row: (jobs[row].earliest_start, jobs[row].id))
    for row in [*first, *(row for row in order if row not in problem.running)]:
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
    """Build plans that fit: around the last plan, the largest first, by preferred start, and as soon as possible."""
    demands = problem.rows.demands
    size = demands.length_s * demands.units
    preferred = np.full(len(demands), -np.inf)
    preferred[problem.rows.row[sought.chosen]] = problem.rows.starts_s[sought.chosen]
    yield _arranged(problem, seeds, sought.prices, sought.costs, urgent, kept=True)
    for order in (sorted(urgent, key=lambda row: -size[row]), sorted(urgent, key=lambda row: preferred[row])):
        yield _on_time(problem, seeds, sought, order)
    yield _on_time(problem, seeds, sought, urgent)


def _on_time(problem: Problem, seeds: Seeds, sought: Prices, order: Sequence[int]) -> Arrangement:
    """Arrange in this order; as long as rows miss their limits, put them first and arrange again."""
    best = found = _arranged(problem, seeds, sought.prices, sought.costs, order)
    first: list[int] = []
    for _ in range(ROUNDS):
        late = [row for row in order if found.places[row].late and row not in first]
        if not late:
            break
        first += late
        found = _arranged(
            problem, seeds, sought.prices, sought.costs, [*first, *(row for row in order if row not in set(first))]
        )
        best = min(best, found, key=lambda arrangement: (arrangement.missed, arrangement.grams))
    return best


def _arranged(
    problem: Problem, seeds: Seeds, prices: Floats, costs: Floats, order: Sequence[int], *, kept: bool = False
) -> Arrangement:
    """Put what is due first, as soon as it fits; then, if asked for, what the last plan knows where it was; then all others in order."""
    made = Arrangement(problem, prices, costs)
    made.add_all(row for row in order if row in problem.running)
    for row in seeds.due:
        made.put(row, made.soonest(row))
    if kept:
        for row in (row for row in order if row not in made.places and row in seeds.kept):
            place = made.fits_at(row, *seeds.kept[row])
            if place is not None:
                made.put(row, place)
    return made.add_all(row for row in order if row not in made.places)


def _rearrange(
    best: Arrangement, problem: Problem, sought: Prices, goal: _Goal, effort: Effort, fixed: frozenset[int]
) -> None:
    """Take out a job that pays much more than it would like, and some in its way; put it back first; keep what is better."""
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


def _tried(best: Arrangement, problem: Problem, seeds: Seeds, sought: Prices, goal: _Goal, effort: Effort) -> Mapping[int, Place]:
    """Return the best places of a few rows put in every order; the places they have when there are many, or none is better."""
    rows = [row for row in sorted(best.places) if row not in problem.running and row not in seeds.due]
    is_good = best.grams - sought.bound_g <= effort.gap * abs(sought.bound_g) and not (goal.priced or best.missed)
    if is_good or len(rows) > FEW:
        return best.places
    made = Arrangement(problem, sought.prices, sought.costs) if goal.priced else Arrangement.unpriced(problem)
    made.add_all(row for row in sorted(best.places) if row in problem.running)
    for row in seeds.due:
        made.put(row, made.soonest(row))
    costs, first = sought.costs if goal.priced else problem.rows.grams, problem.rows.first
    least = {row: float(costs[first[row] : first[row + 1]].min(initial=np.inf)) for row in rows}
    trial = Trial(made, goal.of, goal.of(best), effort.gap)
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

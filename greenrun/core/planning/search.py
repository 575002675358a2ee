"""The search for a good plan: prices first, then schedules that fit, the best of which is improved in places."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.dependencies import in_order
from greenrun.core.planning.arrivals.response import ExpectedArrivals
from greenrun.core.planning.costing import SAME, Place
from greenrun.core.planning.improvement.exhaustive import FEW, ExhaustiveSearch, Objective
from greenrun.core.planning.improvement.repair import FEW_LATE, MANY, repair, until_near
from greenrun.core.planning.lagrangian import DualSolution, Respond, find_prices
from greenrun.core.planning.overload import overload_schedules
from greenrun.core.planning.preemption.bound import bound_at, suspendable_response
from greenrun.core.planning.preemption.dual import SuspendableResponse
from greenrun.core.planning.preemption.intervals import Spans
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.schedule import Schedule

ROUNDS = 4  # how often rows that missed their limits are put first and everything is scheduled again
TAKEN_OUT = 8  # rows that make room for another when a schedule is improved
FEWEST_STEPS = 3
CELL_WORK = 6  # a cell of a job that may be suspended takes as long as so many candidates: measured
SUSPENDED_GAP = 0.2  # of the gap that is small enough: jobs that may be suspended come nearer to the bound
SUSPENDED_SHARE = 2  # with the plan in one piece known, half of the iterations do for jobs that may be suspended
BOUND_SHARE = 3  # with expected arrivals, a third of the iterations goes into the bound, which leaves them out
ARRIVALS_SLACK = 2.0  # the emissions of expected arrivals are guessed as this many times the least they could be
TURNS_EACH = 25  # turns in trying a few rows in every order that an attempt to rearrange stands for
STEADY_G = 1e-9
LEAST = 1 - 1e-9  # of a sum of floats, so as to stay below it


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to search: iterations of the prices, attempts to improve, and the gap to the bound that is small enough.

    `work` bounds the candidates that are priced in all iterations together.

    `from_scratch`: build schedules from nothing as well, and not only around the last plan.
    """

    iterations: int
    rearrangements: int
    gap: float
    work: int
    from_scratch: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What is known beforehand: rows to start as soon as they can, in order, and the last plan's places and prices.

    A place is kept as its pool and the intervals in which the row was to run.
    """

    due: tuple[int, ...]
    kept: Mapping[int, tuple[int, Spans]]
    prices: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The places of all rows, the prices they were found with, and a lower bound on all plans, in g.

    `soonest_g` is what starting all as soon as possible would emit; None when that is not known. `gives_way` are the
    rows that start later than as soon as they can, with those that would miss their limits otherwise.
    """

    places: Mapping[int, Place]
    prices: Floats
    bound_g: float
    soonest_g: float | None
    gives_way: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


def search(
    problem: PlanningProblem, warm: WarmStart, effort: Effort, arrivals: ExpectedArrivals | None = None
) -> SearchResult:
    """Return the best plan found: least in missed limits, lateness, then emissions (and in room left to `arrivals`)."""
    urgent = by_urgency(problem)
    whole = search(problem.in_one_piece(), warm, effort, arrivals) if problem.flexible else None
    if whole:
        warm, effort = _after_whole(whole, warm, effort)
    costs = problem.rows.costs(warm.prices)
    made, begun = [_placed(problem, whole, warm.prices, costs)] if whole else [], None
    if warm.kept or not whole:
        begun = _begun(problem, warm, warm.prices, costs, urgent)
        made.insert(0, _completed(begun.twin(), problem, urgent))
    first = min(made, key=lambda schedule: (schedule.missed, schedule.unknown, schedule.grams))
    suspended = suspendable_response(problem) if problem.flexible else None
    others: list[Respond] = [suspended] if suspended else []
    ask = partial(find_prices, problem.rows, problem.free, upper_g=first.grams, gap=effort.gap)
    effort = replace(effort, iterations=min(effort.iterations, _affordable(problem, suspended, effort.work)))
    bounding = effort.iterations if arrivals is None else effort.iterations // BOUND_SHARE
    # With expected arrivals the bound of a light plan decides nothing, and its prices are far from those it starts at.
    is_dear = arrivals is not None and not effort.from_scratch
    sought = ask(warm.prices, iterations=bounding, others=others, may_scale=not is_dear)
    bound_g = bound_at(problem, sought.prices, suspended) if suspended else sought.bound_g
    proved_g = bound_at(problem.unpinned, sought.prices) if problem.unpinned else bound_g
    fitted = problem
    if arrivals is not None:
        upper_g = first.grams + ARRIVALS_SLACK * arrivals.respond(np.zeros_like(warm.prices))[0]
        others = [*others, arrivals.respond]
        ask = partial(ask, upper_g=upper_g, gap=0.0, may_scale=False)
        sought = ask(warm.prices, iterations=effort.iterations, others=others)
        fitted = problem.holding(arrivals.held(sought.prices))
    goal = _Goal(priced=arrivals is not None)
    soonest = schedule_soonest(problem, warm.due)
    soonest_g = None if soonest.unknown else soonest.grams
    every = [*made, soonest]
    fair = every if arrivals is None else made[-1:] if whole else []  # others were made as if nobody were expected
    best = _around_last(fitted, warm, sought, goal, urgent, begun if fitted is problem else None, fair)
    if not goal.priced and _is_proved(best, bound_g):
        effort = replace(effort, from_scratch=False, rearrangements=0)
    overloaded = partial(_overload_schedules, problem=problem, warm=warm, sought=sought)
    best = goal.best([best, *(overloaded(best) if fitted is problem else ())])
    is_far = not goal.priced and _is_far(best, bound_g, effort.gap)
    if _may_fit_better(best, wanted=effort.from_scratch or is_far):
        scheduled = _schedules(fitted, warm, sought, urgent)
        best = goal.best([best, *_as_many_as_help(best, fitted, scheduled, bound_g, effort)])
    if best.missed and fitted is not problem:  # no limit is missed for jobs that are not here
        anyhow = _around_last(problem, warm, sought, goal, urgent, begun, every)
        fitted, best = problem, goal.best([best, anyhow, *_schedules(problem, warm, sought, urgent)])
        best = goal.best([best, *overloaded(best)])
    if effort.rearrangements:
        _improve(best, fitted, sought, goal, effort, problem.tied | problem.running | frozenset(warm.due))
    if whole and not problem.after:
        best = _moved(best, fitted, sought, goal, effort, frozenset(warm.due))
    places = _exhaustive(best, fitted, warm, sought, goal, effort)
    return SearchResult(places=places, prices=sought.prices, bound_g=proved_g, soonest_g=soonest_g)


def _after_whole(whole: SearchResult, warm: WarmStart, effort: Effort) -> tuple[WarmStart, Effort]:
    """Return where to begin, and how long to search, once the plan is known in which no job is suspended.

    Its prices are nearly right, those of the last plan nearer still.
    """
    if effort.from_scratch:
        warm = replace(warm, prices=whole.prices)
    return warm, replace(effort, iterations=-(-effort.iterations // SUSPENDED_SHARE))


def _placed(problem: PlanningProblem, found: SearchResult, prices: Floats, costs: Floats) -> Schedule:
    """Return the schedule of what was found without suspending any job."""
    made = Schedule(problem, prices, costs)
    for row, place in found.places.items():
        made.put(row, replace(place, cost=place.grams + made.spent_on(row, place)))
    return made


def _overload_schedules(
    best: Schedule, problem: PlanningProblem, warm: WarmStart, sought: DualSolution
) -> Iterator[Schedule]:
    """Yield schedules in which limits come first, where the best so far misses some."""
    if best.late_s:
        begun = partial(_scheduled, problem, warm, sought.prices, sought.costs, sorted(problem.running))
        yield from overload_schedules(problem, begun)


def _may_fit_better(best: Schedule, *, wanted: bool) -> bool:
    """Tell whether to build schedules from scratch: not where so many rows are late that no limit is left to save."""
    late = sum(place.late for place in best.places.values())
    return late <= FEW_LATE if best.late_s else bool(best.missed) or wanted


def _around_last(
    problem: PlanningProblem,
    warm: WarmStart,
    sought: DualSolution,
    goal: "_Goal",
    urgent: Sequence[int],
    begun: Schedule | None,
    made: Sequence[Schedule],
) -> Schedule:
    """Return the best of these schedules, and of one that keeps to the last plan's places, at the prices found.

    `begun` has the rows that keep their places, if that is known.
    """
    if made and not (problem.flexible or sought.prices.any() or warm.prices.any()):
        return goal.best(made)  # they are weighed at the same prices already
    if goal.priced:
        made = [old.repriced(problem, sought.prices, sought.costs) for old in made]
    if begun is None or problem.running:  # where what runs goes on at all depends on the prices
        begun = _begun(problem, warm, sought.prices, sought.costs, urgent)
    else:
        begun = begun.repriced(problem, sought.prices, sought.costs)
    kept = _completed(begun, problem, urgent)
    best = goal.best([*made[:1], kept, *made[1:]])
    return best if best is kept or goal.priced else best.repriced(problem, sought.prices, sought.costs)


def _is_proved(best: Schedule, bound_g: float) -> bool:
    """Tell whether no plan can be better."""
    return not best.missed and not best.unknown and best.grams <= bound_g * SAME


def _is_far(best: Schedule, bound_g: float, gap: float) -> bool:
    """Tell whether a plan emits more than the bound by a larger share than is asked for."""
    return best.grams - bound_g > gap * abs(bound_g)


def _affordable(problem: PlanningProblem, suspended: SuspendableResponse | None, work: int) -> int:
    """Return how many steps of the prices to take at most: each prices all candidates, and all cells of jobs that may
    be suspended.
    """
    priced = len(problem.rows.row) + (CELL_WORK * suspended.cells if suspended else 0)
    return max(FEWEST_STEPS, work // max(1, priced))


def schedule_soonest(problem: PlanningProblem, due: Sequence[int] = ()) -> Schedule:
    """Start everything as soon as it fits, what is due first, then in order of earliest start: without a forecast."""
    jobs = problem.jobs
    first = dict.fromkeys([*sorted(problem.running), *due])
    order = sorted(range(len(jobs)), key=lambda row: (jobs[row].earliest_start, jobs[row].id))
    every = in_order([*first, *(row for row in order if row not in first)], problem.after)
    return Schedule.unpriced(problem).add_all_soonest(every)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Goal:
    """What makes a schedule better than another."""

    priced: bool

    def of(self, schedule: Schedule) -> Objective:
        of_known = schedule.cost if self.priced else schedule.grams
        return schedule.missed, schedule.late_s, schedule.unknown, round(of_known, 9)

    def best(self, schedules: Iterable[Schedule]) -> Schedule:
        return min(schedules, key=self.of)  # the first of equals


def by_urgency(problem: PlanningProblem) -> list[int]:
    """Return the rows by latest start, then priority, then id."""
    latest_s = problem.rows.demands.latest_s
    return sorted(
        range(len(problem.jobs)),
        key=lambda row: (latest_s[row], -problem.jobs[row].spec.priority, problem.jobs[row].id),
    )


def _schedules(
    problem: PlanningProblem, warm: WarmStart, sought: DualSolution, urgent: Sequence[int]
) -> Iterable[Schedule]:
    """Build plans that fit from scratch: the largest row first, as is mostly best, by preferred start, by urgency."""
    size = problem.rows.demands.length_s * problem.rows.demands.units
    yield _on_time(problem, warm, sought, sorted(urgent, key=lambda row: -size[row]))
    preferred = np.full(len(problem.jobs), -np.inf)
    preferred[problem.rows.row[sought.chosen]] = problem.rows.starts_s[sought.chosen]
    yield _on_time(problem, warm, sought, sorted(urgent, key=lambda row: preferred[row]))
    yield _on_time(problem, warm, sought, urgent)


def _as_many_as_help(
    best: Schedule, problem: PlanningProblem, schedules: Iterable[Schedule], bound_g: float, effort: Effort
) -> Iterable[Schedule]:
    """Pass on all schedules of a small queue, and of others those up to one that is near enough to the bound."""
    if problem.flexible and not best.missed:
        schedules = islice(schedules, 1)  # other orders are no better where jobs can fill what others leave
    if len(problem.jobs) >= MANY:
        return until_near(best, schedules, bound_g, effort.gap)
    return until_near(best, schedules, bound_g, effort.gap * SUSPENDED_GAP) if problem.flexible else schedules


def _on_time(problem: PlanningProblem, warm: WarmStart, sought: DualSolution, order: Sequence[int]) -> Schedule:
    """Schedule in this order; as long as rows miss their limits, put them first and schedule again."""
    best = found = _scheduled(problem, warm, sought.prices, sought.costs, order)
    first: dict[int, None] = {}
    for _ in range(ROUNDS):
        late = [row for row in order if found.places[row].late and row not in first]
        if not late:
            break
        first |= dict.fromkeys(late)
        rest = (row for row in order if row not in first)
        found = _scheduled(problem, warm, sought.prices, sought.costs, [*first, *rest])
        best = min(best, found, key=lambda schedule: (schedule.missed, schedule.grams))
    if len(problem.jobs) >= MANY:
        repair(best, problem, problem.running | problem.tied | frozenset(warm.due))
    return best


def _scheduled(
    problem: PlanningProblem, warm: WarmStart, prices: Floats, costs: Floats, order: Sequence[int]
) -> Schedule:
    """Put what is due first, as soon as it fits; then the others."""
    made = begin(Schedule(problem, prices, costs), problem, warm, in_order(order, problem.after), kept=False)
    return _completed(made, problem, order)


def _begun(problem: PlanningProblem, warm: WarmStart, prices: Floats, costs: Floats, order: Sequence[int]) -> Schedule:
    """Put what is due first, as soon as it fits; then what the last plan had where it had it."""
    order = in_order(order, problem.after)
    made = begin(Schedule(problem, prices, costs), problem, warm, order, kept=True)
    _keep(made, warm, order)
    return made


def _completed(made: Schedule, problem: PlanningProblem, order: Sequence[int]) -> Schedule:
    """Add all rows that have no place yet, in this order; return the same schedule."""
    return made.add_all([row for row in in_order(order, problem.after) if row not in made.places])


def begin(made: Schedule, problem: PlanningProblem, warm: WarmStart, order: Iterable[int], *, kept: bool) -> Schedule:
    """Put what runs already, in this order, and then what is due, into an empty schedule; return it."""
    running = [row for row in order if row in problem.running]
    _keep(made, warm, running if kept else ())
    made.add_all(row for row in running if row not in made.places)
    for row in warm.due:
        made.put(row, made.soonest(row))
    return made


def _keep(made: Schedule, warm: WarmStart, order: Iterable[int]) -> None:
    """Put those rows where the last plan had them that still fit there."""
    made.keep({row: warm.kept[row] for row in order if row in warm.kept and row not in made.places})


def _improve(
    best: Schedule, problem: PlanningProblem, sought: DualSolution, goal: _Goal, effort: Effort, fixed: frozenset[int]
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
    share = np.zeros(0)
    is_changed = True
    for _ in range(effort.rearrangements):
        if not _is_far(best, sought.bound_g, effort.gap) and not goal.priced:
            return
        if is_changed:
            movable = [row for row in wish if best.places[row].cost > least[row] * (1 + 1e-9)]
            regret = np.array([best.places[row].cost - least[row] for row in movable])
            share = regret / regret.sum() if movable else regret
        if not movable:
            return
        row = movable[int(rng.choice(len(movable), p=share))]
        out = [row, *_in_the_way(best, problem, row, wish, rng)]
        before, state = goal.of(best), best.state()
        for other in out:
            best.remove(other)
        again = [row, *sorted(out[1:], key=lambda other: -size[other])]
        is_changed = _put_back(best, again, goal, (*before[:3], before[3] - STEADY_G), least)
        if not is_changed:
            best.restore(state)


def _put_back(made: Schedule, order: Sequence[int], goal: _Goal, before: Objective, least: Mapping[int, float]) -> bool:
    """Put rows back in this order; stop and return False once they cannot become better than `before`.

    A row costs at least what its best start costs, or emits it. What is missed, late or unknown only grows.
    """
    to_come = sum(least[row] for row in order) if goal.priced else 0.0
    for row in order:
        to_come -= least[row] if goal.priced else 0.0
        made.add(row)
        *limits, cost = goal.of(made)
        if (*limits, cost + to_come * LEAST) >= before:
            return False
    return goal.of(made) < before


def _moved(
    best: Schedule, problem: PlanningProblem, sought: DualSolution, goal: _Goal, effort: Effort, fixed: frozenset[int]
) -> Schedule:
    """Move each row that may be suspended to where it costs less beside all others; few rows to their best cells."""
    rows = problem.flexible.keys() - fixed - problem.start_thresholds.keys()
    near = effort.gap * (SUSPENDED_GAP if effort.from_scratch else 1)
    is_good = best.grams - sought.bound_g <= near * abs(sought.bound_g) and not goal.priced
    if is_good and len(rows) > FEW:
        return best
    made = best if goal.priced else best.repriced(problem, np.zeros_like(sought.prices), problem.rows.grams)
    for row in sorted(rows):
        made.move_if_cheaper(row, exactly=len(rows) <= FEW)
    return made


def _exhaustive(
    best: Schedule, problem: PlanningProblem, warm: WarmStart, sought: DualSolution, goal: _Goal, effort: Effort
) -> Mapping[int, Place]:
    """Return the best places of a few rows put in every order; those they have when none is better."""
    rows = [row for row in sorted(best.places) if row not in problem.running and row not in warm.due]
    is_good = not _is_far(best, sought.bound_g, effort.gap) and not (goal.priced or best.missed)
    if is_good or len(rows) > FEW or problem.tied or problem.flexible.keys() & set(rows):  # too many ways
        return best.places
    made = Schedule(problem, sought.prices, sought.costs) if goal.priced else Schedule.unpriced(problem)
    made.add_all(row for row in sorted(best.places) if row in problem.running)
    for row in warm.due:
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

"""The search for a good plan: prices first, then schedules that fit, the best of which is improved in places."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.dependencies import in_order
from greenrun.core.planning.arrivals.response import ExpectedArrivals
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.improvement.effort import Effort, Placings
from greenrun.core.planning.improvement.exchange import exchanged, least_costs
from greenrun.core.planning.improvement.in_step import like_rows, put_in_step
from greenrun.core.planning.improvement.rearrangement import (
    SUSPENDED_GAP,
    Goal,
    in_every_order,
    is_far,
    moved,
    rearrange,
    swept,
)
from greenrun.core.planning.improvement.repair import FEW_LATE, MANY, repair, trade_places, until_near
from greenrun.core.planning.lagrangian import DualSolution, Respond, find_prices
from greenrun.core.planning.overload import overload_schedules
from greenrun.core.planning.preemption.bound import bound_at, suspendable_response
from greenrun.core.planning.preemption.dual import SuspendableResponse
from greenrun.core.planning.preemption.intervals import Spans
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.costing import SAME, Place
from greenrun.core.planning.scheduling.schedule import Schedule

SWEEPS = 2  # of a long queue that is far from its bound: at the prices, which leaves room where it is scarce, then not
ROUNDS = 4  # how often rows that missed their limits are put first and everything is scheduled again
SUSPENDED_SHARE = 3  # with the plan in one piece known, a third of the iterations does for jobs that may be suspended
BOUND_SHARE = 3  # with expected arrivals, a third of the iterations goes into the bound, which leaves them out
ARRIVALS_SLACK = 2.0  # the emissions of expected arrivals are guessed as this many times the least they could be


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
    is_cut = any(job.must_stop_by(problem.now_s + job.length_s) for job in problem.flexible.values())
    may_be_whole = bool(problem.flexible) and not is_cut
    whole = search(problem.in_one_piece(), warm, _for_whole(effort), arrivals) if may_be_whole else None
    if whole and _suspends(problem, whole):
        whole = None  # the site's power cap lets something that runs not go on in one piece
    if whole:
        warm, effort = _after_whole(whole, warm, effort)
    placings = Placings(effort)
    first = _first_schedules(problem, warm, whole, placings)
    priced = _find_prices(problem, warm, effort, arrivals, upper_g=first.best.grams)
    goal = Goal(priced=arrivals is not None)
    soonest = schedule_soonest(problem, warm.due)
    best, fitted = _best_schedule(problem, warm, effort, goal, first, priced, soonest, placings)
    sought, due = priced.sought, frozenset(warm.due)
    if effort.rearrangements and (goal.priced or not _is_proved(best, priced.bound_g)):
        rearrange(best, fitted, sought, goal, effort, problem.tied | problem.running | due)
    if priced.suspended and not problem.after:
        best = moved(best, fitted, sought, goal, effort, due, least_costs(fitted, priced.suspended, goal))
        best = exchanged(best, fitted, sought, priced.suspended, priced.bound_g, goal, effort, due)
    return SearchResult(
        places=in_every_order(best, fitted, warm.due, sought, goal, effort),
        prices=sought.prices,
        bound_g=priced.proved_g,
        soonest_g=None if soonest.unknown else soonest.grams,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _First:
    """Schedules made before prices are known; `begun` has the rows that keep their places, where there is one.

    `whole` is the one in which no job is suspended, the last of `made`, if any job may be.
    """

    urgent: Sequence[int]
    made: Sequence[Schedule]
    begun: Schedule | None
    whole: Schedule | None

    @property
    def best(self) -> Schedule:
        return min(self.made, key=lambda schedule: (schedule.missed, schedule.unknown, schedule.grams))


def _first_schedules(
    problem: PlanningProblem, warm: WarmStart, whole: SearchResult | None, placings: Placings
) -> _First:
    """Build what the last plan and the plan in one piece lead to."""
    urgent, costs = by_urgency(problem), problem.rows.costs(warm.prices)
    placed = _placed(problem, whole, warm.prices, costs) if whole else None
    made, begun = [placed] if placed else [], None
    if warm.kept or not whole:
        begun = _begun(problem, warm, warm.prices, costs, urgent)
        made.insert(0, _completed(begun.twin(), problem, urgent))
        _trade_places(made[0], problem, warm, placings)
    return _First(urgent=urgent, made=made, begun=begun, whole=placed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Priced:
    """Prices, two bounds in g, and the problem that schedules are to fit, room being held for expected arrivals.

    `bound_g` is below all plans that keep what is pinned, `proved_g` below all plans.
    """

    sought: DualSolution
    bound_g: float
    proved_g: float
    fitted: PlanningProblem
    suspended: SuspendableResponse | None


def _find_prices(
    problem: PlanningProblem, warm: WarmStart, effort: Effort, arrivals: ExpectedArrivals | None, *, upper_g: float
) -> _Priced:
    """Find prices and the bounds that they prove; `upper_g` is what some plan emits."""
    suspended = suspendable_response(problem) if problem.flexible else None
    others: list[Respond] = [suspended] if suspended else []
    ask = partial(find_prices, problem.rows, problem.free, upper_g=upper_g, gap=effort.gap)
    iterations = effort.affordable_iterations(problem, suspended)
    bounding = iterations if arrivals is None else iterations // BOUND_SHARE
    # With expected arrivals the bound of a light plan decides nothing, and its prices are far from those it starts at.
    is_dear = arrivals is not None and not effort.from_scratch
    sought = ask(warm.prices, iterations=bounding, others=others, may_scale=not is_dear)
    bound_g = bound_at(problem, sought.prices, suspended) if suspended else sought.bound_g
    proved_g = bound_at(problem.unpinned, sought.prices) if problem.unpinned else bound_g
    if arrivals is None:
        return _Priced(sought=sought, bound_g=bound_g, proved_g=proved_g, fitted=problem, suspended=suspended)
    upper_g += ARRIVALS_SLACK * arrivals.respond(np.zeros_like(warm.prices))[0]
    ask = partial(ask, upper_g=upper_g, gap=0.0, may_scale=False)
    sought = ask(warm.prices, iterations=iterations, others=[*others, arrivals.respond])
    fitted = problem.holding(arrivals.held(sought.prices))
    return _Priced(sought=sought, bound_g=bound_g, proved_g=proved_g, fitted=fitted, suspended=suspended)


def _best_schedule(
    problem: PlanningProblem,
    warm: WarmStart,
    effort: Effort,
    goal: Goal,
    first: _First,
    priced: _Priced,
    soonest: Schedule,
    placings: Placings,
) -> tuple[Schedule, PlanningProblem]:
    """Return the best schedule found, and the problem it is one of: that with room held, unless a limit needs it."""
    sought, bound_g, fitted = priced.sought, priced.bound_g, priced.fitted
    every = [*first.made, soonest]
    whole = [first.whole] if first.whole else []
    fair = whole if goal.priced else every  # others were made as if nobody were expected
    best = _around_last(fitted, warm, sought, goal, first, fair)
    is_wanted = effort.from_scratch and (goal.priced or not _is_proved(best, bound_g))
    overloaded = partial(_overload_schedules, problem=problem, warm=warm, sought=sought)
    best = goal.best([best, *(overloaded(best) if fitted is problem else ())])
    is_wanted |= not goal.priced and is_far(best, bound_g, effort.gap)
    if _may_fit_better(best, wanted=is_wanted):
        scheduled = _schedules(fitted, warm, sought, first.urgent, placings)
        improved = partial(swept, problem=fitted, sought=sought, goal=goal, fixed=problem.running | frozenset(warm.due))
        if priced.suspended and not (problem.after or best.missed):
            least, fixed = least_costs(fitted, priced.suspended, goal), frozenset(warm.due)
            move = partial(moved, problem=fitted, sought=sought, goal=goal, effort=effort, fixed=fixed, least=least)
            begun = [best, *(one for one in whole if one is not best), *islice(scheduled, 1)]
            best = goal.best([best, *map(move, begun)])  # the worst to begin with is often the best once moved
        else:
            some = _as_many_as_help(best, fitted, warm, scheduled, bound_g, effort, placings, improved)
            best = goal.best([best, *some])
        is_long = len(problem.jobs) >= MANY and not goal.priced
        if is_long and is_far(best, bound_g, effort.gap) and placings.take(SWEEPS * len(problem.jobs)):
            best = goal.best([best, improved(improved(best, goal=Goal(priced=True)))])
    if is_far(best, bound_g, effort.gap) and not best.missed and (like := like_rows(fitted)):
        in_step = begin(
            Schedule(fitted, sought.prices, sought.costs), fitted, warm, range(len(problem.jobs)), kept=False
        )
        order = in_order(first.urgent, fitted.after)
        put_in_step(in_step, fitted, [row for row in order if row not in in_step.places], like)
        best = goal.best([best, in_step])
    if best.missed and fitted is not problem:  # no limit is missed for jobs that are not here
        anyhow = _around_last(problem, warm, sought, goal, first, every)
        fitted = problem
        best = goal.best([best, anyhow, *_schedules(problem, warm, sought, first.urgent, placings)])
        best = goal.best([best, *overloaded(best)])
    return best, fitted


def _suspends(problem: PlanningProblem, found: SearchResult) -> bool:
    """Whether something that runs does not go on now."""
    return any(found.places[row].start_s > problem.now_s + EPSILON_S for row in problem.running)


def _for_whole(effort: Effort) -> Effort:
    """Return how long to search for the plan in which no job is suspended: around the last plan it is one of many."""
    return effort if effort.from_scratch else replace(effort, rearrangements=0)


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
        made.put(row, replace(place, cost=place.grams + made.value.spent_on(row, place)))
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
    goal: Goal,
    first: _First,
    made: Sequence[Schedule],
) -> Schedule:
    """Return the best of these schedules, and of one that keeps to the last plan's places, at the prices found."""
    if made and not (problem.flexible or sought.prices.any() or warm.prices.any()):
        return goal.best(made)  # they are weighed at the same prices already
    if goal.priced:
        made = [old.repriced(problem, sought.prices, sought.costs) for old in made]
    if made and not warm.kept and len(problem.jobs) >= MANY:  # there is nothing to keep, and building takes long
        return goal.best(made).repriced(problem, sought.prices, sought.costs)
    if first.begun is None or problem.running or problem.is_holding:  # what then keeps its place depends on the prices
        begun = _begun(problem, warm, sought.prices, sought.costs, first.urgent)
    else:
        begun = first.begun.repriced(problem, sought.prices, sought.costs)
    kept = _completed(begun, problem, first.urgent)
    best = goal.best([*made[:1], kept, *made[1:]])
    return best if best is kept or goal.priced else best.repriced(problem, sought.prices, sought.costs)


def _is_proved(best: Schedule, bound_g: float) -> bool:
    """Tell whether no plan can be better."""
    return not best.missed and not best.unknown and best.grams <= bound_g * SAME


def schedule_soonest(problem: PlanningProblem, due: Sequence[int] = ()) -> Schedule:
    """Start everything as soon as it fits, what is due first, then in order of earliest start: without a forecast."""
    jobs = problem.jobs
    first = dict.fromkeys([*sorted(problem.running), *due])
    order = sorted(range(len(jobs)), key=lambda row: (jobs[row].earliest_start, jobs[row].id))
    every = in_order([*first, *(row for row in order if row not in first)], problem.after)
    return Schedule.unpriced(problem).add_all_soonest(every)


def by_urgency(problem: PlanningProblem) -> list[int]:
    """Return the rows by latest start, then priority, then id."""
    latest_s = problem.rows.demands.latest_s
    return sorted(
        range(len(problem.jobs)),
        key=lambda row: (latest_s[row], -problem.precedence[row], problem.jobs[row].id),
    )


def _schedules(
    problem: PlanningProblem, warm: WarmStart, sought: DualSolution, urgent: Sequence[int], placings: Placings
) -> Iterator[Schedule]:
    """Build plans that fit from scratch: the largest row first, as is mostly best, by preferred start, by urgency."""
    size = problem.rows.demands.length_s * problem.rows.demands.units
    preferred = np.full(len(problem.jobs), -np.inf)
    preferred[problem.rows.row[sought.chosen]] = problem.rows.starts_s[sought.chosen]
    by_size, by_start = (sorted(urgent, key=key) for key in (lambda row: -size[row], lambda row: preferred[row]))
    for order in (by_size, by_start, urgent):
        if placings.take(len(order), leaving=_kept_back(problem)):
            yield _on_time(problem, warm, sought, order, placings)


def _as_many_as_help(
    best: Schedule,
    problem: PlanningProblem,
    warm: WarmStart,
    schedules: Iterable[Schedule],
    bound_g: float,
    effort: Effort,
    placings: Placings,
    improved: Callable[[Schedule], Schedule],
) -> Iterable[Schedule]:
    """Pass on all schedules of a small queue, and of others those up to one that is near enough to the bound.

    Those of a large queue, which takes long to build, are improved first.
    """
    if problem.flexible and not best.missed:
        schedules = islice(schedules, 1)  # other orders are no better where jobs can fill what others leave
    if len(problem.jobs) >= MANY:
        rows = len(problem.jobs)
        begun = [best] if warm.kept else []
        left = _kept_back(problem)
        each = (improved(made) if placings.take(rows, leaving=left) else made for made in chain(begun, schedules))
        return until_near(best, each, bound_g, effort.gap)
    return until_near(best, schedules, bound_g, effort.gap * SUSPENDED_GAP) if problem.flexible else schedules


def _kept_back(problem: PlanningProblem) -> int:
    """Return how many placings of a long queue are kept for the sweeps at last."""
    return SWEEPS * len(problem.jobs) if len(problem.jobs) >= MANY else 0


def _on_time(
    problem: PlanningProblem, warm: WarmStart, sought: DualSolution, order: Sequence[int], placings: Placings
) -> Schedule:
    """Schedule in this order; as long as rows miss their limits, put them first and schedule again."""
    best = found = _scheduled(problem, warm, sought.prices, sought.costs, order)
    _trade_places(found, problem, warm, placings)
    first: dict[int, None] = {}
    for _ in range(ROUNDS):
        late = [row for row in order if found.places[row].late and row not in first]
        if not late or not placings.take(len(order), leaving=_kept_back(problem)):
            break
        first |= dict.fromkeys(late)
        rest = (row for row in order if row not in first)
        found = _scheduled(problem, warm, sought.prices, sought.costs, [*first, *rest])
        _trade_places(found, problem, warm, placings)
        best = min(best, found, key=lambda schedule: (schedule.missed, schedule.grams))
    if len(problem.jobs) >= MANY:
        repair(best, problem, problem.running | problem.tied | frozenset(warm.due))
    return best


def _trade_places(made: Schedule, problem: PlanningProblem, warm: WarmStart, placings: Placings) -> None:
    """Let rows of a long queue that miss their limits trade places with others."""
    if made.missed and len(problem.jobs) >= MANY:
        fixed = problem.running | problem.tied | frozenset(warm.due)
        trade_places(made, problem, fixed, partial(placings.take, leaving=_kept_back(problem)))


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

"""Choose when each queued job starts: one pure function from a frozen situation to a plan with its reasons.

Prices for the GPUs make the jobs choose starts that nearly fit (lagrangian.py); schedules that do fit are then built
from the last plan and in several orders (schedule.py), and the best one is improved (search.py). Fewer missed limits
come before fewer grams.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from greenrun.core.carbon.intensity import Series, SeriesId
from greenrun.core.jobs.dependencies import blocked, crowded_out, predecessors
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import WISHED, ReasonCode, because
from greenrun.core.planning.arrivals.response import ExpectedArrivals
from greenrun.core.planning.assemble import assemble_plan
from greenrun.core.planning.capacity import Pool, all_pools, pools_of, shut_out, too_few, until_back
from greenrun.core.planning.formulation import planning_problem
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.idle_room import sooner, waiting_beside_idle
from greenrun.core.planning.improvement.effort import Effort
from greenrun.core.planning.model import Plan, Situation, Waiting
from greenrun.core.planning.power_cap.alone import Alone
from greenrun.core.planning.precedence.giving_way import search_with_way_given
from greenrun.core.planning.precedence.levels import search_by_priority
from greenrun.core.planning.precedence.room import spans_of
from greenrun.core.planning.precedence.soonest import fits_before, soonest_arrangement
from greenrun.core.planning.preemption.intervals import Spans
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.reservation import slipped_since
from greenrun.core.planning.search import WarmStart, schedule_soonest
from greenrun.core.planning.shadow_prices import priced_cells

LIGHTER = 4  # divides the iterations when the outlook reaches no further than last time: the prices are nearly right
NOTHING = Series.of(SeriesId(provider="", zone=""), ())


Kept = Mapping[int, tuple[str, Spans]]  # by id of the job, in which pool it was to run and when, in epoch seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SoonestEnd:
    """When new jobs can end at the soonest, the last of them starting at `start`, and a plan's places that do it.

    `is_proved`: they cannot end sooner whatever the others do; else it is the soonest that was found.
    """

    start: datetime
    end: datetime
    is_proved: bool
    kept: Kept


def plan(situation: Situation, kept: Kept | None = None, *, gives_way: bool = True) -> Plan:
    """Place every job that can be placed; fewer missed limits come before fewer grams. Deterministic.

    `kept` are places to begin the search at instead of those of the last plan: when no limit is missed there, none is
    in the plan. Not `gives_way`: what is to start at once does, whatever limits others miss for that.
    """
    waiting = {row.job_id: row for row in without_place(situation)}
    jobs = [situation.as_planned(job) for job in situation.jobs if job.id not in waiting]
    problem = planning_problem(situation, jobs, situation.forecast or NOTHING)
    due, options = _due(problem, situation), situation.options
    from_scratch = situation.last is None or situation.last.horizon_end != _horizon_end(situation)
    effort = Effort(
        iterations=options.iterations if from_scratch else options.iterations // LIGHTER,
        rearrangements=options.rearrangements,
        gap=options.gap,
        work=options.work,
        from_scratch=from_scratch,
    )
    warm = _warm_start(problem, situation, due, places_of(situation.last) if kept is None else kept)
    search = partial(search_by_priority, effort=effort, arrivals=_expected_arrivals(problem, situation))
    find = partial(search_with_way_given, search=search) if gives_way else search
    found = find(problem, warm)
    idle = waiting_beside_idle(problem, situation, found) if kept is None else ()
    if not warm.kept.keys().isdisjoint(idle):
        others = {row: place for row, place in warm.kept.items() if row not in idle}
        found = sooner(problem, found, find(problem, replace(warm, kept=others)))
    due = {row: since for row, since in due.items() if row not in found.gives_way or problem.is_pressed(row)}
    return assemble_plan(situation, problem, found, due, list(waiting.values()))


def start_at_once(jobs: Iterable[Job], situation: Situation) -> dict[int, datetime]:
    """Return by id when jobs would start in order of submission, each as soon as GPUs are free: without a forecast."""
    problem = planning_problem(situation, list(jobs), NOTHING)
    places = schedule_soonest(problem).places
    return {problem.jobs[row].id: datetime.fromtimestamp(place.start_s, UTC) for row, place in places.items()}


def soonest_end(situation: Situation, new: Collection[int], before: Plan) -> SoonestEnd | None:
    """Return how soon those of the jobs with the ids `new` end that have a place; None when none of them has one.

    `before` is a plan without them, whose jobs yield inside their limits: no more are missed than in it.
    """
    problem, warm, rows = _with_new(situation, new, before)
    if not rows:
        return None
    was_late = [row for row, job in enumerate(problem.jobs) if (place := before.placement(job.id)) and place.late]
    found = soonest_arrangement(problem, warm, rows, was_late)
    return SoonestEnd(
        start=datetime.fromtimestamp(found.start_s, UTC),
        end=datetime.fromtimestamp(found.end_s, UTC),
        is_proved=found.is_proved,
        kept={
            problem.jobs[row].id: (problem.pools[place.pool].name, spans_of(problem, row, place))
            for row, place in found.places.items()
        },
    )


def can_end_by(situation: Situation, new: Collection[int], before: Plan, end: datetime) -> bool:
    """Tell whether the jobs with the ids `new` are found to end by `end`, without trying as much as `soonest_end`."""
    problem, warm, rows = _with_new(situation, new, before)
    return bool(rows) and fits_before(problem, warm, rows, end.timestamp())


def _with_new(situation: Situation, new: Collection[int], before: Plan) -> tuple[PlanningProblem, WarmStart, list[int]]:
    waiting = {row.job_id for row in without_place(situation)}
    jobs = [job for job in situation.jobs if job.id not in waiting]
    problem = planning_problem(situation, jobs, NOTHING)  # emissions do not matter, and their table is dear
    rows = [row for row, job in enumerate(problem.jobs) if job.id in new]
    warm = _warm_start(problem, situation, _due(problem, situation), places_of(before), but=rows)
    placed = {row: place for row in warm.due if (place := before.placement(problem.jobs[row].id))}
    gives_way = any(place.reason.code is ReasonCode.GIVES_WAY for place in placed.values())
    starts_s = {row: place.start.timestamp() for row, place in placed.items()} if gives_way else {}
    return problem.not_before(starts_s), warm, rows


def places_of(made: Plan | None) -> Kept:
    """Return the places of a plan as those that a search begins at."""
    rows = made.placements if made else ()
    return {
        row.job_id: (row.pool, tuple((begin.timestamp(), end.timestamp()) for begin, end in row.intervals))
        for row in rows
    }


def _horizon_end(situation: Situation) -> datetime | None:
    return situation.forecast.end if situation.forecast else None


def _expected_arrivals(problem: PlanningProblem, situation: Situation) -> ExpectedArrivals | None:
    """Return the expected arrivals; None without any, or with nothing to plan."""
    pools = tuple(index for index, pool in enumerate(problem.pools) if pool.devices)
    if not situation.arrivals or not pools or not problem.jobs or not len(problem.intensity):
        return None
    return ExpectedArrivals.of(situation.arrivals, problem.now_s, pools, problem.knots_s, problem.intensity)


def _due(problem: PlanningProblem, situation: Situation) -> dict[int, datetime]:
    """Return the rows whose planned start has come, without those that still wait for others.

    Those that others kept waiting come first, then the earliest.
    """
    jobs = [(row, job) for row, job in enumerate(problem.jobs) if _is_free(row, problem, situation)]
    since = {row: at for row, job in jobs if (at := _due_since(job, situation))}
    first = {row: nth for nth, row in enumerate(problem.slipped)}
    return dict(sorted(since.items(), key=lambda item: (first.get(item[0], len(first)), item[1], item[0])))


def _warm_start(
    problem: PlanningProblem,
    situation: Situation,
    due: Mapping[int, datetime],
    places: Kept,
    but: Collection[int] = (),
) -> WarmStart:
    """Return where to begin; rows in `but` are not started at once although they ask for it."""
    now_s = problem.now_s
    rows = {job.id: row for row, job in enumerate(problem.jobs)}
    pools = {pool.name: index for index, pool in enumerate(problem.pools)}
    kept = {
        rows[job_id]: (pools[pool], spans)
        for job_id, (pool, planned) in places.items()
        if job_id in rows and pool in pools and (spans := _from(now_s, planned))
    }
    at_once = (
        row
        for row, job in enumerate(problem.jobs)
        if job.spec.start_now and row not in due and row not in but and _is_free(row, problem, situation)
    )
    first = sorted(  # of equals, due before --now; not what needs GPUs of which nobody knows when they come back
        (row for row in (*due, *at_once) if row not in problem.out_of_reach),
        key=lambda row: -problem.precedence[row],
    )
    return WarmStart(due=tuple(first), kept=kept, prices=priced_cells(situation.prices, problem))


def _is_free(row: int, problem: PlanningProblem, situation: Situation) -> bool:
    """Whether the row is a queued job without unfinished predecessors."""
    return row not in problem.running and not predecessors(problem.jobs[row], situation.states)


def _from(now_s: float, spans: Spans) -> Spans:
    """Return the intervals that are still to come; what is left of one that has begun is cut there."""
    return tuple((max(begin, now_s), end) for begin, end in spans if end > now_s + EPSILON_S)


def _due_since(job: Job, situation: Situation) -> datetime | None:
    last = situation.last.placement(job.id) if situation.last else None
    if last is None:
        return None
    if slipped := slipped_since(job, situation):
        return slipped  # it stays due for as long as it takes
    if last.pieces:  # it runs in parts that others leave it; at once and in one go it would displace them
        return None
    if job.id in situation.thrifty and last.reason.code in WISHED:
        return None  # that plan did not know yet that it has to spare a budget
    since = last.due or last.start
    return since if situation.now - situation.options.due_grace <= since <= situation.now else None


def without_place(situation: Situation) -> Iterator[Waiting]:
    """Yield the jobs that cannot be placed, each once, with the reason."""
    pools, able = pools_of(situation), []
    alone = Alone(situation, situation.power, pools) if situation.power else None
    for job in situation.jobs:
        why = _not_placeable(job, situation, pools)
        if alone and not why and (too_much := alone.never_fits(job)):
            why = Waiting(job_id=job.id, reason=too_much)
        if why:
            yield why
        else:
            able.append(job)
    free = [job for job in able if blocked(job, situation.states) is None]
    crowded = crowded_out(free, situation.arrays)
    yield from (Waiting(job_id=job_id, reason=reason) for job_id, reason in crowded.items())
    yield from _unforeseen(able, {job.id for job in free} - crowded.keys(), situation)


def _unforeseen(able: Sequence[Job], placed: Collection[int], situation: Situation) -> Iterator[Waiting]:
    """Yield the jobs that wait for one whose end is unknown, or for their turn in an array after that.

    `placed` are the ids of those that wait for none and have a place.
    """
    live = Counter(situation.arrays)
    live.update(job.spec.array.key for job in able if job.spec.array and job.id in placed)
    later = [job for job in able if predecessors(job, situation.states)]
    crowded = crowded_out(later, live)
    foreseen = {*situation.ends, *(run.job.id for run in situation.running), *placed}
    for job in sorted(later, key=lambda job: job.id):  # by id, so that those which a job waits for come before it
        why = blocked(job, situation.states)
        if why and (job.id in crowded or not foreseen.issuperset(predecessors(job, situation.states))):
            yield Waiting(job_id=job.id, reason=why)
        else:
            foreseen.add(job.id)


def _not_placeable(job: Job, situation: Situation, pools: Iterable[Pool]) -> Waiting | None:
    if job.cancel_requested:
        return Waiting(job_id=job.id, reason=because(ReasonCode.CANCEL_REQUESTED))
    if job.held:
        held_why = job.reason if job.reason and job.reason.code is ReasonCode.HELD else None
        return Waiting(job_id=job.id, reason=held_why or because(ReasonCode.HELD, who="a user", job=job.id))
    if why := situation.withheld.get(job.id):
        return Waiting(job_id=job.id, reason=why)
    if any(pool.suits(job) for pool in pools):
        why = shut_out(job, situation, pools)
        return Waiting(job_id=job.id, reason=why) if why else None
    if why := until_back(job, situation):
        return Waiting(job_id=job.id, reason=why)
    if not job.spec.gpus:
        return Waiting(job_id=job.id, reason=because(ReasonCode.NO_CPU_SLOTS))
    return Waiting(job_id=job.id, reason=too_few(job, all_pools(situation), situation.gpus_note))

"""Put jobs into a plan that is made: each takes the cheapest place that the others leave it, and no other moves.

To plan a long queue takes seconds, and whoever submits a job waits for the answer. A place beside those of a plan that
keeps its limits keeps them too, so a job with a limit can be accepted as soon as it has such a place. The next plan
begins its search at all of them.
"""

from bisect import insort
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from greenrun.core.jobs.dependencies import predecessors
from greenrun.core.jobs.job import Job, State
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.planning.assemble import assemble_plan
from greenrun.core.planning.capacity import Pool, home_of, pools_of, timelines
from greenrun.core.planning.formulation import planning_problem
from greenrun.core.planning.gpu_timelines.grouped_timeline import GroupedTimeline
from greenrun.core.planning.gpu_timelines.timeline import Split, Timeline, copies
from greenrun.core.planning.model import Placement, Plan, Situation, Waiting
from greenrun.core.planning.planner import NOTHING, without_place
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.planning.reservation import hold, slipped_since
from greenrun.core.planning.scheduling.schedule import Schedule
from greenrun.core.planning.search import SearchResult, by_urgency
from greenrun.core.planning.shadow_prices import priced_cells

Row = Placement | Waiting


class OpenPlan:
    """A plan into which jobs can be put, and out of which they can be taken, at the cost of these jobs alone.

    `situation` is the one that it was made for; its jobs are those of the plan.
    """

    def __init__(self, plan: Plan, situation: Situation) -> None:
        self.plan, self.situation = plan, situation
        self._pools = pools_of(situation)
        self._by_name = {pool.name: index for index, pool in enumerate(self._pools)}
        self._mw = _needs_mw(plan.placements, _jobs(situation), situation.power, self._pools)
        self._taken = _taken(plan, situation, self._by_name, self._mw)

    def find(self, jobs: Sequence[Job], states: Mapping[int, State], now: datetime) -> list[Row]:
        """Return the place of each job beside those of the plan and before it, changing nothing.

        The reason says where it is PROVISIONAL: a job would keep its limit, or start sooner, if others moved. `states`
        are those of the jobs that these wait for.
        """
        jobs = [self.situation.as_planned(job) for job in jobs]
        asked = self._asked(jobs, states, now)
        waiting = {row.job_id: row for row in without_place(asked)}
        placed = [job for job in jobs if job.id not in waiting]
        places = {row.job_id: row for row in self._placed(asked, placed)} if placed else {}
        return [self._told(job, places[job.id], asked.now) if job.id in places else waiting[job.id] for job in jobs]

    def add(self, jobs: Sequence[Job], rows: Sequence[Row], states: Mapping[int, State]) -> None:
        """Take in jobs with the places that were found for them; `states` are those that they were found with."""
        self._mw |= _needs_mw(rows, jobs, self.situation.power, self._pools)
        for row in rows:
            self._reserve(row, 1)
        self.plan = with_rows(self.plan, rows)
        before = self.situation
        self.situation = replace(before, jobs=(*before.jobs, *jobs), states={**before.states, **states})

    def withhold(self, withheld: Mapping[int, Reason], thrifty: frozenset[int]) -> None:
        """Say, as a `Situation` does, which jobs have no room in a budget now, and which have to spare theirs."""
        known = self.situation
        if withheld is not known.withheld or thrifty is not known.thrifty:
            self.situation = replace(known, withheld=withheld, thrifty=thrifty)

    def remove(self, job_ids: Collection[int]) -> None:
        """Take out those jobs that have not started."""
        for job_id in job_ids:
            self._reserve(self.plan.placement(job_id), -1)
        self.plan = without_jobs(self.plan, job_ids)
        rest = tuple(job for job in self.situation.jobs if job.id not in job_ids)
        self.situation = replace(self.situation, jobs=rest)

    def overbooked(self) -> set[int]:
        """Return the queued jobs with a finish-by whose places others have as well, or what runs now."""
        promised = [self.plan.placement(job.id) for job in self.situation.jobs if job.spec.finish_by]
        return {row.job_id for row in promised if row and row.pool in self._by_name and not self._has_room(row)}

    def _has_room(self, row: Placement) -> bool:
        """Whether nowhere in the place of a job of the plan more is taken than there is."""
        line, power = self._taken[self._by_name[row.pool]], self._taken[0].power if self._mw.get(row.job_id) else None
        spans = [(begin.timestamp(), end.timestamp()) for begin, end in row.intervals]
        return all(each.is_free(*span, 0) for each in (line, power) if each is not None for span in spans)

    def _asked(self, jobs: Sequence[Job], states: Mapping[int, State], now: datetime) -> Situation:
        """Return the situation as the new jobs alone see it: the others have their places."""
        before, plan = self.situation, self.plan
        states = {**before.states, **states}
        ends = dict(before.ends)
        for job_id in {each for job in jobs if job.spec.after for each in predecessors(job, states)}:
            if place := plan.placement(job_id):
                ends[job_id] = place.end
        arrays = Counter(before.arrays)
        if any(job.spec.array and job.spec.array.at_once for job in jobs):
            arrays.update(job.spec.array.key for job in before.jobs if job.spec.array and plan.placement(job.id))
        return replace(
            before, now=max(now, before.now), jobs=tuple(jobs), running=(), states=states, ends=ends, arrays=arrays,
            arrivals=(), last=None, prices=plan.prices,
        )  # fmt: skip

    def _placed(self, asked: Situation, jobs: Sequence[Job]) -> Sequence[Placement]:
        """Return the places of jobs that each can have one."""
        taken = tuple(copies(self._taken))  # as it is now, for reasons that are worked out later
        problem = replace(planning_problem(asked, jobs, asked.forecast or NOTHING), taken=taken)
        prices = priced_cells(asked.prices, problem)
        made = Schedule(problem, prices, problem.rows.costs(prices))
        for row in by_urgency(problem):
            made.add_soonest(row) if problem.jobs[row].spec.start_now else made.add(row)
        found = SearchResult(places=made.places, prices=prices, bound_g=0.0, soonest_g=None)
        return assemble_plan(asked, problem, found, {}, ()).placements

    def _reserve(self, row: Row | None, sign: int) -> None:
        if isinstance(row, Placement) and row.pool in self._by_name:
            units, mw = sign * max(1, row.gpus), sign * self._mw.get(row.job_id, 0)
            line = self._taken[self._by_name[row.pool]]
            for (begin, end), own in zip(row.intervals, _splits(line, row), strict=True):
                line.reserve(begin.timestamp(), end.timestamp(), units, mw, own)

    def _told(self, job: Job, row: Placement, now: datetime) -> Placement:
        """Return a place that says whether others may have to move."""
        is_open = row.late or (row.start > now and (job.spec.start_now or self._weighs(job)))
        return replace(row, reason=because(ReasonCode.PROVISIONAL)) if is_open else row

    def _weighs(self, job: Job) -> bool:
        """Whether the job weighs waiting against starting now, which depends on how soon others let it start."""
        spec, options = job.spec, self.situation.options
        own = (spec.min_saving, spec.run_below_g_per_kwh)
        usual = (options.min_saving, options.run_below_g_per_kwh)
        return any(default if value is None else value for value, default in zip(own, usual, strict=True))


def is_provisional(row: Row) -> bool:
    """Whether others may have to move for a job that was put here."""
    return row.reason.code is ReasonCode.PROVISIONAL


def with_rows(plan: Plan, rows: Sequence[Row]) -> Plan:
    """Return a plan with rows added; what was not known of a sum is not known of it now."""
    placements, sum_g = list(plan.placements), plan.expected_g
    for row in rows:
        if isinstance(row, Placement):
            insort(placements, row, key=_order)
            sum_g = None if sum_g is None or row.expected_g is None else sum_g + row.expected_g
    waiting = (*plan.waiting, *(row for row in rows if isinstance(row, Waiting)))
    return _unbounded(plan, placements, waiting, sum_g)


def without_jobs(plan: Plan, job_ids: Collection[int]) -> Plan:
    """Return a plan without these jobs."""
    placements = [row for row in plan.placements if row.job_id not in job_ids]
    waiting = tuple(row for row in plan.waiting if row.job_id not in job_ids)
    known = all(row.expected_g is not None for row in placements)
    return _unbounded(plan, placements, waiting, sum(row.expected_g or 0.0 for row in placements) if known else None)


def _unbounded(
    plan: Plan, placements: Sequence[Placement], waiting: tuple[Waiting, ...], expected_g: float | None
) -> Plan:
    """Return a plan with these rows; its bound and what starting at once would emit were those of other jobs."""
    return replace(
        plan,
        placements=tuple(placements),
        waiting=waiting,
        expected_g=expected_g,
        start_at_once_g=None,
        earliest_start_g=None,
        bound_g=None,
    )


def _order(row: Placement) -> tuple[datetime, int]:
    return row.start, row.job_id


def _needs_mw(
    rows: Sequence[Row], jobs: Sequence[Job], site: SitePower | None, pools: Sequence[Pool]
) -> dict[int, int]:
    """Return what these jobs draw of the site's power where a plan has them, by id; nothing without a cap."""
    if site is None:
        return {}
    by_name, by_id = {pool.name: pool for pool in pools}, {job.id: job for job in jobs}
    places = [row for row in rows if isinstance(row, Placement) and row.job_id in by_id and row.pool in by_name]
    return {row.job_id: site.need_mw(by_id[row.job_id], by_name[row.pool].devices) for row in places}


def _jobs(situation: Situation) -> list[Job]:
    return [*situation.jobs, *(run.job for run in situation.running)]


def _taken(
    plan: Plan, situation: Situation, by_name: Mapping[str, int], needs_mw: Mapping[int, int]
) -> tuple[Timeline, ...]:
    """Return what of each pool is taken by what runs, by the places of the plan, and by what is held for slipped jobs.

    A place whose job runs now counts as it was planned, unless it was told when its devices are free. One that the plan
    does not know to run keeps them until it is done.
    """
    pools = pools_of(situation)
    lines = tuple(timelines(situation, pools))
    there = {job.id for job in _jobs(situation)}
    rows: list[list[_Taken]] = [[] for _ in pools]
    power = lines[0].power
    for place in plan.placements:
        if place.job_id in there and place.pool in by_name:
            pool = by_name[place.pool]
            spans = [
                (begin.timestamp(), end.timestamp(), max(1, place.gpus), own)
                for (begin, end), own in zip(place.intervals, _splits(lines[pool], place), strict=True)
            ]
            rows[pool].extend(spans)
            if power is not None:
                for begin_s, end_s, *_ in spans:
                    power.reserve(begin_s, end_s, needs_mw.get(place.job_id, 0))
    now_s = situation.now.timestamp()
    home = home_of(pools)
    for run in situation.running:
        known = plan.placement(run.job.id)
        if known is None or (plan.made_at <= run.since and situation.now < known.start):
            pool = home[run.devices[0]] if run.devices else len(pools) - 1
            end_s = max(now_s, run.since.timestamp() + run.job.remaining.total_seconds())
            rows[pool].append((now_s, end_s, max(1, len(run.devices)), lines[pool].split_of(run.devices)))
            if power is not None and situation.power:
                power.reserve(now_s, end_s, situation.power.need_mw(run.job, run.devices))
    lines = tuple(_all_taken(line, own) if own else line for line, own in zip(lines, rows, strict=True))
    for job in situation.jobs:
        kept = plan.placement(job.id) if slipped_since(job, situation) else None
        if kept is None or kept.pool not in by_name:
            continue
        mw = needs_mw.get(job.id, 0)
        hold(lines[by_name[kept.pool]], now_s, kept.start.timestamp(), kept.gpus, mw)
    return lines


_Taken = tuple[float, float, int, Split]


def _splits(line: Timeline, place: Placement) -> list[Split]:
    """Return of which groups of GPUs a place is, for each of its intervals; () where that is not known."""
    shares = place.shares or ((),) * len(place.intervals)
    return [line.split_of(device for devices, count in share for device in devices[:count]) for share in shares]


def _all_taken(line: Timeline, rows: Sequence[_Taken]) -> Timeline:
    """Return a timeline with units taken over these intervals, be it more than there are: what runs may overrun."""
    taken = None if isinstance(line, GroupedTimeline) else line.taking(*np.array([row[:3] for row in rows]).T)
    if taken is None:
        taken = line.copy()
        for begin_s, end_s, units, own in rows:
            taken.reserve(begin_s, end_s, units, own=own)
    return taken

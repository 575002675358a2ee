"""Choose when each queued job starts: one pure function from a frozen situation to a plan with its reasons.

For now each job, in order of latest start, takes its cleanest feasible window with the GPUs of the others reserved.
Intensity is a step function, so a window's mean is piecewise linear in its start and the best start is found among
the instants where the window begins or ends at a slot edge, at the border of a reservation, or at the job's own limits.
"""

from collections.abc import Iterable, Sequence, Set
from datetime import UTC, datetime, timedelta

import numpy as np

from greenrun.core.capacity import EPSILON_S, Capacity
from greenrun.core.explain import expected_g, placement_reason
from greenrun.core.intensity import Floats
from greenrun.core.job import Job
from greenrun.core.plan import Placement, Plan, Situation, Waiting
from greenrun.core.reasons import ReasonCode, because


def plan(situation: Situation) -> Plan:
    """Place every job that can be placed; fewer missed limits come before fewer grams. Deterministic."""
    waiting = [why for job in situation.jobs if (why := _not_placeable(job, situation))]
    skipped = {row.job_id for row in waiting}
    jobs = sorted((job for job in situation.jobs if job.id not in skipped), key=lambda job: _urgency(job, situation))
    placements = _place_all(jobs, situation)
    if any(placement.late for placement in placements):
        candidates = [placements, _from_soonest(jobs, situation), _from_last(jobs, situation)]
        promised = {job.id for job in jobs if job.spec.finish_by is not None}
        placements = min(candidates, key=lambda rows: _missed(rows, promised))  # the first of equals
    return _summed(situation, placements, waiting, jobs)


def _summed(
    situation: Situation, placements: Sequence[Placement], waiting: Sequence[Waiting], jobs: Sequence[Job]
) -> Plan:
    ordered = sorted(placements, key=lambda placement: (placement.start, placement.job_id))
    empty = _Desk(situation, full=False)
    return Plan(
        made_at=situation.now,
        horizon_end=situation.forecast.end if situation.forecast else None,
        placements=tuple(ordered),
        waiting=tuple(waiting),
        expected_g=_known_sum(placement.expected_g for placement in placements),
        start_at_once_g=_known_sum(row.expected_g for row in start_at_once(jobs, situation)),
        # With no capacity to share every job takes its own cleanest window: no plan that meets the limits emits less.
        bound_g=None if any(row.late for row in placements) else _known_sum(empty.least_g(job) for job in jobs),
        prices=situation.prices,
    )


def start_at_once(jobs: Iterable[Job], situation: Situation) -> list[Placement]:
    """Place jobs in order of submission, each as soon as GPUs are free: what a queue without a forecast does."""
    desk = _Desk(situation)
    return [desk.place(job, soonest=True) for job in sorted(jobs, key=lambda job: (job.earliest_start, job.id))]


def _place_all(jobs: Sequence[Job], situation: Situation) -> list[Placement]:
    """Reserve for those whose planned instant has just come, then place the rest in the order given."""
    desk = _Desk(situation)
    due = {job.id: desk.place(job, due=since) for job in jobs if (since := _due_since(job, situation))}
    return [due.get(job.id) or desk.place(job) for job in jobs]


def _from_soonest(jobs: Sequence[Job], situation: Situation) -> list[Placement]:
    """Place everyone as soon as possible in order of urgency, then let each move to a cleaner window that is free."""
    first, desk = _Desk(situation), _Desk(situation)
    rows = [first.place(job, soonest=True) for job in jobs]
    for row in rows:
        desk.reserve(row)
    return _improved(jobs, rows, situation)


def _from_last(jobs: Sequence[Job], situation: Situation) -> list[Placement]:
    """Keep the starts of the last plan that are still to come, then place the others around them."""
    desk = _Desk(situation)
    kept = {row.job_id: row.start for row in situation.last.placements} if situation.last else {}
    known = [job for job in jobs if kept.get(job.id, situation.now) > situation.now]
    rows = {job.id: desk.place(job, wanted=kept[job.id]) for job in known}
    return [rows.get(job.id) or desk.place(job) for job in jobs]


def _improved(jobs: Sequence[Job], rows: Sequence[Placement], situation: Situation) -> list[Placement]:
    """Give each job in turn its cleanest window beside all the others' present ones; nobody becomes late by it."""
    current = {row.job_id: row for row in rows}
    for job in jobs:
        desk = _Desk(situation)
        for row in current.values():
            if row.job_id != job.id:
                desk.reserve(row)
        current[job.id] = desk.place(job)
    return list(current.values())


def _missed(rows: Sequence[Placement], promised: Set[int]) -> tuple[int, int]:
    """Count missed finish-bys, which were promised at submission, and then all missed limits."""
    late = [row.job_id for row in rows if row.late]
    return sum(job_id in promised for job_id in late), len(late)


def _due_since(job: Job, situation: Situation) -> datetime | None:
    last = situation.last.placement(job.id) if situation.last else None
    if last is None:
        return None
    since = last.due or last.start
    return since if situation.now - situation.options.due_grace <= since <= situation.now else None


def _urgency(job: Job, situation: Situation) -> tuple[datetime, int, int]:
    return (job.latest_start(situation.options.default_max_delay), -job.spec.priority, job.id)


def _not_placeable(job: Job, situation: Situation) -> Waiting | None:
    if job.cancel_requested:
        return Waiting(job_id=job.id, reason=because(ReasonCode.CANCEL_REQUESTED))
    if job.held:
        told = job.reason if job.reason and job.reason.code is ReasonCode.HELD else None
        return Waiting(job_id=job.id, reason=told or because(ReasonCode.HELD, who="a user", job=job.id))
    if job.spec.gpus > len(situation.devices):
        too_few = because(ReasonCode.TOO_FEW_GPUS, gpus=job.spec.gpus, have=len(situation.devices))
        return Waiting(job_id=job.id, reason=too_few)
    if not job.spec.gpus and not situation.cpu_slots:
        return Waiting(job_id=job.id, reason=because(ReasonCode.NO_CPU_SLOTS))
    return None


class _Desk:
    """Reserves GPUs and CPU slots job by job and explains each choice; `full=False` ignores all reservations."""

    def __init__(self, situation: Situation, *, full: bool = True) -> None:
        self._situation = situation
        self._now_s = situation.now.timestamp()
        self._full = full
        self._gpus = Capacity(len(situation.devices))
        self._cpus = Capacity(situation.cpu_slots)
        if full:
            for until in situation.busy.values():
                self._gpus.reserve(self._now_s - 1, max(until.timestamp(), self._now_s), 1)
            for until in situation.cpu_busy:
                self._cpus.reserve(self._now_s - 1, max(until.timestamp(), self._now_s), 1)

    def place(
        self, job: Job, *, soonest: bool = False, due: datetime | None = None, wanted: datetime | None = None
    ) -> Placement:
        """Choose and reserve a start: the cleanest, the soonest, the one that is due, or the one wanted if free."""
        capacity, units = self._pool(job)
        duration_s = job.spec.duration.total_seconds()
        earliest_s = max(job.earliest_start.timestamp(), self._now_s)
        soonest_s = capacity.first_fit(earliest_s, duration_s, units)
        assert soonest_s is not None, "a job that needs more than there is was not placeable"
        if wanted is not None and capacity.fits(np.array([wanted.timestamp()]), duration_s, units)[0]:
            start_s, code = wanted.timestamp(), ReasonCode.CLEANEST_WINDOW
        elif soonest or due:
            start_s, code = soonest_s, self._due_code(job) if due else ReasonCode.SOONEST
        else:
            start_s, code = self._cleanest(job, soonest_s)
        return self.reserve(self._placement(job, start_s, code, due if start_s > self._now_s + EPSILON_S else None))

    def _due_code(self, job: Job) -> ReasonCode:
        """Keep the ground on which it was to start at once; a window it waited for has come."""
        last = self._situation.last.reason(job.id) if self._situation.last else None
        waited = last is None or last.code in (ReasonCode.CLEANEST_WINDOW, ReasonCode.GPUS_BUSY)
        return ReasonCode.DUE if waited or last is None else last.code

    def reserve(self, placement: Placement) -> Placement:
        """Take the placement's GPUs (or CPU slot) for its time, and return it."""
        capacity = self._gpus if placement.gpus else self._cpus
        if self._full:
            capacity.reserve(placement.start.timestamp(), placement.end.timestamp(), max(1, placement.gpus))
        return placement

    def _pool(self, job: Job) -> tuple[Capacity, int]:
        return (self._gpus, job.spec.gpus) if job.spec.gpus else (self._cpus, 1)

    def _cleanest(self, job: Job, soonest_s: float) -> tuple[float, ReasonCode]:
        """Return the start of the cleanest free window the job's limits allow, and why it is that one."""
        options = self._situation.options
        latest_s = job.latest_start(options.default_max_delay).timestamp()
        if soonest_s > latest_s + EPSILON_S:
            return soonest_s, _late_code(job)
        if job.spec.start_now:
            return soonest_s, ReasonCode.ASKED_NOW
        if self._situation.forecast is None or not len(self._situation.forecast):
            return soonest_s, ReasonCode.NO_FORECAST
        starts_s = self._candidates(job, soonest_s, latest_s)
        means = self._situation.forecast.means(starts_s, job.spec.duration.total_seconds())
        if np.isnan(means).all():
            return soonest_s, ReasonCode.FORECAST_TOO_SHORT
        best = int(np.nanargmin(np.round(means, 9)))  # rounding, so that equal windows tie to the earliest
        return self._worth_it(job, (soonest_s, float(means[0])), (float(starts_s[best]), float(means[best])))

    def _worth_it(self, job: Job, soonest: tuple[float, float], best: tuple[float, float]) -> tuple[float, ReasonCode]:
        options = self._situation.options
        own = job.spec.run_below_g_per_kwh
        run_below = options.run_below_g_per_kwh if own is None else own
        min_saving = options.min_saving if job.spec.min_saving is None else job.spec.min_saving
        if soonest[1] <= run_below:
            return soonest[0], ReasonCode.CLEAN_ENOUGH
        if best[0] <= soonest[0] + EPSILON_S:
            return best[0], ReasonCode.NOW_IS_CLEANEST
        if 1 - best[1] / soonest[1] < min_saving:
            return soonest[0], ReasonCode.NOT_WORTH_WAITING
        return best[0], ReasonCode.CLEANEST_WINDOW

    def _candidates(self, job: Job, soonest_s: float, latest_s: float) -> Floats:
        """Return every start, in order, at which the best one can lie: shape (n,), the soonest first."""
        assert self._situation.forecast is not None
        capacity, units = self._pool(job)
        duration_s = job.spec.duration.total_seconds()
        begins, ends = capacity.blocked(units) if self._full else (np.zeros(0), np.zeros(0))
        series = self._situation.forecast
        edges = np.concatenate([series.starts_s, series.ends_s])
        starts = np.unique(
            np.concatenate([[soonest_s, latest_s], edges, edges - duration_s, ends, begins - duration_s])
        )
        starts = starts[(starts >= soonest_s) & (starts <= latest_s)]
        return starts[capacity.fits(starts, duration_s, units)] if self._full else starts

    def _placement(self, job: Job, start_s: float, code: ReasonCode, due: datetime | None) -> Placement:
        situation = self._situation
        start = situation.now if start_s <= self._now_s else datetime.fromtimestamp(start_s, UTC)
        end = start + job.spec.duration
        window, at_once = (self._mean(at, job.spec.duration) for at in (start, situation.now))
        least = self._least(job) if code is ReasonCode.NOT_WORTH_WAITING else window
        return Placement(
            job_id=job.id,
            start=start,
            end=end,
            gpus=job.spec.gpus,
            reason=placement_reason(job, situation, code, start, (window, at_once, least)),
            intensity_g_per_kwh=window,
            start_now_g_per_kwh=at_once,
            expected_g=expected_g(job, window, situation.options),
            start_now_g=expected_g(job, at_once, situation.options),
            late=job.misses_limit(start, end),
            due=due,
        )

    def least_g(self, job: Job) -> float | None:
        """Return the least the job can emit at any start its limits allow, in g; None when that is not known."""
        least = self._least(job)
        return None if least is None else expected_g(job, least, self._situation.options)

    def _least(self, job: Job) -> float | None:
        """The mean over the cleanest window that the job's limits allow, in g/kWh."""
        if self._situation.forecast is None:
            return None
        soonest_s = max(job.earliest_start.timestamp(), self._now_s)
        latest_s = max(soonest_s, job.latest_start(self._situation.options.default_max_delay).timestamp())
        duration_s = job.spec.duration.total_seconds()
        means = self._situation.forecast.means(self._candidates(job, soonest_s, latest_s), duration_s)
        return None if np.isnan(means).all() else float(np.nanmin(means))

    def _mean(self, start: datetime, duration: timedelta) -> float | None:
        series = self._situation.forecast
        return series.mean(start, start + duration) if series is not None else None


def _late_code(job: Job) -> ReasonCode:
    if job.spec.start_now:
        return ReasonCode.ASKED_NOW
    return ReasonCode.DEADLINE if job.has_limit else ReasonCode.NO_LIMIT_LEFT


def _known_sum(parts: Iterable[float | None]) -> float | None:
    known = list(parts)
    return None if any(part is None for part in known) else sum(part for part in known if part is not None)

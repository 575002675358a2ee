"""Decide what to do now: the starts and suspensions that the plan asks for, and the verdict on a run that ended."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from types import MappingProxyType

from greenrun.core.formatting import duration_text, instant_text, intensity_text
from greenrun.core.jobs.job import Job, Outcome, Run, State
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.jobs.runs.durations import expected_length
from greenrun.core.jobs.runs.exits import exit_code_text, left_text, oom_text, signal_text
from greenrun.core.jobs.runs.resource_limits import amount_text
from greenrun.core.jobs.runs.retries import again, pause_after, retries_left, since_requeue
from greenrun.core.jobs.runs.status import EndedBy, Phase, RunStatus
from greenrun.core.planning.model import Placement, Plan, Running
from greenrun.core.planning.power_cap.power_room import PowerRoom

MAX_FRUITLESS = 3  # checkpointed runs in a row that got no further, before a job is given up
HARDLY = timedelta(seconds=1)  # a run that is planned to end when a reservation begins may start this much late
FRUITLESS = timedelta(seconds=1)  # nothing is done in so short a run, even where continuing is said to cost nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start this job now on these devices."""

    placement: Placement
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspend:
    """Ask the run of this job to checkpoint now."""

    job_id: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a run ended, and what becomes of its job. `progress` is what a checkpointed run did of it, else nothing.

    `retry_at` is when the job may be tried again, where that is only after a pause.
    """

    outcome: Outcome
    job_state: State
    reason: Reason
    progress: timedelta = timedelta(0)
    retry_at: datetime | None = None


NEVER = datetime.max.replace(tzinfo=UTC)


def decide(
    plan: Plan,
    *,
    now: datetime,
    free: Mapping[str, str],
    cpu_free: int,
    queued: Collection[int],
    until: Mapping[str, datetime] = MappingProxyType({}),
    power: PowerRoom | None = None,
    slipped: Sequence[int] = (),
    behind: Collection[int] = (),
) -> list[Start]:
    """Return the starts of `queued` jobs that are due at `now` and fit, in the plan's order.

    `free` maps each device that is free to its pool; a placement takes the first ones of its own pool. One that is
    reserved (`until` tells from when on) is taken only if the run is expected to end before: those that the plan
    means, else those that are reserved first, since longer runs may need the others. `power` is what the site's cap
    leaves, which the starts take of it; None without a cap. The start of `slipped` jobs has slipped since the plan was
    made: what is free and they need, those `behind` do not get.
    """
    devices, starts = dict(free), []
    for placement in _in_turn(plan, now, slipped, behind):
        is_slipped = placement.job_id in slipped
        if placement.job_id not in queued and not is_slipped:
            continue
        own = [device for device, pool in devices.items() if pool == placement.pool]
        if until and own:
            begin, end = placement.intervals[0]
            own = sorted(
                (device for device in own if now + (end - begin) - HARDLY <= until.get(device, NEVER)),
                key=lambda device: until.get(device, NEVER),
            )
        if is_slipped and (placement.gpus > len(own) or placement.start > now or placement.job_id not in queued):
            devices = {device: pool for device, pool in devices.items() if device not in own[: placement.gpus]}
            continue
        if placement.gpus > len(own) or (not placement.gpus and cpu_free <= 0):
            continue
        if power and not power.take(placement):
            continue
        taken = _planned_gpus(placement, own) or own[: placement.gpus]
        devices = {device: pool for device, pool in devices.items() if device not in taken}
        cpu_free -= 0 if placement.gpus else 1
        starts.append(Start(placement=placement, devices=tuple(taken)))
    return starts


def _planned_gpus(placement: Placement, free: Sequence[str]) -> list[str]:
    """Return the GPUs that the plan means, where GPUs are reserved at different times and these are free; else []."""
    chosen: list[str] = []
    for devices, count in placement.shares[0] if placement.shares else ():
        own = [device for device in free if device in devices]
        if len(own) < count:
            return []
        chosen += own[:count]
    return chosen


def _in_turn(plan: Plan, now: datetime, slipped: Sequence[int], behind: Collection[int]) -> Sequence[Placement]:
    """Return the places that are due, in the plan's order but for slipped jobs, due or not, and those behind them."""
    due = plan.started_by(now)
    if not slipped:
        return due
    before = [row for row in due if row.job_id not in slipped and row.job_id not in behind]
    held = [row for job_id in slipped if (row := plan.placement(job_id))]
    return [*before, *held, *(row for row in due if row.job_id in behind)]


def suspensions(plan: Plan, running: Sequence[Running], now: datetime, power: PowerRoom | None = None) -> list[Suspend]:
    """Return which of these interruptible jobs are to checkpoint now: those that the plan lets run later, but not now.

    `power` is what the site's cap leaves beside the plan, None without a cap: a job that is short of it soon is asked
    as long before as it may take to checkpoint.

    One that is still starting, that has not run for its `min_run` yet, or that the plan does not mention, goes on; and
    so does one that was started while the plan was made, which thinks that it still waits to be.
    """
    asked = []
    for row in running:
        placement = plan.placement(row.job.id)
        is_young = row.job.state is State.STARTING or now - row.since < row.job.spec.min_run
        if placement is None or is_young:
            continue
        if plan.made_at <= row.since and now < placement.start:
            continue
        soon = now + row.job.spec.grace
        if power and (until := _pauses_until(placement, soon)) and (short := power.why_short(row, soon, until)):
            asked.append(Suspend(job_id=row.job.id, reason=short))
        elif until := _pauses_until(placement, now):
            asked.append(Suspend(job_id=row.job.id, reason=_suspended(placement, until)))
    return asked


def _pauses_until(placement: Placement, at: datetime) -> datetime | None:
    """Return when a job goes on that the plan does not let run at an instant; None where it runs, or is done then."""
    later = [start for start, end in placement.intervals if end > at]
    return min(later) if later and min(later) > at else None


def _suspended(placement: Placement, at: datetime) -> Reason:
    means = (placement.intensity_g_per_kwh, placement.start_now_g_per_kwh)
    window, now = (intensity_text(mean, placement.signal) for mean in means)
    return because(ReasonCode.SUSPENDED, at=instant_text(at), window=window, now=now)


def expected_end(run: Run, job: Job, now: datetime) -> datetime:
    """Return when a live run is expected to free its devices; re-estimated once it is overdue, never in the past."""
    started = run.started_at or run.claimed_at
    return started + expected_length(job.remaining, now - started)


def verdict(status: RunStatus, job: Job, earlier: Sequence[Run], run: Run, now: datetime) -> Verdict:
    """Judge a run that EXITED, or was LOST or INTERRUPTED; `earlier` are the job's runs, for counting its retries."""
    judged = _verdict(status, job, since_requeue(job, earlier), run, now)
    more = [left_text(status.left)] if status.left else []
    if status.oom_kills and judged.reason.code is ReasonCode.SUCCEEDED:
        more.append(oom_text(status.oom_kills))
    return (
        replace(judged, reason=Reason(judged.reason.code, "; ".join([judged.reason.text, *more]))) if more else judged
    )


def _verdict(status: RunStatus, job: Job, earlier: Sequence[Run], run: Run, now: datetime) -> Verdict:
    if _has_checkpointed(status, job) and not job.cancel_requested:
        return _continued(status, job, earlier, run)
    outcome, reason = _outcome(status, job)
    if outcome is Outcome.SUCCEEDED:
        return Verdict(outcome=outcome, job_state=State.SUCCEEDED, reason=reason)
    if outcome is Outcome.CANCELLED:
        return Verdict(outcome=outcome, job_state=State.CANCELLED, reason=reason)
    others = [other for other in earlier if other.id != run.id]
    left = retries_left(job, outcome, status.exit_code, others)
    if not left:
        return Verdict(outcome=outcome, job_state=State.FAILED, reason=reason)
    pause, quick = pause_after(outcome, status.length, others)
    at = (status.ended_at or now) + pause
    told = again(run, reason, left - 1, pause, quick, at)
    return Verdict(outcome=outcome, job_state=State.QUEUED, reason=told, retry_at=at if pause else None)


def _has_checkpointed(status: RunStatus, job: Job) -> bool:
    """Tell whether it ended as an interruptible job does that wants to be continued, asked or not.

    Not so at its time limit, which is hard.
    """
    if not job.spec.interruptible or status.ended_by in {EndedBy.TIME_LIMIT, EndedBy.NOT_STARTED}:
        return False
    return status.phase is Phase.EXITED and status.exit_code == job.spec.checkpoint_exit_code


def _continued(status: RunStatus, job: Job, earlier: Sequence[Run], run: Run) -> Verdict:
    """Judge a run that checkpointed: its job goes on later, unless it gets nowhere."""
    ran = status.length
    if _fruitless_runs(ran, job, earlier, run) >= MAX_FRUITLESS:
        cost = duration_text(job.spec.restart_cost)
        reason = because(ReasonCode.NO_PROGRESS, count=MAX_FRUITLESS, cost=cost)
        return Verdict(outcome=Outcome.FAILED, job_state=State.FAILED, reason=reason)
    reason = because(ReasonCode.CHECKPOINTED, time=duration_text(ran))
    overhead = job.spec.restart_cost if job.progress else timedelta(0)
    progress = max(ran - overhead, timedelta(0))
    return Verdict(outcome=Outcome.CHECKPOINTED, job_state=State.QUEUED, reason=reason, progress=progress)


def _fruitless_runs(ran: timedelta, job: Job, earlier: Sequence[Run], run: Run) -> int:
    """Count the job's latest checkpointed runs, from this one back, that took no longer than continuing costs."""
    before = [other for other in earlier if other.id != run.id and other.started_at is not None]
    checkpointed = takewhile(lambda other: other.outcome is Outcome.CHECKPOINTED, reversed(before))
    lengths = [ran, *(other.length for other in checkpointed)]
    least = max(job.spec.restart_cost, FRUITLESS)
    return sum(1 for _ in takewhile(lambda length: length <= least, lengths))


def _outcome(status: RunStatus, job: Job) -> tuple[Outcome, Reason]:
    if status.phase is Phase.LOST:
        return _lost(status, job)
    if status.phase is Phase.INTERRUPTED:
        return Outcome.INTERRUPTED, because(ReasonCode.INTERRUPTED, why="the machine restarted while it ran")
    if status.ended_by is EndedBy.NOT_STARTED:
        return Outcome.FAILED_TO_START, because(ReasonCode.FAILED_TO_START, why=status.detail or "unknown cause")
    if status.ended_by is EndedBy.TIME_LIMIT:
        limit = duration_text(job.spec.time_limit)
        return Outcome.TIMED_OUT, because(ReasonCode.TIMED_OUT, limit=limit)
    if job.cancel_requested and (status.ended_by is EndedBy.STOP or _has_checkpointed(status, job)):
        return Outcome.CANCELLED, _cancelled(job)
    if status.ended_by is EndedBy.STOP:
        return Outcome.INTERRUPTED, because(ReasonCode.INTERRUPTED, why="its supervisor was told to stop from outside")
    if status.exit_code == 0 and status.ended_by is not EndedBy.CHECKPOINT_GRACE:
        return Outcome.SUCCEEDED, because(ReasonCode.SUCCEEDED)
    failed = _failed(status, job)
    return Outcome.FAILED, Reason(failed.code, f"{failed.text}; {status.changed}") if status.changed else failed


def _lost(status: RunStatus, job: Job) -> tuple[Outcome, Reason]:
    reason = because(ReasonCode.LOST, why=status.detail or "its supervisor died")
    if job.cancel_requested:
        asked = _cancelled(job)
        return Outcome.CANCELLED, Reason(asked.code, f"{asked.text}: {reason.text}")
    return Outcome.LOST, reason


def _cancelled(job: Job) -> Reason:
    """Return why: for the anomaly that the job's reason names, else at somebody's request."""
    is_anomalous = job.reason is not None and job.reason.code is ReasonCode.ANOMALOUS
    return job.reason if job.reason is not None and is_anomalous else because(ReasonCode.CANCELLED)


def _failed(status: RunStatus, job: Job) -> Reason:
    by_signal = signal_text(status.signal) if status.signal else ""
    if status.ended_by is EndedBy.CHECKPOINT_GRACE:
        how = f"did not end within its grace of {duration_text(job.spec.grace)}, so it was stopped"
        return because(ReasonCode.CHECKPOINT_FAILED, how=how)
    if status.ended_by is EndedBy.CHECKPOINT:
        how = f"was ended by {by_signal}" if by_signal else f"ended with {exit_code_text(status.exit_code)}"
        return because(ReasonCode.CHECKPOINT_FAILED, how=how)
    if status.oom_kills:
        ended = f"by {by_signal}" if by_signal else f"with {exit_code_text(status.exit_code)}"
        return because(
            ReasonCode.OUT_OF_MEMORY,
            why=_why_out_of_memory(status, job),
            killed=oom_text(status.oom_kills),
            ended=ended,
        )
    if by_signal:
        return because(ReasonCode.SIGNALLED, signal=by_signal)
    return because(ReasonCode.EXIT_CODE, code=exit_code_text(status.exit_code))


def _why_out_of_memory(status: RunStatus, job: Job) -> str:
    limit = job.spec.memory_gib
    if status.is_own_limit and limit is not None:
        return f"reached its limit of {amount_text('memory_gib', limit)}"
    return "ran out of memory, as its machine or all jobs together had no more"

"""Turn a plan and what executors report into things to do: starts, stops and verdicts on runs that ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenrun.core.explain import duration_text
from greenrun.core.job import Job, Outcome, Run, State
from greenrun.core.plan import Placement, Plan
from greenrun.core.reasons import Reason, ReasonCode, because
from greenrun.core.status import EndedBy, Phase, RunStatus

OVERRUN_RATIO = 0.1  # a run that outlives its duration is expected to take a tenth of its age longer, again and again

_FAILURES = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST, Outcome.INTERRUPTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Start this job now on these devices."""

    placement: Placement
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How a run ended, and what becomes of its job."""

    outcome: Outcome
    job_state: State
    reason: Reason


def decide(plan: Plan, *, now: datetime, free: Sequence[str], cpu_free: int) -> list[Start]:
    """Return the starts that are due at `now` and fit the free devices and CPU slots, in the plan's order."""
    devices, starts = list(free), []
    for placement in plan.placements:
        if placement.start > now or placement.gpus > len(devices) or (not placement.gpus and cpu_free <= 0):
            continue
        taken, devices = devices[: placement.gpus], devices[placement.gpus :]
        cpu_free -= 0 if placement.gpus else 1
        starts.append(Start(placement=placement, devices=tuple(taken)))
    return starts


def expected_end(run: Run, job: Job, now: datetime) -> datetime:
    """Return when a live run is expected to free its devices; re-estimated once it is overdue, never in the past."""
    started = run.started_at or run.claimed_at
    planned = started + job.spec.duration
    return planned if planned > now else now + max((now - started) * OVERRUN_RATIO, timedelta(milliseconds=50))


def verdict(status: RunStatus, job: Job, earlier: Sequence[Run], run: Run) -> Verdict:
    """Judge a run that EXITED, or was LOST or INTERRUPTED; `earlier` are the job's runs, for counting its retries."""
    outcome, reason = _outcome(status, job)
    if outcome is Outcome.SUCCEEDED:
        return Verdict(outcome=outcome, job_state=State.SUCCEEDED, reason=reason)
    if outcome is Outcome.CANCELLED:
        return Verdict(outcome=outcome, job_state=State.CANCELLED, reason=reason)
    failures = sum(other.outcome in _FAILURES for other in earlier if other.id != run.id)
    left = job.spec.retries - failures
    if outcome is Outcome.FAILED_TO_START or left <= 0 or job.cancel_requested:
        return Verdict(outcome=outcome, job_state=State.FAILED, reason=reason)
    again = because(ReasonCode.RETRYING, number=run.number, why=reason.text, left=left - 1)
    return Verdict(outcome=outcome, job_state=State.QUEUED, reason=again)


def _outcome(status: RunStatus, job: Job) -> tuple[Outcome, Reason]:
    if status.phase is Phase.LOST:
        return Outcome.LOST, because(ReasonCode.LOST)
    if status.phase is Phase.INTERRUPTED:
        return Outcome.INTERRUPTED, because(ReasonCode.INTERRUPTED, why="the machine restarted while it ran")
    if status.ended_by is EndedBy.NOT_STARTED:
        return Outcome.FAILED_TO_START, because(ReasonCode.FAILED_TO_START, why=status.detail or "unknown cause")
    if status.ended_by is EndedBy.TIME_LIMIT:
        limit = duration_text(job.spec.time_limit) if job.spec.time_limit else "unknown"
        return Outcome.TIMED_OUT, because(ReasonCode.TIMED_OUT, limit=limit)
    if status.ended_by is EndedBy.STOP and job.cancel_requested:
        return Outcome.CANCELLED, because(ReasonCode.CANCELLED)
    if status.ended_by is EndedBy.STOP:
        return Outcome.INTERRUPTED, because(ReasonCode.INTERRUPTED, why="its supervisor was told to stop from outside")
    if status.exit_code == 0:
        return Outcome.SUCCEEDED, because(ReasonCode.SUCCEEDED)
    if status.exit_code is not None and status.exit_code > 128:
        return Outcome.FAILED, because(ReasonCode.SIGNALLED, signal=status.exit_code - 128)
    return Outcome.FAILED, because(ReasonCode.EXIT_CODE, code=status.exit_code)

"""What each step in a job's life writes, as pure functions of the job and its run; a store keeps what they return.

submitted -a-> queued -b-> starting -c-> running -e-> succeeded, -f-> failed, -i-> cancelled
               queued <-d- starting      running -g-> queued (checkpointed, or to be tried again)
               queued -h-> cancelled, -j-> expired
succeeded, failed, cancelled, expired -k-> queued: requeued by its user, never by the daemon
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from greenrun.core.energy.ledger import Total
from greenrun.core.energy.model import Quality
from greenrun.core.errors import InvalidTransition
from greenrun.core.formatting import iso_text
from greenrun.core.histogram import (
    JOB_DEFERRAL,
    RUN_DURATION,
    RUN_EMISSIONS,
    RUN_ENERGY,
    CounterKey,
    added,
    counter_key,
)
from greenrun.core.jobs.declaration import field_infos
from greenrun.core.jobs.job import FINISHED, Anomaly, Job, JobSpec, Origin, Outcome, Run, State
from greenrun.core.jobs.reasons import FORCED, Reason, ReasonCode, because
from greenrun.core.jobs.runs.anomalies import RuleResult
from greenrun.core.jobs.trail import SCHEDULER as SCHEDULER
from greenrun.core.jobs.trail import EventKind as EventKind
from greenrun.core.jobs.trail import NewEvent as NewEvent
from greenrun.core.jobs.trail import changed_fields

TRANSITIONS = frozenset(
    {
        (State.QUEUED, State.STARTING),  # b  claimed: committed before anything is spawned
        (State.STARTING, State.RUNNING),  # c  the executor has it
        (State.STARTING, State.QUEUED),  # d  the claim was proved never to have spawned
        (State.RUNNING, State.SUCCEEDED),  # e
        (State.RUNNING, State.FAILED),  # f  failed, lost or timed out, and no retries left
        (State.STARTING, State.FAILED),  # f  failed to start
        (State.RUNNING, State.QUEUED),  # g  checkpointed, or failed with retries left
        (State.QUEUED, State.CANCELLED),  # h
        (State.STARTING, State.CANCELLED),  # i
        (State.RUNNING, State.CANCELLED),  # i
        (State.QUEUED, State.EXPIRED),  # j  not started by its own limit, and the job asked for that
    }
)

_COSTS = ("gpus", "duration", "power_w", "project", "command")  # a job of others is not the one that an admin let go

UNSTORED = 0  # the id of a job or run that the store has yet to give one

PROJECTS = "greenrun_projects"  # not exported: whose totals begin at 0
SUBMITTED_JOBS = "greenrun_jobs_submitted_total"
FINISHED_JOBS = "greenrun_jobs_finished_total"
DEADLINES_MISSED = "greenrun_deadlines_missed_total"
FORCED_STARTS = "greenrun_forced_starts_total"
ANOMALIES = "greenrun_anomalies_total"

Counts = Mapping[CounterKey, float]


class Intent(StrEnum):
    """What a user may want of a job that is stored."""

    CANCEL = "cancel"
    HOLD = "hold"
    RELEASE = "release"
    START_NOW = "start-now"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What a user wants a job to be, who has seen it as it was `before`; `requeue`: to run again, once it had ended."""

    before: Job
    spec: JobSpec
    requeue: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one step writes, all or nothing: the job (which was `before`) and the run as they are from now on.

    A claim leases the run's devices and an outcome frees them. `counts` are added to the persisted counters; among them
    is what the values `observed`, by histogram, add.
    """

    before: Job | None = None
    job: Job | None = None
    run: Run | None = None
    events: tuple[NewEvent, ...] = ()
    counts: Counts = field(default_factory=dict)
    observed: Mapping[str, float] = field(default_factory=dict)

    @property
    def trail(self) -> tuple[NewEvent, ...]:
        """The events, of which the first tells what changed of a job that was there before."""
        if self.before is None or self.job is None or not self.events:
            return self.events
        was, now = changed_fields(self.before, self.job)
        if not was and not now:
            return self.events
        return (replace(self.events[0], before=was, after=now), *self.events[1:])


def check_listed(job_id: int, old: State, new: State) -> None:
    """Raise InvalidTransition for a transition that no job makes."""
    if (old, new) not in TRANSITIONS:
        raise InvalidTransition(f"job {job_id} cannot go from {old} to {new}; nothing was changed")


def submit(spec: JobSpec, *, user: str, uid: int, now: datetime, origin: Origin | None = None) -> Change:
    """Accept a job (a)."""
    job = Job(id=UNSTORED, spec=spec, user=user, uid=uid, state=State.QUEUED, submitted_at=now)
    event = NewEvent(kind=EventKind.SUBMITTED, at=now, actor=user, detail={"project": spec.project}, origin=origin)
    counts = {counter_key(SUBMITTED_JOBS): 1, counter_key(PROJECTS, project=spec.project): 0}
    return Change(job=job, events=(event,), counts=counts)


def change_state(job: Job, new: State, *, reason: Reason, actor: str, now: datetime) -> Change:
    """Move a job that has no live run (h, j); raise InvalidTransition for an unlisted transition."""
    moved = _in_state(job, new, reason=reason, finished_at=now if new in FINISHED else job.finished_at)
    kinds = {
        State.STARTING: EventKind.CLAIMED,
        State.RUNNING: EventKind.STARTED,
        State.QUEUED: EventKind.REQUEUED,
    }
    kind = kinds.get(new, EventKind.FINISHED)
    event = NewEvent(kind=kind, at=now, actor=actor, detail={"state": new, "reason": reason.code})
    counts: Counts = {counter_key(FINISHED_JOBS, outcome=new.value): 1} if new in FINISHED else {}
    return Change(before=job, job=moved, events=(event,), counts=counts)


def intend(job: Job, intent: Intent, *, actor: str, now: datetime, origin: Origin | None = None) -> Change | None:
    """Note what a user wants of a job; None when that is noted already. Raise InvalidTransition where it is too late.

    A job that is not finished can be cancelled. Only a queued one can be held or released, or started as soon as GPUs
    are free, whatever its start-after, and without the rest of a pause after a failure; or let go over its budgets.
    """
    changed, kind = _intended(job, intent)
    if changed == job:
        return None
    return Change(before=job, job=changed, events=(NewEvent(kind=kind, at=now, actor=actor, origin=origin),))


def _intended(job: Job, intent: Intent) -> tuple[Job, EventKind]:
    if intent is Intent.CANCEL:
        if job.state in FINISHED:
            raise InvalidTransition(f"job {job.id} {job.state.said} already, so it cannot be cancelled")
        return replace(job, cancel_requested=True), EventKind.CANCEL_REQUESTED
    if intent is Intent.HOLD:
        return _queued(job, "held or released", held=True), EventKind.HELD
    if intent is Intent.RELEASE:
        return _queued(job, "held or released", held=False), EventKind.RELEASED
    if intent is Intent.APPROVE:
        is_told = job.reason is not None and job.reason.code in (ReasonCode.BUDGET_SPENT, ReasonCode.BUDGET_APPROVAL)
        reason = None if is_told else job.reason  # the next plan has another one
        return _queued(job, "let go over a budget", over_budget=True, reason=reason), EventKind.BUDGET_APPROVED
    spec = replace(job.spec, start_now=True, start_after=None)
    return _queued(job, "started now", spec=spec, retry_at=None), EventKind.START_NOW_REQUESTED


def edit(
    job: Job, wanted: Edit, *, last_number: int, actor: str, now: datetime, origin: Origin | None = None
) -> Change | None:
    """Change what a job is, or requeue it (k); None when it is like that already. `last_number` is of its latest run.

    Raise InvalidTransition when it is not as whoever wants this has seen it.
    """
    seen = wanted.before
    if (job.state, job.spec, job.requeued_at) != (seen.state, seen.spec, seen.requeued_at):
        raise InvalidTransition(f"job {job.id} has changed meanwhile, so nothing was changed: look at it and ask again")
    made = edited(job, wanted, now)
    if wanted.requeue:
        made = replace(made, counted_from=last_number + 1)
    if made == job:
        return None
    fields = [row.name for row in field_infos(JobSpec) if getattr(job.spec, row.name) != getattr(made.spec, row.name)]
    detail: dict[str, object] = {"changed": [name for name in fields if name != "env"]}
    detail |= {"state": made.state, "was": job.state} if wanted.requeue else {}
    kind = EventKind.REQUEUED if wanted.requeue else EventKind.EDITED
    event = NewEvent(kind=kind, at=now, actor=actor, detail=detail, origin=origin)
    return Change(before=job, job=made, events=(event,))


def edited(job: Job, wanted: Edit, now: datetime) -> Job:
    """Return the job as it is wanted; raise InvalidTransition for an edit of one that has ended, a requeue of others.

    A requeued job is queued as if it had been submitted now, with all its retries; what it did up to a checkpoint
    counts on, unless it had succeeded.
    """
    if not wanted.requeue:
        if job.state in FINISHED:
            raise InvalidTransition(f"job {job.id} {job.state.said} already: requeue it to have it run again")
        is_same = all(getattr(job.spec, name) == getattr(wanted.spec, name) for name in _COSTS)
        return replace(job, spec=wanted.spec, over_budget=job.over_budget and is_same)
    if job.state not in FINISHED:
        raise InvalidTransition(f"job {job.id} {job.state.said}; only one that has ended can be requeued")
    return replace(
        job, spec=wanted.spec, state=State.QUEUED, held=False, cancel_requested=False, finished_at=None, reason=None,
        progress=timedelta(0) if job.state is State.SUCCEEDED else job.progress, deadline_missed=False, retry_at=None,
        requeued_at=now, over_budget=False,
    )  # fmt: skip


def explain(
    known: Mapping[int, tuple[State, Reason | None]], told: Mapping[int, Reason], now: datetime
) -> tuple[dict[int, Reason], dict[int, NewEvent]]:
    """Return the reasons to write and the events to add, by job: one for each whose reason has another code now."""
    unfinished = {job_id: before for job_id, (state, before) in known.items() if state not in FINISHED}
    changed = {job_id: told[job_id] for job_id, before in unfinished.items() if before != told[job_id]}
    events = {}
    for job_id, reason in changed.items():
        before = unfinished[job_id]
        code = before.code if before else None
        if code is not reason.code:
            detail = {"reason": reason.code, "before": code}
            events[job_id] = NewEvent(kind=EventKind.REASON_CHANGED, at=now, detail=detail)
    return changed, events


def claim(
    job: Job,
    devices: Sequence[str],
    *,
    leased: Collection[str],
    number: int,
    token: str,
    reason: Reason,
    now: datetime,
) -> Change | None:
    """Give a queued job its next run and devices (b); None when it may not be started, or one of them is leased."""
    if job.state is not State.QUEUED or job.held or job.cancel_requested or not set(leased).isdisjoint(devices):
        return None
    if job.retry_at is not None and now < job.retry_at:
        return None  # a plan from before its failure does not know of the pause
    run = Run(id=UNSTORED, job_id=job.id, number=number, token=token, devices=tuple(devices), claimed_at=now)
    detail = {"number": number, "devices": list(devices), "reason": reason.code, "why": reason.text}
    event = NewEvent(kind=EventKind.CLAIMED, at=now, detail=detail)
    return Change(before=job, job=_in_state(job, State.STARTING, reason=reason), run=run, events=(event,))


def confirm(
    job: Job, run: Run, *, started_at: datetime, log: str | None, first_start: datetime | None, now: datetime
) -> Change | None:
    """Say that a claimed run has started (c); None when it had, or has ended. `first_start` is of the others."""
    if run.outcome is not None or job.state is not State.STARTING:
        return None
    begun = min(first_start or started_at, started_at)
    moved, counts = _limit_checked(_in_state(job, State.RUNNING), begun, started_at)
    if job.reason is not None and job.reason.code in FORCED:
        counts |= {counter_key(FORCED_STARTS, reason=job.reason.code.value): 1}
    waited = {JOB_DEFERRAL: (started_at - job.asked_start).total_seconds()} if first_start is None else {}
    observed = _not_negative(waited)
    return Change(
        before=job,
        job=moved,
        run=replace(run, started_at=started_at, log=log),
        events=(
            NewEvent(kind=EventKind.STARTED, at=now, detail={"number": run.number}),
            *_missed_now(job, moved, now),
        ),
        counts={**counts, **added(observed)},
        observed=observed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a run ended, and where that leaves its job; `progress` is what a checkpointed run has done of it.

    `retry_at` is when the job may be tried again, where that is only after a pause.
    """

    outcome: Outcome
    exit_code: int | None
    started_at: datetime | None
    ended_at: datetime
    ran: timedelta | None
    log: str | None
    job_state: State
    reason: Reason
    progress: timedelta | None = None
    retry_at: datetime | None = None
    image: str | None = None

    def of(self, run: Run) -> Run:
        """Return the run as it ended."""
        return replace(
            run,
            outcome=self.outcome,
            exit_code=self.exit_code,
            started_at=run.started_at or self.started_at,  # it began once, whatever the clock was set to since
            ended_at=self.ended_at,
            ran=self.ran,
            log=self.log or run.log,
            image=self.image or run.image,
        )


def close(job: Job, ended: Run, ending: Ending, *, first_start: datetime | None, total: Total, now: datetime) -> Change:
    """End a run and move its job with it (d-g, i); raise InvalidTransition for an unlisted transition.

    `first_start` is when the first of the job's other runs since its last requeue started, `total` what the run used.
    """
    new, finished_at = ending.job_state, ending.ended_at if ending.job_state in FINISHED else None
    done = job.progress
    if ending.progress and ending.outcome is Outcome.CHECKPOINTED:
        done += ending.progress
    moved = _in_state(job, new, reason=ending.reason, finished_at=finished_at, progress=done, retry_at=ending.retry_at)
    counts: dict[CounterKey, float] = {}
    if finished_at is not None:
        begun = min(filter(None, (first_start, ended.started_at)), default=job.submitted_at)
        moved, counts = _limit_checked(moved, begun, finished_at)
        counts |= {counter_key(FINISHED_JOBS, outcome=ending.outcome.value): 1}
    observed = _used(ended, total)
    how = {"outcome": ending.outcome, "exit_code": ending.exit_code, "state": new, "reason": ending.reason.code}
    kind = EventKind.FINISHED if new in FINISHED else EventKind.REQUEUED
    return Change(
        before=job,
        job=moved,
        run=ended,
        events=(NewEvent(kind=kind, at=now, detail={"number": ended.number, **how}), *_missed_now(job, moved, now)),
        counts={**counts, **added(observed)},
        observed=observed,
    )


def keep_work(run: Run, *, work: float, unit: str, at: datetime) -> Change | None:
    """Note what a run says to have done; None when that is no more than before."""
    if run.work is not None and run.work >= work:
        return None
    return Change(run=replace(run, work=work, work_unit=unit, work_at=at))


def ignore_work(run: Run, why: str, now: datetime) -> Change:
    """Note that the work a run reported was ignored."""
    return Change(run=run, events=(NewEvent(kind=EventKind.WORK_IGNORED, at=now, detail={"text": why}),))


def note_anomaly(
    job: Job, run: Run, result: RuleResult, anomaly: Anomaly, *, stop: bool, now: datetime
) -> Change | None:
    """Note that an anomaly of a live run began or is over, and `stop` its job as on request; None when it had ended."""
    if run.outcome is not None:
        return None
    detail = {"anomaly": anomaly, "began": result.is_anomalous, "text": result.text, **result.numbers}
    events = [NewEvent(kind=EventKind.ANOMALY, at=now, detail=detail)]
    changed = job
    if stop and not job.cancel_requested:
        reason = because(ReasonCode.ANOMALOUS, anomaly=anomaly.value, why=result.text)
        changed = replace(job, cancel_requested=True, reason=reason)
        events.append(NewEvent(kind=EventKind.CANCEL_REQUESTED, at=now, detail={"anomaly": anomaly}))
    counts: Counts = {counter_key(ANOMALIES, rule=anomaly.value): 1} if result.is_anomalous else {}
    return Change(before=job, job=changed, run=run, events=tuple(events), counts=counts)


def _in_state(job: Job, new: State, **parts: object) -> Job:
    """Return the job in its new state; what is in its environment may be secret, and nobody needs it once it ended."""
    check_listed(job.id, job.state, new)
    spec = replace(job.spec, env=dict.fromkeys(job.spec.env, "")) if new in FINISHED else job.spec
    return replace(job, state=new, spec=spec, **parts)  # type: ignore[arg-type]


def miss_limit(job: Job, now: datetime) -> Change | None:
    """Count that a job which waits or runs has missed a limit of its user's; None if it has not, or that is counted."""
    if job.state in FINISHED or job.deadline_missed or not job.has_missed_limit(now):
        return None
    missed, counts = _counted_late(job)
    return Change(before=job, job=missed, events=_missed_now(job, missed, now), counts=counts)


def end_pause(job: Job, now: datetime) -> Change:
    """Let a job be tried again at once, without the rest of a pause after a failure."""
    event = NewEvent(kind=EventKind.PAUSE_ENDED, at=now)
    return Change(before=job, job=replace(job, retry_at=None), events=(event,))


def _queued(job: Job, what: str, **parts: object) -> Job:
    if job.state is not State.QUEUED:
        raise InvalidTransition(f"job {job.id} {job.state.said}; only a queued job can be {what}")
    return replace(job, **parts)  # type: ignore[arg-type]


def _limit_checked(job: Job, begun: datetime, at: datetime) -> tuple[Job, dict[CounterKey, float]]:
    """Count, once per job, that at this instant (its start or end) it has missed a limit of its user's."""
    if job.deadline_missed or not job.misses_limit(begun, at):
        return job, {}
    return _counted_late(job)


def _counted_late(job: Job) -> tuple[Job, dict[CounterKey, float]]:
    return replace(job, deadline_missed=True), {counter_key(DEADLINES_MISSED): 1}


def _missed_now(before: Job, job: Job, now: datetime) -> tuple[NewEvent, ...]:
    """Return the event of a limit that was missed with this step."""
    if before.deadline_missed or not job.deadline_missed:
        return ()
    limit = job.own_limit
    return (NewEvent(kind=EventKind.LIMIT_MISSED, at=now, detail={"limit": iso_text(limit) if limit else None}),)


def _used(ended: Run, total: Total) -> Mapping[str, float]:
    """Return how long a run took and, where they are wholly known, its joules and grams, by histogram."""
    if ended.started_at is None or ended.ended_at is None:
        return {}
    values = {
        RUN_DURATION: ended.length.total_seconds(),
        RUN_ENERGY: total.energy_j if total.quality is not Quality.UNKNOWN else None,
        RUN_EMISSIONS: total.emissions_g,
    }
    return _not_negative({name: value for name, value in values.items() if value is not None})


def _not_negative(values: Mapping[str, float]) -> Mapping[str, float]:
    """A clock that was set back between two instants must not take anything from a sum."""
    return {name: max(0.0, value) for name, value in values.items()}

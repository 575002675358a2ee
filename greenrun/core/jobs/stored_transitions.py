"""The steps in a job's life as a store offers them: read what one depends on, decide, and keep, in one transaction.

What is decided lies in `greenrun.core.jobs.transitions`. How things are read and kept is the store's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from greenrun.core.energy.ledger import Total
from greenrun.core.errors import JobError, JobNotFound, NotPermitted, StoreError
from greenrun.core.histogram import JobExemplar, bound_of
from greenrun.core.jobs import transitions
from greenrun.core.jobs.acceptance import keep_new, raised
from greenrun.core.jobs.job import Anomaly, Job, JobRequest, JobSpec, Origin, Outcome, Run, State
from greenrun.core.jobs.reasons import Reason
from greenrun.core.jobs.runs.anomalies import RuleResult
from greenrun.core.jobs.selection import PURPOSES, JobEntry, Purpose, Selection, Selector, entry_of, select
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.core.jobs.transitions import Change, Edit, Ending, Intent

Permit = Callable[[Job], object]


class Transaction(Protocol):
    """One consistent view of jobs and runs, in which nobody else writes; what is kept in it is kept together."""

    def find_job(self, job_id: int) -> Job | None:
        """Return one job; None if it does not exist."""

    def find_jobs(self, job_ids: Collection[int]) -> Mapping[int, Job]:
        """Return these jobs by id; one that does not exist is absent."""

    def entries(self, uid: int, *, unfinished_only: bool) -> Sequence[JobEntry]:
        """Return as much of all jobs of a user as it takes to find them, by id."""

    def find_unique(self, user: str, unique_keys: Collection[str]) -> Mapping[str, Job]:
        """Return the jobs that this user gave these keys, by key."""

    def find_run(self, run_id: int) -> Run | None:
        """Return one run; None if it does not exist."""

    def with_live_run(self, job_ids: Collection[int]) -> Collection[int]:
        """Return those of these jobs that have a run without an outcome yet."""

    def last_numbers(self, job_ids: Collection[int]) -> Mapping[int, int]:
        """Return the number of each job's latest run; a job that has none is absent."""

    def leased(self, devices: Sequence[str]) -> Collection[str]:
        """Return those devices that a live run holds."""

    def first_start(self, job: Job, *, except_run: int) -> datetime | None:
        """Return when the first run since the last requeue started, without `except_run`; None when no other has."""

    def total(self, ended: Run) -> Total:
        """Return what a run used, which ended as it is given."""

    def has_event(self, run: Run, kind: EventKind) -> bool:
        """Whether there is an event of this kind of the run."""

    def reasons(self, job_ids: Collection[int]) -> Mapping[int, tuple[State, Reason | None]]:
        """Return the state and reason of these jobs; one that does not exist is absent."""

    def keep(self, change: Change) -> Change:
        """Write a change; return it with the ids that its job and run have been given."""

    def keep_all(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Write changes, each of another job; return them with the ids that their jobs and runs have been given."""

    def keep_reasons(self, reasons: Mapping[int, Reason], events: Mapping[int, NewEvent]) -> None:
        """Write the reasons and events of these jobs."""


class JobTransitions(ABC):
    """What becomes of jobs that do not run."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Transaction]:
        """Give a transaction that is durable when it is left, and undone when it raises; raise StoreError."""

    def _view(self) -> AbstractContextManager[Transaction]:
        """Give a transaction in which nothing is kept."""
        return self._transaction()

    def add_job(self, spec: JobSpec, *, user: str, uid: int, now: datetime) -> tuple[Job, bool]:
        """Store one queued job, as `add_jobs` does."""
        return self.add_jobs([spec], user=user, uid=uid, now=now)[0]

    def add_jobs(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> list[tuple[Job, bool]]:
        """Store queued jobs, all or none; return each and whether it is new (a known `unique_key` gives the old)."""
        with self._transaction() as stored:
            (added,) = keep_new(stored, [JobRequest(specs=specs, user=user, uid=uid, now=now)])
        return raised(added)

    def change_states(
        self, old: State, moves: Mapping[int, tuple[State, Reason]], *, actor: str, now: datetime
    ) -> bool:
        """Compare-and-set the state of jobs without a live run from `old` to new ones, all of them or none.

        Raise InvalidTransition for an unlisted transition.
        """
        for job_id, (new, _) in moves.items():
            transitions.check_listed(job_id, old, new)
        with self._transaction() as stored:
            jobs = stored.find_jobs(moves)
            if any(job_id not in jobs or jobs[job_id].state is not old for job_id in moves):
                return False
            if stored.with_live_run(moves):
                return False
            stored.keep_all(
                [
                    transitions.change_state(jobs[job_id], new, reason=reason, actor=actor, now=now)
                    for job_id, (new, reason) in moves.items()
                ]
            )
        return True

    def note(self, kind: EventKind, *, now: datetime, **detail: object) -> None:
        """Add an event of what the daemon did that is about no job."""
        self.note_event(NewEvent(kind=kind, at=now, detail=detail))

    def note_event(self, event: NewEvent) -> None:
        """Add an event that is about no job."""
        with self._transaction() as stored:
            stored.keep(Change(events=(event,)))

    def note_of_job(self, job: Job, event: NewEvent) -> None:
        """Add an event of a job that changes nothing of it, unless it is gone from where it was seen."""
        with self._transaction() as stored:
            there = stored.find_job(job.id)
            if there is not None and there.state is job.state:
                stored.keep(Change(before=there, job=there, events=(event,)))

    def set_reason(self, reasons: Mapping[int, Reason], *, now: datetime) -> None:
        """Keep the latest reason of unfinished jobs; an event (at `now`) is written where the reason's code changed."""
        with self._transaction() as stored:
            changed, events = transitions.explain(stored.reasons(reasons), reasons, now)
            stored.keep_reasons(changed, events)

    def end_pauses(self, job_ids: Collection[int], *, now: datetime) -> None:
        """Let these jobs be tried again at once, without the rest of a pause after a failure."""
        with self._transaction() as stored:
            jobs = [job for job in stored.find_jobs(job_ids).values() if job.state is State.QUEUED and job.retry_at]
            stored.keep_all([transitions.end_pause(job, now) for job in jobs])

    def miss_limits(self, job_ids: Collection[int], *, now: datetime) -> None:
        """Count, once each, that these jobs have missed a limit of their user's while they wait or run."""
        with self._transaction() as stored:
            missed = (transitions.miss_limit(job, now) for job in stored.find_jobs(job_ids).values())
            stored.keep_all([change for change in missed if change is not None])

    def intend(
        self,
        intent: Intent,
        job_ids: Sequence[int],
        *,
        actor: str,
        now: datetime,
        permit: Permit = lambda _: None,
        origin: Origin | None = None,
    ) -> list[Job | JobError]:
        """Note what a user wants of jobs; return each as it is then, or why it was refused, in the order asked.

        What can be done is done, together. `permit` raises NotPermitted for a job that the user may not change,
        and JobNotFound for one that is hidden from the user.
        """
        with self._transaction() as stored:
            return _intend(stored, intent, job_ids, _Act(actor=actor, now=now, permit=permit, origin=origin))

    def intend_for(
        self,
        intent: Intent,
        selector: Selector,
        *,
        actor: str,
        uid: int,
        now: datetime,
        permit: Permit = lambda _: None,
        origin: Origin | None = None,
    ) -> list[Job | JobError]:
        """Note what a user wants of the jobs that a selector means, which are found in the same transaction.

        Return each as it is then, or why it was refused, and an error for each word that names no job.
        """
        with self._transaction() as stored:
            found = select(selector, PURPOSES[intent.value], StoredDirectory(stored, uid, permit))
            act = _Act(actor=actor, now=now, permit=permit, origin=origin)
            return [*_intend(stored, intent, found.ids, act), *found.problems]

    def edit(self, edits: Sequence[Edit], *, actor: str, now: datetime, origin: Origin | None = None) -> list[Job]:
        """Change what jobs are, or requeue them, all or none; return them as they are then.

        Raise InvalidTransition when one is not as it was seen, JobNotFound.
        """
        with self._transaction() as stored:
            jobs = stored.find_jobs([edit.before.id for edit in edits])
            last = stored.last_numbers([edit.before.id for edit in edits if edit.requeue])
            changes = [
                transitions.edit(
                    _there(jobs.get(edit.before.id), edit.before.id), edit,
                    last_number=last.get(edit.before.id, 0), actor=actor, now=now, origin=origin,
                )
                for edit in edits
            ]  # fmt: skip
            kept = stored.keep_all([change for change in changes if change is not None])
        made = {change.job.id: change.job for change in kept if change.job is not None}
        return [made.get(edit.before.id) or jobs[edit.before.id] for edit in edits]

    def jobs_of(self, job_ids: Sequence[int]) -> list[Job]:
        """Return these jobs in this order, read together; raise JobNotFound."""
        with self._view() as stored:
            found = stored.find_jobs(job_ids)
        return [_there(found.get(job_id), job_id) for job_id in job_ids]

    def select(self, selector: Selector, purpose: Purpose, *, uid: int, permit: Permit = lambda _: None) -> Selection:
        """Return the jobs that a selector means for this purpose, as a user sees them."""
        with self._view() as stored:
            return select(selector, purpose, StoredDirectory(stored, uid, permit))


class RunTransitions(ABC):
    """What becomes of runs, and of their jobs with them.

    `examples` has, by histogram and bucket, the last value counted since this store was opened.
    """

    def __init__(self) -> None:
        self.examples: dict[tuple[str, float], JobExemplar] = {}

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Transaction]:
        """Give a transaction that is durable when it is left, and undone when it raises; raise StoreError."""

    @abstractmethod
    def _new_token(self) -> str:
        """Return 32 hexadecimal digits that no other run has."""

    def claim(self, job_id: int, devices: Sequence[str], *, reason: Reason, now: datetime) -> Run | None:
        """Move queued to starting, add the run and lease its devices, all or nothing; None when the race was lost.

        A job that was held, or asked to be cancelled, since the caller looked is not claimed either.
        """
        with self._transaction() as stored:
            job = stored.find_job(job_id)
            if job is None:
                return None
            leased, number = stored.leased(devices), stored.last_numbers([job_id]).get(job_id, 0) + 1
            token = self._new_token()
            change = transitions.claim(job, devices, leased=leased, number=number, token=token, reason=reason, now=now)
            return None if change is None else stored.keep(change).run

    def confirm(self, run_id: int, *, started_at: datetime, log: str | None, now: datetime) -> bool:
        """Move starting to running: the executor has it since `started_at`."""
        with self._transaction() as stored:
            change = _start(stored, _run(stored, run_id), started_at, log, now)
        if change is not None:
            self._remember(change, now)
        return change is not None

    def close_run(
        self,
        run_id: int,
        *,
        outcome: Outcome,
        exit_code: int | None,
        started_at: datetime | None,
        ended_at: datetime,
        log: str | None,
        job_state: State,
        reason: Reason,
        now: datetime,
        progress: timedelta | None = None,
        retry_at: datetime | None = None,
        ran: timedelta | None = None,
        image: str | None = None,
    ) -> bool:
        """End a live run, free its devices and move its job to `job_state` at once; False when it had ended already.

        A run that proves to have started, though nobody confirmed it, passes through running. `progress` is what a run
        that ended CHECKPOINTED has done of its job; it is added to the job's. The job is not claimed before `retry_at`.
        `ran` is how long the run took by a clock that nobody can set.
        """
        ending = Ending(
            outcome=outcome, exit_code=exit_code, started_at=started_at, ended_at=ended_at, ran=ran, log=log,
            job_state=job_state, reason=reason, progress=progress, retry_at=retry_at, image=image,
        )  # fmt: skip
        with self._transaction() as stored:
            run = _run(stored, run_id)
            if run.outcome is not None:
                return False
            if started_at is not None:  # before its start is kept, as not every store can take that back
                transitions.check_listed(run.job_id, State.RUNNING, job_state)
            started = None if started_at is None else _start(stored, run, started_at, log, now)
            ended, job = ending.of(run), _job(stored, run.job_id)
            first_start = stored.first_start(job, except_run=run_id)
            closed = transitions.close(job, ended, ending, first_start=first_start, total=stored.total(ended), now=now)
            stored.keep(closed)
        for change in filter(None, (started, closed)):
            self._remember(change, now)
        return True

    def keep_work(self, run_id: int, *, work: float, unit: str, at: datetime) -> bool:
        """Keep what a run says to have done, unless that is no more than before; False when nothing was changed."""
        with self._transaction() as stored:
            run = stored.find_run(run_id)
            change = None if run is None else transitions.keep_work(run, work=work, unit=unit, at=at)
            return change is not None and bool(stored.keep(change))

    def note_ignored_work(self, run_id: int, why: str, *, now: datetime) -> bool:
        """Add an event that the work a run reported was ignored; False when it has one already."""
        with self._transaction() as stored:
            run = _run(stored, run_id)
            if stored.has_event(run, EventKind.WORK_IGNORED):
                return False
            stored.keep(transitions.ignore_work(run, why, now))
        return True

    def note_anomaly(self, run_id: int, result: RuleResult, anomaly: Anomaly, *, stop: bool, now: datetime) -> bool:
        """Add an event that an anomaly of a live run began or is over, as `result` says, and count those that began.

        With `stop`, its job is asked to end at once, with a reason that says why. False when the run had ended.
        """
        with self._transaction() as stored:
            run = _run(stored, run_id)
            job = _job(stored, run.job_id)
            change = transitions.note_anomaly(job, run, result, anomaly, stop=stop, now=now)
            return change is not None and bool(stored.keep(change))

    def _remember(self, change: Change, at: datetime) -> None:
        """Keep what was counted, once it is durable."""
        for name, value in change.observed.items():
            if change.run is not None:
                self.examples[name, bound_of(name, value)] = JobExemplar(job_id=change.run.job_id, value=value, at=at)


class StoredDirectory:
    """`greenrun.core.jobs.selection.Directory` of a transaction, as one user sees it."""

    def __init__(self, stored: Transaction, uid: int, permit: Permit) -> None:
        self._stored, self._uid, self._permit = stored, uid, permit
        self._known: dict[tuple[int, bool], Sequence[JobEntry]] = {}

    def of_ids(self, ids: Collection[int]) -> Mapping[int, JobEntry]:
        """Return these jobs by id; one that does not exist, or is hidden from the caller, is absent."""
        found = self._stored.find_jobs(ids).items()
        return {job_id: entry_of(job) for job_id, job in found if self._is_visible(job)}

    def of_user(self, uid: int | None = None, *, unfinished_only: bool = False) -> Sequence[JobEntry]:
        """Return all jobs of a user, by id; of the caller where none is named."""
        key = (self._uid if uid is None else uid, unfinished_only)
        if key not in self._known:
            self._known[key] = self._stored.entries(key[0], unfinished_only=unfinished_only)
        return self._known[key]

    def may_control(self, job_id: int) -> bool:
        """Whether the caller may change a job."""
        try:
            self._permit(_job(self._stored, job_id))
        except (NotPermitted, JobNotFound):
            return False
        return True

    def _is_visible(self, job: Job) -> bool:
        try:
            self._permit(job)
        except JobNotFound:
            return False
        except NotPermitted:
            pass  # it can be seen, but not changed
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Act:
    """Who wants something when and from where, and what they may change."""

    actor: str
    now: datetime
    permit: Permit
    origin: Origin | None


def _intend(stored: Transaction, intent: Intent, job_ids: Sequence[int], act: _Act) -> list[Job | JobError]:
    refused: dict[int, JobError] = {}
    changes = []
    jobs = dict(stored.find_jobs(set(job_ids)))
    for job_id in dict.fromkeys(job_ids):
        try:
            job = _there(jobs.get(job_id), job_id)
            act.permit(job)
            changes.append(transitions.intend(job, intent, actor=act.actor, now=act.now, origin=act.origin))
        except JobError as exc:
            refused[job_id] = exc
    kept = stored.keep_all([change for change in changes if change is not None])
    jobs |= {change.job.id: change.job for change in kept if change.job is not None}
    return [refused.get(job_id) or jobs[job_id] for job_id in job_ids]


def _start(stored: Transaction, run: Run, started_at: datetime, log: str | None, now: datetime) -> Change | None:
    job = _job(stored, run.job_id)
    first_start = stored.first_start(job, except_run=run.id)
    change = transitions.confirm(job, run, started_at=started_at, log=log, first_start=first_start, now=now)
    return None if change is None else stored.keep(change)


def _job(stored: Transaction, job_id: int) -> Job:
    return _there(stored.find_job(job_id), job_id)


def _there(job: Job | None, job_id: int) -> Job:
    if job is None:
        raise JobNotFound(f"there is no job {job_id}")
    return job


def _run(stored: Transaction, run_id: int) -> Run:
    run = stored.find_run(run_id)
    if run is None:
        raise StoreError(f"there is no run {run_id}; nothing was changed")
    return run

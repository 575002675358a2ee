"""A store in memory for simulations: as quick after a year of jobs as on the first day, and gone when it is over."""

from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from greenrun.core.errors import InvalidTransition, JobNotFound, StoreError
from greenrun.core.jobs.history import FinishedJob
from greenrun.core.jobs.job import FINISHED, TRANSITIONS, Event, Job, JobSpec, Outcome, Run, State
from greenrun.core.jobs.reasons import Reason
from greenrun.simulation.memory_grid import GridMemory
from greenrun.simulation.memory_runs import UnwatchedRuns

SCHEDULER = "scheduler"
EVENTS_KEPT = 10_000
_MOVES = {State.STARTING: "claimed", State.RUNNING: "started", State.QUEUED: "requeued"}

CounterKey = tuple[str, tuple[tuple[str, str], ...]]


class MemoryStore(GridMemory, UnwatchedRuns):
    """`greenrun.engine.ports.Store` without a disk, for one thread. It books no energy: a simulation has no meter."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs: dict[int, Job] = {}
        self._by_state: dict[State, set[int]] = {state: set() for state in State}
        self._unique: dict[tuple[str, str], int] = {}
        self._runs: dict[int, Run] = {}
        self._runs_of: dict[int, list[int]] = {}
        self._live: dict[int, None] = {}
        self._leased: set[str] = set()
        self._late: set[int] = set()
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._told = 0
        self._counters: Counter[CounterKey] = Counter()

    # jobs

    def add_jobs(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> list[tuple[Job, bool]]:
        """Store queued jobs; return each and whether it is new (a known `unique_key` gives the old)."""
        return [self._known_or_new(spec, user, uid, now) for spec in specs]

    def job(self, job_id: int) -> Job:
        """Return one job; raise JobNotFound."""
        try:
            return self._jobs[job_id]
        except KeyError:
            raise JobNotFound(f"there is no job {job_id}") from None

    def jobs(
        self,
        states: Sequence[State] = (),
        *,
        project: str | None = None,
        user: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[Job]:
        """Return jobs in these states (all when empty), by id; the newest first on request."""
        ids = sorted({job_id for state in states or State for job_id in self._by_state[state]}, reverse=newest_first)
        found = [job for job in map(self._jobs.__getitem__, ids) if project in (None, job.spec.project)]
        return [job for job in found if user in (None, job.user)][:limit]

    def job_states(self, job_ids: Collection[int]) -> dict[int, State]:
        """Return the state of each of these jobs; one that does not exist is absent."""
        return {job_id: self._jobs[job_id].state for job_id in job_ids if job_id in self._jobs}

    def submissions(self, since: datetime, limit: int) -> list[Job]:
        """Return the jobs submitted at or after `since`, whatever became of them, by id; the newest `limit` of them."""
        return [job for job in self._jobs.values() if job.submitted_at >= since][-limit:]

    def job_counts(self) -> dict[State, int]:
        """Return how many jobs are in each state; a state without jobs is absent."""
        return {state: len(ids) for state, ids in self._by_state.items() if ids}

    def move(self, job_id: int, old: State, new: State, *, reason: Reason, actor: str, now: datetime) -> bool:
        """Compare-and-set a job that has no live run; raise InvalidTransition for an unlisted move."""
        _check_listed(job_id, old, new)
        if any(run_id in self._live for run_id in self._runs_of.get(job_id, ())) or self.job(job_id).state is not old:
            return False
        finished = now if new in FINISHED else None
        self._put(replace(self._jobs[job_id], state=new, reason=reason, finished_at=finished))
        self._tell(_MOVES.get(new, "finished"), now, actor, job_id=job_id, state=new, reason=reason.code)
        if finished:
            self._count("greenrun_jobs_finished_total", outcome=new.value)
        return True

    def set_reason(self, reasons: Mapping[int, Reason], *, now: datetime) -> None:
        """Keep the latest reason of unfinished jobs; an event is written where the reason's code changed."""
        for job_id, reason in reasons.items():
            job = self._jobs.get(job_id)
            if job is None or job.state in FINISHED:
                continue
            self._jobs[job_id] = replace(job, reason=reason)
            before = job.reason.code if job.reason else None
            if before is not reason.code:
                self._tell("reason_changed", now, job_id=job_id, reason=reason.code, before=before)

    def set_held(self, job_id: int, held: bool, *, actor: str, now: datetime) -> Job:
        """Set or clear the intent to hold a queued job; raise InvalidTransition in another state."""
        self._check_queued(job_id, "held or released")
        return self._intend(job_id, "held" if held else "released", actor, now, held=held)

    def request_cancel(self, job_id: int, *, actor: str, now: datetime) -> Job:
        """Note the intent to cancel; raise InvalidTransition when the job is finished."""
        job = self.job(job_id)
        if job.state in FINISHED:
            raise InvalidTransition(f"job {job_id} is {job.state} already, so it cannot be cancelled")
        return self._intend(job_id, "cancel_requested", actor, now, cancel_requested=True)

    def request_start_now(self, job_id: int, *, actor: str, now: datetime) -> Job:
        """Let a queued job start as soon as GPUs are free, whatever its start-after; raise InvalidTransition."""
        self._check_queued(job_id, "started now")
        spec = replace(self._jobs[job_id].spec, start_now=True, start_after=None)
        return self._intend(job_id, "start_now_requested", actor, now, spec=spec)

    def events(self, job_id: int | None = None, limit: int = 1000) -> list[Event]:
        """Return events in order, the latest `limit` of them; only the last few thousand are kept."""
        return [event for event in self._events if job_id in (None, event.job_id)][-limit:]

    def finished_jobs(self, user: str, *, name: str, project: str) -> Sequence[FinishedJob]:
        """Return nothing: a simulated job's duration and power are stated."""
        return ()

    def counters(self) -> dict[CounterKey, float]:
        """Return the monotonic totals by metric name and sorted labels."""
        return dict(self._counters)

    def add_counts(self, amounts: Mapping[CounterKey, float]) -> None:
        """Add amounts to the totals."""
        for key, amount in amounts.items():
            self._counters[key] += amount  # type: ignore[assignment]

    # runs

    def claim(self, job_id: int, devices: Sequence[str], *, reason: Reason, now: datetime) -> Run | None:
        """Move queued to starting, add the run and lease its devices, all or nothing; None when the race was lost."""
        job = self._jobs.get(job_id)
        if job is None or job.state is not State.QUEUED or job.held or job.cancel_requested:
            return None
        if not self._leased.isdisjoint(devices):
            return None
        own = self._runs_of.setdefault(job_id, [])
        run = Run(
            id=len(self._runs) + 1, job_id=job_id, number=len(own) + 1, token=f"{len(self._runs) + 1:032x}",
            devices=tuple(devices), claimed_at=now,
        )  # fmt: skip
        own.append(run.id)
        self._runs[run.id] = run
        self._live[run.id] = None
        self._leased.update(devices)
        self._put(replace(job, state=State.STARTING, reason=reason))
        self._tell("claimed", now, job_id=job_id, run_id=run.id, number=run.number, reason=reason.code)
        return run

    def confirm(self, run_id: int, *, started_at: datetime, log: str | None, now: datetime) -> bool:
        """Move starting to running: the executor has it since `started_at`."""
        run = self._run(run_id)
        if run.outcome is not None or self._jobs[run.job_id].state is not State.STARTING:
            return False
        self._runs[run_id] = replace(run, started_at=started_at, log=log)
        self._put(replace(self._jobs[run.job_id], state=State.RUNNING))
        self._tell("started", now, job_id=run.job_id, run_id=run_id, number=run.number)
        self._count_late(run.job_id, started_at)
        return True

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
    ) -> bool:
        """End a live run, free its devices and move its job to `job_state` at once; False when it had ended already."""
        if self._run(run_id).outcome is not None:
            return False
        if started_at is not None:
            self.confirm(run_id, started_at=started_at, log=log, now=now)
        run = self._runs[run_id]
        _check_listed(run.job_id, self._jobs[run.job_id].state, job_state)
        begun = started_at or run.started_at
        self._runs[run_id] = replace(
            run, outcome=outcome, exit_code=exit_code, started_at=begun, ended_at=ended_at, log=log or run.log
        )
        del self._live[run_id]
        self._leased.difference_update(run.devices)
        self._end_job(self._runs[run_id], job_state, reason, progress or timedelta(0))
        change = "finished" if job_state in FINISHED else "requeued"
        self._tell(change, now, job_id=run.job_id, run_id=run_id, number=run.number, outcome=outcome, state=job_state)
        return True

    def live_runs(self) -> list[Run]:
        """Return the runs without an outcome, by id."""
        return [self._runs[run_id] for run_id in self._live]

    def runs(self, job_ids: Sequence[int]) -> dict[int, list[Run]]:
        """Return the runs of these jobs in order; a job without runs has an empty entry."""
        return {job_id: [self._runs[run_id] for run_id in self._runs_of.get(job_id, ())] for job_id in job_ids}

    def holds(self, since: datetime) -> list[Run]:
        """Return every run that had started and was live at or after `since`."""
        started = [run for run in self._runs.values() if run.started_at is not None]
        return [run for run in started if run.ended_at is None or run.ended_at >= since]

    # inside

    def _known_or_new(self, spec: JobSpec, user: str, uid: int, now: datetime) -> tuple[Job, bool]:
        if spec.unique_key is not None and (user, spec.unique_key) in self._unique:
            return self._jobs[self._unique[user, spec.unique_key]], False
        job = Job(id=len(self._jobs) + 1, spec=spec, user=user, uid=uid, state=State.QUEUED, submitted_at=now)
        if spec.unique_key is not None:
            self._unique[user, spec.unique_key] = job.id
        self._put(job)
        self._tell("submitted", now, user, job_id=job.id, project=spec.project)
        self._count("greenrun_jobs_submitted_total")
        return job, True

    def _put(self, job: Job) -> None:
        before = self._jobs.get(job.id)
        if before is not None:
            self._by_state[before.state].discard(job.id)
        self._by_state[job.state].add(job.id)
        self._jobs[job.id] = job

    def _intend(self, job_id: int, change: str, actor: str, now: datetime, **intent: Any) -> Job:
        changed = replace(self._jobs[job_id], **intent)
        if changed != self._jobs[job_id]:
            self._jobs[job_id] = changed
            self._tell(change, now, actor, job_id=job_id)
        return changed

    def _check_queued(self, job_id: int, what: str) -> None:
        job = self.job(job_id)
        if job.state is not State.QUEUED:
            raise InvalidTransition(f"job {job_id} is {job.state}; only a queued job can be {what}")

    def _end_job(self, run: Run, state: State, reason: Reason, progress: timedelta) -> None:
        job = self._jobs[run.job_id]
        done = job.progress + (progress if run.outcome is Outcome.CHECKPOINTED else timedelta(0))
        finished_at = run.ended_at if state in FINISHED else None
        self._put(replace(job, state=state, reason=reason, progress=done, finished_at=finished_at))
        if finished_at is not None and run.outcome is not None:
            self._count("greenrun_jobs_finished_total", outcome=run.outcome.value)
            self._count_late(job.id, finished_at)

    def _count_late(self, job_id: int, at: datetime) -> None:
        started = [self._runs[run_id].started_at for run_id in self._runs_of[job_id]]
        job = self._jobs[job_id]
        first = min((each for each in started if each is not None), default=job.submitted_at)
        if job_id not in self._late and job.misses_limit(first, at):
            self._late.add(job_id)
            self._count("greenrun_deadlines_missed_total")

    def _run(self, run_id: int) -> Run:
        try:
            return self._runs[run_id]
        except KeyError:
            raise StoreError(f"there is no run {run_id}; nothing was changed") from None

    def _tell(
        self,
        kind: str,
        at: datetime,
        actor: str = SCHEDULER,
        *,
        job_id: int,
        run_id: int | None = None,
        **detail: object,
    ) -> None:
        self._told += 1
        event = Event(id=self._told, at=at, actor=actor, kind=kind, job_id=job_id, run_id=run_id, detail=detail)
        self._events.append(event)

    def _count(self, name: str, **labels: str) -> None:
        self._counters[name, tuple(sorted(labels.items()))] += 1


def _check_listed(job_id: int, old: State, new: State) -> None:
    if (old, new) not in TRANSITIONS:
        raise InvalidTransition(f"job {job_id} cannot go from {old} to {new}; nothing was changed")

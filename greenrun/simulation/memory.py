"""A store in memory for simulations: as quick after a year of jobs as on the first day, and gone when it is over."""

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from greenrun.core.budgets.charges import ChargedHour
from greenrun.core.energy.baseline import Comparable, Compared
from greenrun.core.energy.gpu_parts import weight_of
from greenrun.core.energy.ledger import Entry, Priced, Stage, Total, UnsettledSlice
from greenrun.core.energy.merging import WITHIN
from greenrun.core.energy.model import Mark, Quality
from greenrun.core.errors import JobNotFound, StoreError
from greenrun.core.histogram import CounterKey
from greenrun.core.jobs.availability import Drain
from greenrun.core.jobs.history import FinishedJob, GpuTime
from greenrun.core.jobs.job import LIVE, Event, Job, Origin, Run, State
from greenrun.core.jobs.log_names import numbered
from greenrun.core.jobs.reasons import Reason
from greenrun.core.jobs.runs.anomalies import AnomalyEpisode, episodes_of
from greenrun.core.jobs.selection import JobEntry, entry_of
from greenrun.core.jobs.stored_transitions import JobTransitions, RunTransitions
from greenrun.core.jobs.transitions import UNSTORED, Change, EventKind, NewEvent
from greenrun.core.planning.model import Plan
from greenrun.core.planning.site_limits.reserved import Reservation
from greenrun.simulation.memory_grid import GridMemory
from greenrun.simulation.memory_power_limits import PowerLimitMemory

EVENTS_KEPT = 10_000


class MemoryStore:
    """`greenrun.engine.ports.EngineStore` without a disk, for one thread."""

    def __init__(self) -> None:
        self.jobs = self.runs = JobMemory()
        self.grid = GridMemory()
        self.baselines = NoBooks(self.jobs)
        self.books = self.baselines  # in place of which there may be others
        self.plans = PlanMemory()
        self.history = NoHistory()
        self.drains = NoDrains()
        self.power_limits = PowerLimitMemory()
        self.reservations = NoReservations()


class NoDrains:
    """Nobody drains a simulated machine."""

    def drains(self) -> Sequence[Drain]:
        """Return none."""
        return ()

    def drain(self, drains: Sequence[Drain], origin: Origin | None = None) -> None:
        """Refuse: nobody asks for this."""
        raise StoreError("a simulated machine cannot be drained")

    def resume(
        self, devices: Collection[str], *, user: str, now: datetime, origin: Origin | None = None
    ) -> Sequence[Drain]:
        """Return none."""
        return ()


class NoReservations:
    """On a simulated machine only what the settings reserve every week is reserved."""

    def reservations(self) -> Sequence[Reservation]:
        """Return none."""
        return ()

    def reserve(self, asked: Reservation, *, now: datetime, origin: Origin | None = None) -> Reservation:
        """Refuse: nobody asks for this."""
        raise StoreError("a simulated machine has no reservations but those of every week")

    def end_reservation(
        self, number: int, *, user: str, now: datetime, origin: Origin | None = None
    ) -> Reservation | None:
        """Return none."""
        return None


class JobMemory(JobTransitions, RunTransitions):
    """Jobs, their runs and the latest events; a transaction of its own, because nobody else writes meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[CounterKey] = Counter()
        self._jobs: dict[int, Job] = {}
        self._by_state: dict[State, set[int]] = {state: set() for state in State}
        self._unique: dict[tuple[str, str], int] = {}
        self._runs: dict[int, Run] = {}
        self._runs_of: dict[int, list[int]] = {}
        self._live: dict[int, None] = {}
        self._leased: set[str] = set()
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._told = 0
        self._unfinished: dict[int, Job] | None = {}  # None: to be looked up again

    @contextmanager
    def _transaction(self) -> Iterator["JobMemory"]:
        """Yield itself: every step checks before it keeps, so one that raises has changed nothing."""
        yield self

    def _new_token(self) -> str:
        return f"{len(self._runs) + 1:032x}"

    def find_job(self, job_id: int) -> Job | None:
        """Return one job; None if it does not exist."""
        return self._jobs.get(job_id)

    def find_jobs(self, job_ids: Collection[int]) -> Mapping[int, Job]:
        """Return these jobs by id; one that does not exist is absent."""
        return {job_id: self._jobs[job_id] for job_id in job_ids if job_id in self._jobs}

    def entries(self, uid: int, *, unfinished_only: bool) -> Sequence[JobEntry]:
        """Return as much of all jobs of a user as it takes to find them, by id."""
        jobs = self.unfinished().values() if unfinished_only else self._jobs.values()
        return [entry_of(job) for job in jobs if job.uid == uid]

    def find_unique(self, user: str, unique_keys: Collection[str]) -> Mapping[str, Job]:
        """Return the jobs that this user gave these keys, by key."""
        return {key: self._jobs[self._unique[user, key]] for key in unique_keys if (user, key) in self._unique}

    def find_run(self, run_id: int) -> Run | None:
        """Return one run; None if it does not exist."""
        return self._runs.get(run_id)

    def with_live_run(self, job_ids: Collection[int]) -> Collection[int]:
        """Return those of these jobs that have a run without an outcome yet."""
        return {self._runs[run_id].job_id for run_id in self._live}.intersection(job_ids)

    def last_numbers(self, job_ids: Collection[int]) -> Mapping[int, int]:
        """Return the number of each job's latest run; a job that has none is absent."""
        return {job_id: len(self._runs_of[job_id]) for job_id in job_ids if job_id in self._runs_of}

    def leased(self, devices: Sequence[str]) -> Collection[str]:
        """Return those devices that a live run holds."""
        return self._leased.intersection(devices)

    def first_start(self, job: Job, *, except_run: int) -> datetime | None:
        """Return when the first run since the last requeue started, without `except_run`; None when no other has."""
        runs = map(self._runs.__getitem__, self._runs_of.get(job.id, ()))
        others = (run.started_at for run in runs if run.number >= job.counted_from and run.id != except_run)
        return min(filter(None, others), default=None)

    def total(self, ended: Run) -> Total:
        """Return that it is not known what a run used."""
        return Total()

    def has_event(self, run: Run, kind: EventKind) -> bool:
        """Whether there is an event of this kind of the run."""
        return any((event.run_id, event.kind) == (run.id, kind) for event in self._events)

    def reasons(self, job_ids: Collection[int]) -> Mapping[int, tuple[State, Reason | None]]:
        """Return the state and reason of these jobs; one that does not exist is absent."""
        known = filter(None, map(self._jobs.get, job_ids))
        return {job.id: (job.state, job.reason) for job in known}

    def keep_all(self, changes: Sequence[Change]) -> list[Change]:
        """Write changes, each of another job; return them with the ids that their jobs and runs have been given."""
        return [self.keep(change) for change in changes]

    def keep(self, change: Change) -> Change:
        """Write a change; return it with the ids that its job and run have been given."""
        job, run = change.job, change.run
        if job is not None:
            job = numbered([job], len(self._jobs) + 1)[0] if job.id == UNSTORED else job
            self._put_job(job)
        if run is not None:
            run = replace(run, id=len(self._runs) + 1) if run.id == UNSTORED else run
            self._put_run(run)
        job_id = job.id if job else run.job_id if run else None
        for event in change.trail:
            self._add_event(event, job_id, run.id if run else None)
        for key, amount in change.counts.items():
            self.counts[key] += amount  # type: ignore[assignment]
        return replace(change, job=job, run=run)

    def keep_reasons(self, reasons: Mapping[int, Reason], events: Mapping[int, NewEvent]) -> None:
        """Write the reasons and events of these jobs."""
        for job_id, reason in reasons.items():
            self._jobs[job_id] = replace(self._jobs[job_id], reason=reason)
        self._unfinished = None
        for job_id, event in events.items():
            self._add_event(event, job_id, None)

    def job(self, job_id: int) -> Job:
        """Return one job; raise JobNotFound."""
        try:
            return self._jobs[job_id]
        except KeyError:
            raise JobNotFound(f"there is no job {job_id}") from None

    def jobs(self, states: Sequence[State] = ()) -> list[Job]:
        """Return jobs in these states (all when empty), by id."""
        ids = sorted({job_id for state in states or State for job_id in self._by_state[state]})
        return [self._jobs[job_id] for job_id in ids]

    def unfinished(self) -> Mapping[int, Job]:
        """Return the unfinished jobs by id, in order: the very same mapping for as long as none of them changes."""
        if self._unfinished is None:
            self._unfinished = {job.id: job for job in self.jobs([State.QUEUED, *LIVE])}
        return self._unfinished

    def last_id(self) -> int:
        """Return the id of the latest job; 0 before the first."""
        return len(self._jobs)

    def job_states(self, job_ids: Collection[int]) -> dict[int, State]:
        """Return the state of each of these jobs; one that does not exist is absent."""
        return {job_id: self._jobs[job_id].state for job_id in job_ids if job_id in self._jobs}

    def submissions(self, since: datetime, limit: int) -> list[Job]:
        """Return the jobs submitted at or after `since`, whatever became of them, by id; the newest `limit` of them."""
        return [job for job in self._jobs.values() if job.submitted_at >= since][-limit:]

    def job_counts(self) -> dict[State, int]:
        """Return how many jobs are in each state; a state without jobs is absent."""
        return {state: len(ids) for state, ids in self._by_state.items() if ids}

    def events(self, job_id: int | None = None, limit: int = 1000) -> list[Event]:
        """Return events in order, the latest `limit` of them; only the last few thousand are kept."""
        return [event for event in self._events if job_id in (None, event.job_id)][-limit:]

    def live_runs(self) -> list[Run]:
        """Return the runs without an outcome, by id."""
        return [self._runs[run_id] for run_id in self._live]

    def of_jobs(self, job_ids: Sequence[int]) -> dict[int, list[Run]]:
        """Return the runs of these jobs in order; a job without runs has an empty entry."""
        return {job_id: [self._runs[run_id] for run_id in self._runs_of.get(job_id, ())] for job_id in job_ids}

    def anomalies(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[AnomalyEpisode]]:
        """Return the anomalies of each run of these jobs by its id, in order; a run without any is absent."""
        own = set(job_ids)
        return episodes_of(each for each in self._events if each.kind == EventKind.ANOMALY and each.job_id in own)

    def gpu_time(self, *, after: int, among: Collection[int], since: datetime) -> list[GpuTime]:
        """Return for how long ended runs held GPUs: those with an id above `after`, or among these."""
        wanted = {*among, *range(after + 1, len(self._runs) + 1)}
        found = [run for run_id in sorted(wanted) if (run := self._runs.get(run_id))]
        return [
            GpuTime(
                run_id=run.id,
                user=(job := self._jobs[run.job_id]).user,
                project=job.spec.project,
                gpus=weight_of(run.devices),
                start=run.started_at or run.claimed_at,
                end=run.ended_at,
            )
            for run in found
            if run.devices and run.ended_at is not None and run.ended_at >= since
        ]

    def started(self) -> list[Run]:
        """Return every run that has started."""
        return [run for run in self._runs.values() if run.started_at is not None]

    def _put_job(self, job: Job) -> None:
        before = self._jobs.get(job.id)
        if before is not None:
            self._by_state[before.state].discard(job.id)
        elif job.spec.unique_key is not None:
            self._unique[job.user, job.spec.unique_key] = job.id
        self._by_state[job.state].add(job.id)
        self._jobs[job.id] = job
        self._unfinished = None

    def _put_run(self, run: Run) -> None:
        if run.id not in self._runs:
            self._runs_of.setdefault(run.job_id, []).append(run.id)
            self._live[run.id] = None
            self._leased.update(run.devices)
        elif run.outcome is not None and run.id in self._live:
            del self._live[run.id]
            self._leased.difference_update(run.devices)
        self._runs[run.id] = run

    def _add_event(self, new: NewEvent, job_id: int | None, run_id: int | None) -> None:
        self._told += 1
        event = Event(
            id=self._told, at=new.at, actor=new.actor, kind=new.kind, job_id=job_id, run_id=run_id, detail=new.detail,
            before=new.before, after=new.after,
        )  # fmt: skip
        self._events.append(event)


class PlanMemory:
    """The last plan."""

    def __init__(self) -> None:
        self._plan: Plan | None = None

    def save_plan(self, plan: Plan, *, now: datetime) -> None:
        """Keep a plan, in place of the last one."""
        self._plan = plan

    def last_plan(self) -> Plan | None:
        """Return the plan that was saved last; None when there is none."""
        return self._plan


class NoHistory:
    """Nothing to learn from: a simulated job's duration and power are stated."""

    def finished_jobs(self, user: str, *, name: str, project: str) -> Sequence[FinishedJob]:
        """Return nothing."""
        return ()


class NoBooks:
    """Books without a slice, because a simulation has no meter; but for the counters of jobs."""

    def __init__(self, jobs: JobMemory) -> None:
        self._jobs = jobs

    def marks(self) -> Mapping[str, Mark]:
        """Return nothing."""
        return {}

    def append_slices(
        self,
        entries: Sequence[Entry],
        marks: Sequence[Mark],
        *,
        now: datetime,
        waits_for: Collection[Stage] = (Stage.SETTLED,),
    ) -> None:
        """Raise StoreError when there is something to book."""
        if entries or marks:
            raise StoreError("a simulation has no meter, so it books no energy; nothing was changed")

    def count_beside(self, energy_j: Mapping[str, float], marks: Sequence[Mark]) -> None:
        """Raise StoreError when there is something to count."""
        if energy_j or marks:
            raise StoreError("a simulation has no meter, so it counts no energy; nothing was changed")

    def holds(self, since: datetime) -> list[Run]:
        """Return every run that had started and was live at or after `since`."""
        return [run for run in self._jobs.started() if run.ended_at is None or run.ended_at >= since]

    def unsettled(
        self, before: datetime, *, after: datetime | None = None, limit: int = 5000, stage: Stage = Stage.SETTLED
    ) -> Sequence[UnsettledSlice]:
        """Return nothing."""
        return ()

    def settle(self, prices: Mapping[int, Priced], *, now: datetime, stage: Stage = Stage.SETTLED) -> int:
        """Return 0."""
        return 0

    def charged_hours(self, start: datetime, end: datetime) -> Sequence[ChargedHour]:
        """Return nothing."""
        return ()

    def merge(self, before: datetime, *, limit: int = 200, step: timedelta = WITHIN) -> bool:
        """Return that there is nothing to go on with."""
        return False

    def uncompared(self, before: datetime, *, after: int = 0, limit: int = 500) -> Sequence[int]:
        """Return nothing."""
        return ()

    def comparable(self, run_ids: Sequence[int], now: datetime, *, most_slices: int = 5000) -> Sequence[Comparable]:
        """Return nothing."""
        return ()

    def book_baselines(self, compared: Sequence[Compared], *, now: datetime) -> int:
        """Return 0."""
        return 0

    def run_totals(self, run_ids: Sequence[int]) -> dict[int, Total]:
        """Return that no run's energy is known."""
        return {run_id: Total(energy_j=None, quality=Quality.UNKNOWN) for run_id in run_ids}

    def counters(self) -> dict[CounterKey, float]:
        """Return the totals of jobs by metric name and sorted labels."""
        return dict(self._jobs.counts)

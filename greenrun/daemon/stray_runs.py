"""What is left here of jobs that the database does not know: live runs are told, and ended on request."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock

import structlog

from greenrun.clock import utc_now
from greenrun.core.conditions import Condition, ConditionCode, Effect
from greenrun.core.errors import ExecutorError, JobNotFound, StoreDamaged, StoreError
from greenrun.core.jobs.job import Job, Origin, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.jobs.runs.status import StrayRun
from greenrun.core.jobs.trail import SCHEDULER, EventKind, NewEvent
from greenrun.core.jobs.transitions import Intent
from greenrun.executors.leftovers.checkpoints import CheckpointFolders
from greenrun.executors.leftovers.strays import StrayRuns, last_job_id
from greenrun.store import Store

MOST_EVENTS = 100_000  # looked at for jobs that were held before

log = structlog.get_logger("greenrun.daemon.stray_runs")


class KnownStrays:
    """The stray runs that were found at start, as long as they live; none comes later but by another database."""

    def __init__(self, on_disk: StrayRuns, store: Store) -> None:
        """Look for them; raise ExecutorError, StoreError."""
        self._on_disk, self._store = on_disk, store
        self._looking = Lock()
        try:
            live = on_disk.find()
        except OSError as exc:
            raise ExecutorError(f"the folder for runs cannot be read ({exc}); correct it and start again") from exc
        self._strays: Sequence[StrayRun] = _unknown(live, store)
        for stray in self._strays:
            log.warning(
                "a run is alive that the database does not know; it keeps its devices", run=stray.label,
                devices=stray.devices, folder=stray.folder, end_it_with=f"greenrun stray-runs --end {stray.label}",
            )  # fmt: skip

    def current(self) -> Sequence[StrayRun]:
        """Return those that are still alive."""
        with self._looking:
            if self._strays:
                left = [stray for stray in self._strays if self._on_disk.is_alive(stray)]
                for stray in set(self._strays) - set(left):
                    log.info("stray run ended", run=stray.label)
                self._strays = left
            return self._strays

    def unknown(self, job_ids: Collection[int]) -> Sequence[StrayRun]:
        """Return the runs of these jobs that began here and that the database does not know; raise StoreError."""
        try:
            begun = self._on_disk.begun(job_ids)
        except OSError as exc:
            raise ExecutorError(f"the folder for runs cannot be read ({exc}); correct it and start again") from exc
        return _unknown(begun, self._store)

    def end(self, label: str, by: str, origin: Origin | None = None) -> StrayRun:
        """Have one stopped; raise JobNotFound for another label, ExecutorError when it cannot be asked."""
        stray = next((stray for stray in self.current() if stray.label == label), None)
        if stray is None:
            raise JobNotFound(f"There is no stray run {label}: `greenrun stray-runs` lists those that there are.")
        detail = {"run": label, "devices": list(stray.devices)}
        event = NewEvent(kind=EventKind.RUN_END_REQUESTED, at=utc_now(), actor=by, detail=detail, origin=origin)
        try:
            self._store.jobs.note_event(event)
        except StoreError as exc:  # a GPU that it holds is needed all the same
            log.warning("the event cannot be kept", kind=event.kind.value, run=label, by=by, error=str(exc))
        try:
            self._on_disk.end(stray, by)
        except OSError as exc:
            raise ExecutorError(f"The stray run {label} could not be stopped ({exc}); try again.") from exc
        log.info("stray run stopped on request", run=label, by=by)
        return stray

    def check(self, now: datetime) -> list[Condition]:
        """Say that there are some, for HealthWatch."""
        strays = self.current()
        if not strays:
            return []
        names = ", ".join(stray.label for stray in strays[:10])
        names += ", …" if len(strays) > 10 else ""
        return [
            Condition(
                code=ConditionCode.STRAY_RUNS, effect=Effect.WARNING, since=now,
                text=f"runs are alive that the database does not know ({names}); they keep their GPUs and CPU slots",
                remedy="let them end, or end them: greenrun stray-runs --end-all",
            )
        ]  # fmt: skip


def _unknown(runs: Sequence[StrayRun], store: Store) -> list[StrayRun]:
    known = {run.token for rows in store.runs.of_jobs([run.job_id for run in runs]).values() for run in rows}
    return [run for run in runs if run.token not in known]


def require_not_emptied(state: Path) -> None:
    """Raise StoreDamaged where the database is empty although jobs have run here: with a new one they would be lost.

    One that is missing was moved away; of one that is empty nobody can have meant that.
    """
    database, runs = state / "greenrun.db", state / "runs"
    try:
        is_emptied = database.stat().st_size == 0 and any(runs.iterdir())
    except OSError:
        return
    if is_emptied:
        raise StoreDamaged(
            f"the database {database} is empty (0 bytes), though jobs have run here: {runs} has their folders. "
            "greenrun does not start, so that none of them is forgotten or doubled: put a backup in its place, or move "
            "the empty file away to begin with a new database"
        )


def _is_since(run: StrayRun, job: Job) -> bool:
    """Whether a run with a job's id can be of this job: one that began before it was submitted is of another one."""
    return run.started_at is not None and run.started_at >= job.submitted_at


def _who(run: StrayRun) -> str:
    return f"greenrun, because its run {run.label} began, which this database does not know: see {run.folder}"


class Leftovers:
    """What the state folder holds of earlier jobs, of whichever database: their ids are not given again."""

    def __init__(self, state: Path, checkpoints: CheckpointFolders, store: Store, strays: KnownStrays) -> None:
        """Let ids go on above those of all folders; raise StoreError."""
        self._store, self._strays = store, strays
        self._checkpoints = checkpoints
        if store.jobs.skip_ids(max(last_job_id(state / "runs"), self._checkpoints.last_id())):
            log.warning("there are folders of jobs that the database does not know", next_id=store.jobs.last_id() + 1)

    def hold_jobs_of_strays(self, now: datetime) -> None:
        """Hold those that have been queued since the start while a stray run of theirs is alive; raise StoreError."""
        if strays := self._strays.current():
            self._hold({run.job_id: run for run in strays}, now)

    def hold_jobs_that_ran(self, now: datetime) -> None:
        """Hold the queued jobs that have begun to run here without this database's knowledge: its user has to decide.

        So it is where an older copy of the database was put in place. A job is held once for that, so that it stays
        released. Raise StoreError, ExecutorError.
        """
        queued = [job.id for job in self._store.jobs.unfinished().values() if job.state is State.QUEUED]
        self._hold({run.job_id: run for run in self._strays.unknown(queued)}, now)

    def _hold(self, runs: Mapping[int, StrayRun], now: datetime) -> None:
        jobs = self._store.jobs.unfinished()
        queued = {job_id: jobs[job_id] for job_id in runs if job_id in jobs and jobs[job_id].state is State.QUEUED}
        unknown = {
            job_id: runs[job_id] for job_id, job in queued.items() if not job.held and _is_since(runs[job_id], job)
        }
        events = self._store.jobs.events(job_ids=unknown, limit=MOST_EVENTS) if unknown else ()
        held_before = {event.job_id for event in events if (event.kind, event.actor) == (EventKind.HELD, SCHEDULER)}
        mine = {job_id: run for job_id, run in unknown.items() if job_id not in held_before}
        if not mine:
            return
        self._store.jobs.intend(Intent.HOLD, list(mine), actor=SCHEDULER, now=now)
        reasons = {job_id: because(ReasonCode.HELD, who=_who(run), job=job_id) for job_id, run in mine.items()}
        self._store.jobs.set_reason(reasons, now=now)
        for job_id, run in mine.items():
            log.warning("held: it has run, which the database does not know", job=job_id, run=run.label)

    def prune(self, before: datetime) -> None:
        """Delete the checkpoints of jobs that ended before then."""
        strays = {stray.job_id for stray in self._strays.current()}
        for name in self._checkpoints.prune(self._find_job, before, keep=strays):
            log.info("old checkpoints deleted", folder=name)

    def _find_job(self, job_id: int) -> Job | None:
        try:
            return self._store.jobs.job(job_id)
        except JobNotFound:
            return None

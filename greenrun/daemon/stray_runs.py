"""What is left here of jobs that the database does not know: live runs are told, and ended on request."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock

import structlog

from greenrun.core.conditions import Condition, ConditionCode, Effect
from greenrun.core.errors import ExecutorError, JobNotFound
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.runs.status import StrayRun
from greenrun.executors.leftovers.checkpoints import CHECKPOINTS, CheckpointFolders
from greenrun.executors.leftovers.strays import StrayRuns, last_job_id
from greenrun.store import Store

log = structlog.get_logger("greenrun.daemon.stray_runs")


class KnownStrays:
    """The stray runs that were found at start, as long as they live; none comes later but by another database."""

    def __init__(self, on_disk: StrayRuns, store: Store) -> None:
        """Look for them; raise ExecutorError, StoreError."""
        self._on_disk = on_disk
        self._looking = Lock()
        try:
            live = on_disk.find()
        except OSError as exc:
            raise ExecutorError(f"the folder for runs cannot be read ({exc}); correct it and start again") from exc
        runs = store.runs.of_jobs([stray.job_id for stray in live])
        known = {run.token for rows in runs.values() for run in rows}
        self._strays = [stray for stray in live if stray.token not in known]
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

    def end(self, label: str, by: str) -> StrayRun:
        """Have one stopped; raise JobNotFound for another label, ExecutorError when it cannot be asked."""
        stray = next((stray for stray in self.current() if stray.label == label), None)
        if stray is None:
            raise JobNotFound(f"There is no stray run {label}: `greenrun stray-runs` lists those that there are.")
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


class Leftovers:
    """What the state folder holds of earlier jobs, of whichever database: their ids are not given again."""

    def __init__(self, state: Path, store: Store, strays: KnownStrays) -> None:
        """Let ids go on above those of all folders; raise StoreError."""
        self._store, self._strays = store, strays
        self._checkpoints = CheckpointFolders(state / CHECKPOINTS)
        if store.jobs.skip_ids(max(last_job_id(state / "runs"), self._checkpoints.last_id())):
            log.warning("there are folders of jobs that the database does not know", next_id=store.jobs.last_id() + 1)

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

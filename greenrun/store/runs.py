"""The runs: who holds which device, since when, and how it ended; each step is one compare-and-set with its traces."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update

from greenrun.core.errors import StoreError
from greenrun.core.histogram import Example, bound_of
from greenrun.core.jobs.job import FINISHED, Outcome, Run, State
from greenrun.core.jobs.reasons import Reason
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.earliest import keep_place
from greenrun.store.journal import (
    FINISHED_JOBS,
    Change,
    count,
    count_missed_limit,
    key,
    move_job,
    record,
)
from greenrun.store.observations import Values, observe_end, observe_start
from greenrun.store.records import reason_columns, run_of
from greenrun.store.tables import JOBS, LEASES, RUNS


class Runs(Database):
    """The part of the store that `greenrun.engine.ports.Store` lists under runs.

    `examples` has, by histogram and bucket, the last value counted since this store was opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.examples: dict[tuple[str, float], Example] = {}

    def claim(self, job_id: int, devices: Sequence[str], *, reason: Reason, now: datetime) -> Run | None:
        """Move queued to starting, add the run and lease its devices, all or nothing; None when the race was lost.

        A job that was held, or asked to be cancelled, since the caller looked is not claimed either.
        """
        with self._write() as connection:
            if not _is_claimable(connection, job_id, devices):
                return None
            if not move_job(connection, job_id, State.QUEUED, State.STARTING, **reason_columns(reason)):
                return None
            run = _insert_run(connection, job_id, devices, now)
            _note(connection, Change.CLAIMED, run, now, devices=list(devices), reason=reason.code, why=reason.text)
            return run

    def confirm(self, run_id: int, *, started_at: datetime, log: str | None, now: datetime) -> bool:
        """Move starting to running: the executor has it since `started_at`."""
        with self._write() as connection:
            run = _run(connection, run_id)
            seen = None if run.outcome is not None else _start(connection, run, started_at, log, now)
        self._remember(run.job_id, seen or {}, now)
        return seen is not None

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
        """End a live run, free its devices and move its job to `job_state` at once; False when it had ended already.

        A run that proves to have started, though nobody confirmed it, passes through running. `progress` is what a run
        that ended CHECKPOINTED has done of its job; it is added to the job's.
        """
        with self._write() as connection:
            run = _run(connection, run_id)
            if run.outcome is not None:
                return False
            seen = dict(_start(connection, run, started_at, log, now) or {}) if started_at is not None else {}
            ended = replace(
                run,
                outcome=outcome,
                exit_code=exit_code,
                started_at=started_at or run.started_at,
                ended_at=ended_at,
                log=log or run.log,
            )
            _end_run(connection, ended)
            keep_place(connection, ended)
            seen |= observe_end(connection, ended)
            _end_job(connection, ended, job_state, reason)
            if progress and outcome is Outcome.CHECKPOINTED:
                _add_progress(connection, run.job_id, progress)
            change = Change.FINISHED if job_state in FINISHED else Change.REQUEUED
            how = {"outcome": outcome, "exit_code": exit_code, "state": job_state, "reason": reason.code}
            _note(connection, change, run, now, **how)
        self._remember(run.job_id, seen, now)
        return True

    def live_runs(self) -> Sequence[Run]:
        """Return the runs without an outcome, by id."""
        with self._read() as connection:
            return _find(connection, RUNS.c.outcome.is_(None))

    def runs(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[Run]]:
        """Return the runs of these jobs in order; a job without runs has an empty entry."""
        found: dict[int, list[Run]] = {job_id: [] for job_id in job_ids}
        with self._read() as connection:
            for run in _find(connection, among(RUNS.c.job_id, job_ids)):
                found[run.job_id].append(run)
        return found

    def holds(self, since: datetime) -> Sequence[Run]:
        """Return every run that had started and was live at or after `since`: whose energy may still be booked."""
        with self._read() as connection:
            found = _find(connection, or_(RUNS.c.ended_at.is_(None), RUNS.c.ended_at >= since))
        return [run for run in found if run.started_at is not None]

    def _remember(self, job_id: int, values: Values, at: datetime) -> None:
        """Keep what was counted, once it is durable."""
        for name, value in values.items():
            self.examples[name, bound_of(name, value)] = Example(job_id=job_id, value=value, at=at)


def _find(connection: Connection, condition: ColumnElement[bool]) -> list[Run]:
    """Return runs by id; sorted here, because for an ORDER BY id SQLite would read every run there ever was."""
    rows = connection.execute(select(RUNS).where(condition))
    return sorted(map(run_of, rows), key=lambda run: run.id)


def _is_claimable(connection: Connection, job_id: int, devices: Sequence[str]) -> bool:
    leased = select(func.count()).select_from(LEASES).where(among(LEASES.c.device, devices))
    wanted = select(func.count()).where(JOBS.c.id == job_id, ~JOBS.c.held, ~JOBS.c.cancel_requested)
    return connection.scalar(leased) == 0 and connection.scalar(wanted) == 1


def _insert_run(connection: Connection, job_id: int, devices: Sequence[str], now: datetime) -> Run:
    earlier = connection.scalar(select(func.max(RUNS.c.number)).where(RUNS.c.job_id == job_id)) or 0
    values = {"job_id": job_id, "number": earlier + 1, "token": uuid4().hex, "devices": list(devices)}
    inserted = connection.execute(insert(RUNS).values(**values, claimed_at=now))
    if devices:
        connection.execute(insert(LEASES), [{"device": device, "run_id": inserted.lastrowid} for device in devices])
    return _run(connection, inserted.lastrowid)


def _start(connection: Connection, run: Run, started_at: datetime, log: str | None, now: datetime) -> Values | None:
    """Move starting to running with what belongs to it and return what was counted; None: the job was not starting."""
    if not move_job(connection, run.job_id, State.STARTING, State.RUNNING):
        return None
    connection.execute(update(RUNS).where(RUNS.c.id == run.id).values(started_at=started_at, log=log))
    _note(connection, Change.STARTED, run, now)
    count_missed_limit(connection, run.job_id, started_at)
    return observe_start(connection, run, started_at)


def _end_run(connection: Connection, run: Run) -> None:
    ending = {"outcome": run.outcome, "exit_code": run.exit_code, "log": run.log}
    moments = {"started_at": run.started_at, "ended_at": run.ended_at}
    connection.execute(update(RUNS).where(RUNS.c.id == run.id).values(**ending, **moments))
    connection.execute(delete(LEASES).where(LEASES.c.run_id == run.id))


def _end_job(connection: Connection, run: Run, new: State, reason: Reason) -> None:
    old = State(connection.execute(select(JOBS.c.state).where(JOBS.c.id == run.job_id)).scalar_one())
    finished_at = run.ended_at if new in FINISHED else None
    move_job(connection, run.job_id, old, new, finished_at=finished_at, **reason_columns(reason))
    if finished_at is not None and run.outcome is not None:
        count(connection, {key(FINISHED_JOBS, outcome=run.outcome.value): 1})
        count_missed_limit(connection, run.job_id, finished_at)


def _add_progress(connection: Connection, job_id: int, progress: timedelta) -> None:
    more = JOBS.c.progress_s + progress.total_seconds()
    connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(progress_s=more))


def _note(connection: Connection, change: Change, run: Run, now: datetime, **detail: object) -> None:
    record(connection, change, at=now, job_id=run.job_id, run_id=run.id, detail={"number": run.number, **detail})


def _run(connection: Connection, run_id: int) -> Run:
    row = connection.execute(select(RUNS).where(RUNS.c.id == run_id)).first()
    if row is None:
        raise StoreError(f"there is no run {run_id}; nothing was changed")
    return run_of(row)

"""The jobs: what their users asked for, where they stand, and the events of their lives."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, exists, func, insert, select, update

from greenrun.core.errors import InvalidJob, InvalidTransition, JobNotFound
from greenrun.core.jobs.job import FINISHED, Event, Job, JobSpec, State
from greenrun.core.jobs.reasons import Reason
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.journal import FINISHED_JOBS, SUBMITTED, Change, count, key, move_job, record
from greenrun.store.records import event_of, job_of, reason_columns, spec_columns
from greenrun.store.tables import EVENTS, JOBS, RUNS

_MOVES = {State.STARTING: Change.CLAIMED, State.RUNNING: Change.STARTED, State.QUEUED: Change.REQUEUED}


class Jobs(Database):
    """The part of the store that `greenrun.engine.ports.Store` lists under jobs."""

    def add_job(self, spec: JobSpec, *, user: str, uid: int, now: datetime) -> tuple[Job, bool]:
        """Store one queued job, as `add_jobs` does."""
        return self.add_jobs([spec], user=user, uid=uid, now=now)[0]

    def add_jobs(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> list[tuple[Job, bool]]:
        """Store queued jobs, all or none; return each and whether it is new (a known `unique_key` gives the old)."""
        try:
            with self._write() as connection:
                return [_known_or_new(connection, spec, user, uid, now) for spec in specs]
        except (UnicodeEncodeError, OverflowError) as exc:
            raise InvalidJob(f"the job was not accepted: a value in it cannot be stored ({exc})") from exc

    def job(self, job_id: int) -> Job:
        """Return one job; raise JobNotFound."""
        with self._read() as connection:
            return job_of(_row(connection, job_id))

    def jobs(
        self,
        states: Sequence[State] = (),
        *,
        project: str | None = None,
        user: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> Sequence[Job]:
        """Return jobs in these states (all when empty), by id; the newest first on request."""
        query = select(JOBS).order_by(JOBS.c.id.desc() if newest_first else JOBS.c.id).limit(limit)
        if states:
            query = query.where(JOBS.c.state.in_(states))
        if project is not None:
            query = query.where(JOBS.c.project == project)
        if user is not None:
            query = query.where(JOBS.c.user == user)
        with self._read() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def job_states(self, job_ids: Collection[int]) -> dict[int, State]:
        """Return the state of each of these jobs; one that does not exist is absent."""
        if not job_ids:
            return {}
        query = select(JOBS.c.id, JOBS.c.state).where(among(JOBS.c.id, job_ids))
        with self._read() as connection:
            return {job_id: State(state) for job_id, state in connection.execute(query)}

    def submissions(self, since: datetime, limit: int) -> list[Job]:
        """Return the jobs submitted at or after `since`, whatever became of them, by id; the newest `limit` of them."""
        query = select(JOBS).where(JOBS.c.submitted_at >= since).order_by(JOBS.c.id.desc()).limit(limit)
        with self._read() as connection:
            return [job_of(row) for row in connection.execute(query)][::-1]

    def job_counts(self) -> dict[State, int]:
        """Return how many jobs are in each state; a state without jobs is absent."""
        query = select(JOBS.c.state, func.count()).group_by(JOBS.c.state)
        with self._read() as connection:
            return {State(state): count for state, count in connection.execute(query)}

    def move(self, job_id: int, old: State, new: State, *, reason: Reason, actor: str, now: datetime) -> bool:
        """Compare-and-set a job that has no live run; raise InvalidTransition for an unlisted move."""
        finished = {"finished_at": now} if new in FINISHED else {}
        with self._write() as connection:
            if connection.scalar(select(exists().where(RUNS.c.job_id == job_id, RUNS.c.outcome.is_(None)))):
                return False
            if not move_job(connection, job_id, old, new, **reason_columns(reason), **finished):
                return False
            change = _MOVES.get(new, Change.FINISHED)
            record(connection, change, at=now, actor=actor, job_id=job_id, detail={"state": new, "reason": reason.code})
            if finished:
                count(connection, {key(FINISHED_JOBS, outcome=new.value): 1})
        return True

    def set_reason(self, reasons: Mapping[int, Reason], *, now: datetime) -> None:
        """Keep the latest reason of unfinished jobs; an event (at `now`) is written where the reason's code changed."""
        with self._write() as connection:
            rows = connection.execute(
                select(JOBS.c.id, JOBS.c.reason_code, JOBS.c.reason_text).where(
                    among(JOBS.c.id, reasons), JOBS.c.state.not_in(FINISHED)
                )
            ).all()
            _update_reasons(connection, rows, reasons)
            for row in rows:
                if row.reason_code != reasons[row.id].code:
                    change = {"reason": reasons[row.id].code, "before": row.reason_code}
                    record(connection, Change.REASON_CHANGED, at=now, job_id=row.id, detail=change)

    def set_held(self, job_id: int, held: bool, *, actor: str, now: datetime) -> Job:
        """Set or clear the intent to hold a queued job; raise InvalidTransition in another state."""
        with self._write() as connection:
            before = _row(connection, job_id)
            if before.state != State.QUEUED:
                raise InvalidTransition(f"job {job_id} is {before.state}; only a queued job can be held or released")
            return _set(connection, before, Change.HELD if held else Change.RELEASED, actor, now, held=held)

    def request_cancel(self, job_id: int, *, actor: str, now: datetime) -> Job:
        """Note the intent to cancel; raise InvalidTransition when the job is finished."""
        with self._write() as connection:
            before = _row(connection, job_id)
            if before.state in FINISHED:
                raise InvalidTransition(f"job {job_id} is {before.state} already, so it cannot be cancelled")
            return _set(connection, before, Change.CANCEL_REQUESTED, actor, now, cancel_requested=True)

    def request_start_now(self, job_id: int, *, actor: str, now: datetime) -> Job:
        """Let a queued job start as soon as GPUs are free, whatever its start-after; raise InvalidTransition."""
        with self._write() as connection:
            before = _row(connection, job_id)
            if before.state != State.QUEUED:
                raise InvalidTransition(f"job {job_id} is {before.state}; only a queued job can be started now")
            return _set(connection, before, Change.START_NOW_REQUESTED, actor, now, start_now=True, start_after=None)

    def events(self, job_id: int | None = None, limit: int = 1000) -> Sequence[Event]:
        """Return events in order, the latest `limit` of them."""
        query = select(EVENTS).order_by(EVENTS.c.id.desc()).limit(limit)
        if job_id is not None:
            query = query.where(EVENTS.c.job_id == job_id)
        with self._read() as connection:
            return [event_of(row) for row in connection.execute(query)][::-1]


def _known_or_new(connection: Connection, spec: JobSpec, user: str, uid: int, now: datetime) -> tuple[Job, bool]:
    known = _find_unique(connection, user, spec.unique_key)
    if known is not None:
        return job_of(known), False
    return _insert_job(connection, spec, user, uid, now), True


def _insert_job(connection: Connection, spec: JobSpec, user: str, uid: int, now: datetime) -> Job:
    inserted = connection.execute(
        insert(JOBS).values(
            user=user,
            uid=uid,
            state=State.QUEUED,
            held=False,
            cancel_requested=False,
            deadline_missed=False,
            progress_s=0.0,
            submitted_at=now,
            **spec_columns(spec),
        )
    )
    job = job_of(_row(connection, inserted.lastrowid))
    record(connection, Change.SUBMITTED, at=now, actor=user, job_id=job.id, detail={"project": spec.project})
    count(connection, {key(SUBMITTED): 1})
    return job


def _find_unique(connection: Connection, user: str, unique_key: str | None) -> Row[Any] | None:
    if unique_key is None:
        return None
    return connection.execute(select(JOBS).where(JOBS.c.user == user, JOBS.c.unique_key == unique_key)).first()


def _row(connection: Connection, job_id: int) -> Row[Any]:
    row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).first()
    if row is None:
        raise JobNotFound(f"there is no job {job_id}")
    return row


def _set(
    connection: Connection, before: Row[Any], change: Change, actor: str, now: datetime, **intent: bool | None
) -> Job:
    """Set an intent; asking twice changes nothing and leaves no second event."""
    if any(getattr(before, name) != value for name, value in intent.items()):
        connection.execute(update(JOBS).where(JOBS.c.id == before.id).values(**intent))
        record(connection, change, at=now, actor=actor, job_id=before.id)
    return job_of(_row(connection, before.id))


def _update_reasons(connection: Connection, rows: Sequence[Any], reasons: Mapping[int, Reason]) -> None:
    changed = [
        {"job": row.id, **reason_columns(reasons[row.id])}
        for row in rows
        if (row.reason_code, row.reason_text) != (reasons[row.id].code, reasons[row.id].text)
    ]
    if changed:
        connection.execute(update(JOBS).where(JOBS.c.id == bindparam("job")), changed)

"""A transaction over jobs and runs as rows: it reads what a step depends on, and keeps what was decided."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import bindparam, delete, exists, func, select, update
from sqlalchemy.orm import Session

from greenrun.core.energy.ledger import Total
from greenrun.core.errors import StoreError
from greenrun.core.jobs.job import Job, Run, State
from greenrun.core.jobs.reasons import Reason
from greenrun.core.jobs.transitions import UNSTORED, Change, EventKind, NewEvent
from greenrun.store.baselines import keep_place
from greenrun.store.columns import among
from greenrun.store.counters import count
from greenrun.store.database import KEPT
from greenrun.store.records import changed_columns, job_columns, job_of, reason_columns, reason_of, run_columns, run_of
from greenrun.store.tables import (
    EVENTS,
    JOBS,
    LEASES,
    RUNS,
    EventRecord,
    JobRecord,
    LeaseRecord,
    RunRecord,
)
from greenrun.store.totals import total_of


class JobTransaction:
    """`greenrun.core.jobs.stored_transitions.Transaction` on a session that has the right to write."""

    def __init__(self, session: Session, live: Mapping[int, Job] | None) -> None:
        self._session = session
        self._live = live or {}
        self._kept: dict[int, Job] = session.info[KEPT]

    def find_job(self, job_id: int) -> Job | None:
        """Return one job; None if it does not exist."""
        known = self._kept.get(job_id) or self._live.get(job_id)
        if known is not None:
            return known
        record = self._session.get(JobRecord, job_id)
        return None if record is None else job_of(record)

    def find_unique(self, user: str, unique_key: str) -> Job | None:
        """Return the job that this user gave this key."""
        own = select(JobRecord).where(JOBS.c.user == user, JOBS.c.unique_key == unique_key)
        record = self._session.scalars(own).first()
        return None if record is None else job_of(record)

    def find_run(self, run_id: int) -> Run | None:
        """Return one run; None if it does not exist."""
        record = self._session.get(RunRecord, run_id)
        return None if record is None else run_of(record)

    def has_live_run(self, job_id: int) -> bool:
        """Whether a run of the job has no outcome yet."""
        live = exists().where(RUNS.c.job_id == job_id, RUNS.c.outcome.is_(None))
        return bool(self._session.scalar(select(live)))

    def last_number(self, job_id: int) -> int:
        """Return the number of the job's latest run; 0 when it has none."""
        return self._session.scalar(select(func.max(RUNS.c.number)).where(RUNS.c.job_id == job_id)) or 0

    def leased(self, devices: Sequence[str]) -> Collection[str]:
        """Return those devices that a live run holds."""
        return self._session.scalars(select(LEASES.c.device).where(among(LEASES.c.device, devices))).all()

    def first_start(self, job_id: int, *, except_run: int) -> datetime | None:
        """Return when the first of the job's runs started, without `except_run`; None when no other has."""
        others = select(func.min(RUNS.c.started_at)).where(RUNS.c.job_id == job_id, RUNS.c.id != except_run)
        first: datetime | None = self._session.scalar(others)
        return first

    def total(self, ended: Run) -> Total:
        """Return what a run used, which ended as it is given."""
        return total_of(self._session, ended)

    def has_event(self, run: Run, kind: EventKind) -> bool:
        """Whether there is an event of this kind of the run."""
        own = exists().where(EVENTS.c.job_id == run.job_id, EVENTS.c.run_id == run.id, EVENTS.c.kind == kind)
        return bool(self._session.scalar(select(own)))

    def reasons(self, job_ids: Collection[int]) -> Mapping[int, tuple[State, Reason | None]]:
        """Return the state and reason of these jobs; one that does not exist is absent."""
        known = {job_id: job for job_id in job_ids if (job := self._kept.get(job_id) or self._live.get(job_id))}
        found = {job_id: (job.state, job.reason) for job_id, job in known.items()}
        others = [job_id for job_id in job_ids if job_id not in known]
        if not others:
            return found
        columns = select(JOBS.c.id, JOBS.c.state, JOBS.c.reason_code, JOBS.c.reason_text)
        rows = self._session.execute(columns.where(among(JOBS.c.id, others)))
        return found | {job_id: (State(state), reason_of(code, text)) for job_id, state, code, text in rows}

    def keep(self, change: Change) -> Change:
        """Write a change; return it with the ids that its job and run have been given."""
        job_id = self._keep_job(change)
        run_id = self._keep_run(change)
        for event in change.events:
            self._add_event(event, job_id or (change.run.job_id if change.run else None), run_id)
        count(self._session, change.counts)
        self._session.flush()
        return replace(
            change,
            job=change.job if job_id is None else self.find_job(job_id),
            run=change.run if run_id is None else self.find_run(run_id),
        )

    def keep_reasons(self, reasons: Mapping[int, Reason], events: Mapping[int, NewEvent]) -> None:
        """Write the reasons and events of these jobs."""
        rows = [{"job": job_id, **reason_columns(reason)} for job_id, reason in reasons.items()]
        if rows:
            self._session.connection().execute(update(JOBS).where(JOBS.c.id == bindparam("job")), rows)
        for job_id, reason in reasons.items():
            job = self._kept.get(job_id) or self._live.get(job_id)
            if job is not None:
                self._kept[job_id] = replace(job, reason=reason)
        for job_id, event in events.items():
            self._add_event(event, job_id, None)
        self._session.flush()

    def _keep_job(self, change: Change) -> int | None:
        """Write the job, if it is still as it was before; return its id."""
        before, job = change.before, change.job
        if job is None:
            return None
        if job.id == UNSTORED:
            record = JobRecord(**job_columns(job))
            self._session.add(record)
            self._session.flush()
            self._session.refresh(record)  # instants come back in UTC
            self._kept[record.id] = job_of(record)
            return record.id
        if before is not None and job != before:
            as_expected = update(JOBS).where(JOBS.c.id == job.id, JOBS.c.state == before.state)
            moved = self._session.connection().execute(as_expected.values(**changed_columns(before, job)))
            if moved.rowcount != 1:
                raise StoreError(f"job {job.id} is not {before.state} any more; nothing was changed")
            ended = job.finished_at and job.finished_at.astimezone(UTC)  # as it comes back from the file
            self._kept[job.id] = replace(job, finished_at=ended)
        return job.id

    def _keep_run(self, change: Change) -> int | None:
        """Write the run and its leases, and where it would have been once it has ended; return its id."""
        run = change.run
        if run is None:
            return None
        if run.id == UNSTORED:
            record = RunRecord(**run_columns(run))
            self._session.add(record)
            self._session.flush()
            self._session.refresh(record)
            self._session.add_all(LeaseRecord(device=device, run_id=record.id) for device in run.devices)
            return record.id
        self._session.get_one(RunRecord, run.id).sqlmodel_update(run_columns(run))
        self._session.flush()
        if run.outcome is not None:
            self._session.execute(delete(LEASES).where(LEASES.c.run_id == run.id))
            if change.job is not None:
                keep_place(self._session, change.job, run)
        return run.id

    def _add_event(self, event: NewEvent, job_id: int | None, run_id: int | None) -> None:
        self._session.add(
            EventRecord(
                at=event.at,
                actor=event.actor,
                kind=event.kind,
                job_id=job_id,
                run_id=run_id,
                detail=dict(event.detail),
            )
        )

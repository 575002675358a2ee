"""A transaction over jobs and runs as rows: it reads what a step depends on, and keeps what was decided."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, exists, func, insert, select, text, update
from sqlalchemy.orm import Session

from greenrun.core.energy.ledger import Total
from greenrun.core.errors import StoreError
from greenrun.core.histogram import CounterKey
from greenrun.core.jobs.job import FINISHED, ArrayPlace, Job, JobRequest, Run, State
from greenrun.core.jobs.log_names import numbered
from greenrun.core.jobs.reasons import Reason
from greenrun.core.jobs.selection import JobEntry
from greenrun.core.jobs.spec import title_of
from greenrun.core.jobs.transitions import UNSTORED, Change, EventKind, NewEvent
from greenrun.store.columns import among
from greenrun.store.database import KEPT
from greenrun.store.ledger.baselines import keep_place
from greenrun.store.ledger.counters import count
from greenrun.store.ledger.totals import total_of
from greenrun.store.records import (
    as_stored,
    changed_columns,
    event_columns,
    job_columns,
    job_of,
    reason_columns,
    reason_of,
    run_columns,
    run_of,
)
from greenrun.store.tables import (
    EVENTS,
    JOBS,
    LEASES,
    RUNS,
    SUBMISSIONS,
    JobRecord,
    LeaseRecord,
    RunRecord,
)

# Made once: to make a statement takes as long as to carry it out.
_KNOWN_KEYS = text(
    "SELECT key FROM submissions WHERE user = :user AND key IN (SELECT value FROM json_each(:keys))"
)  # fmt: skip
_LAST_ID = text("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'")
_ADD_JOBS, _ADD_EVENTS, _ADD_SUBMISSIONS = insert(JOBS), insert(EVENTS), insert(SUBMISSIONS)


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

    def find_jobs(self, job_ids: Collection[int]) -> Mapping[int, Job]:
        """Return these jobs by id; one that does not exist is absent."""
        known = {job_id: job for job_id in job_ids if (job := self._kept.get(job_id) or self._live.get(job_id))}
        others = [job_id for job_id in job_ids if job_id not in known]
        if not others:
            return known
        records = self._session.scalars(select(JobRecord).where(among(JOBS.c.id, others)))
        return known | {record.id: job_of(record) for record in records}

    def entries(self, uid: int, *, unfinished_only: bool) -> Sequence[JobEntry]:
        """Return as much of all jobs of a user as it takes to find them, by id."""
        columns = (JOBS.c.id, JOBS.c.name, JOBS.c.command, JOBS.c.state, JOBS.c.held, JOBS.c.project, JOBS.c.array)
        query = select(*columns).where(JOBS.c.uid == uid).order_by(JOBS.c.id)
        if unfinished_only:
            query = query.where(JOBS.c.state.not_in(sorted(FINISHED)))
        return [
            JobEntry(
                id=job_id, uid=uid, title=title_of(name, command), state=State(state), held=held, project=project,
                array=ArrayPlace(**array) if array else None,
            )
            for job_id, name, command, state, held, project, array in self._session.execute(query)
        ]  # fmt: skip

    def find_unique(self, user: str, unique_keys: Collection[str]) -> Mapping[str, Job]:
        """Return the jobs that this user gave these keys, by key."""
        return jobs_of_keys(self._session, user, unique_keys)

    def find_run(self, run_id: int) -> Run | None:
        """Return one run; None if it does not exist."""
        record = self._session.get(RunRecord, run_id)
        return None if record is None else run_of(record)

    def with_live_run(self, job_ids: Collection[int]) -> Collection[int]:
        """Return those of these jobs that have a run without an outcome yet."""
        live = self._session.scalars(select(RUNS.c.job_id).where(RUNS.c.outcome.is_(None)))
        return set(job_ids).intersection(live)

    def last_numbers(self, job_ids: Collection[int]) -> Mapping[int, int]:
        """Return the number of each job's latest run; a job that has none is absent."""
        if not job_ids:
            return {}
        latest = select(RUNS.c.job_id, func.max(RUNS.c.number)).where(among(RUNS.c.job_id, list(job_ids)))
        return {row.job_id: row[1] for row in self._session.execute(latest.group_by(RUNS.c.job_id))}

    def leased(self, devices: Sequence[str]) -> Collection[str]:
        """Return those devices that a live run holds."""
        return self._session.scalars(select(LEASES.c.device).where(among(LEASES.c.device, devices))).all()

    def first_start(self, job: Job, *, except_run: int) -> datetime | None:
        """Return when the first run since the last requeue started, without `except_run`; None when no other has."""
        counted = (RUNS.c.job_id == job.id, RUNS.c.number >= job.counted_from, RUNS.c.id != except_run)
        first: datetime | None = self._session.scalar(select(func.min(RUNS.c.started_at)).where(*counted))
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
        return self.keep_all([change])[0]

    def keep_all(self, changes: Sequence[Change]) -> list[Change]:
        """Write changes, each of another job; return them with the ids that their jobs and runs have been given."""
        job_ids = self._keep_jobs(changes)
        run_ids = [self._keep_run(change) for change in changes]
        self._session.flush()
        rows = zip(changes, job_ids, run_ids, strict=True)
        self._add_events(
            event_columns(event, job_id or (change.run.job_id if change.run else None), run_id)
            for change, job_id, run_id in rows
            for event in change.trail
        )
        counts = Counter[CounterKey]()
        for change in changes:
            counts.update(change.counts)
        count(self._session, counts)
        return [
            change if job_id is run_id is None else self._as_kept(change, job_id, run_id)
            for change, job_id, run_id in zip(changes, job_ids, run_ids, strict=True)
        ]

    def keep_reasons(self, reasons: Mapping[int, Reason], events: Mapping[int, NewEvent]) -> None:
        """Write the reasons and events of these jobs."""
        rows = [{"job": job_id, **reason_columns(reason)} for job_id, reason in reasons.items()]
        if rows:
            self._session.connection().execute(update(JOBS).where(JOBS.c.id == bindparam("job")), rows)
        for job_id, reason in reasons.items():
            job = self._kept.get(job_id) or self._live.get(job_id)
            if job is not None:
                self._kept[job_id] = replace(job, reason=reason)
        self._add_events(event_columns(event, job_id, None) for job_id, event in events.items())

    def known_requests(self, keys: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of these users' keys that a request of the same user has already."""
        found: set[tuple[str, str]] = set()
        for user in {user for user, _ in keys}:
            own = json.dumps([key for whose, key in keys if whose == user])
            rows = self._session.connection().execute(_KNOWN_KEYS, {"user": user, "keys": own})
            found |= {(user, key) for key in rows.scalars()}
        return found

    def keep_submissions(self, added: Sequence[tuple[JobRequest, Sequence[int]]]) -> None:
        """Write which jobs requests have added, of those that have a key."""
        rows = [
            {"user": row.user, "key": row.key.key, "digest": row.key.digest, "at": row.now, "jobs": list(job_ids)}
            for row, job_ids in added
            if row.key is not None
        ]
        if rows:
            self._session.connection().execute(_ADD_SUBMISSIONS, rows)

    def _as_kept(self, change: Change, job_id: int | None, run_id: int | None) -> Change:
        return replace(
            change,
            job=None if job_id is None else self.find_job(job_id),
            run=None if run_id is None else self.find_run(run_id),
        )

    def _keep_jobs(self, changes: Sequence[Change]) -> list[int | None]:
        """Write the jobs, if they are still as they were before; return their ids."""
        jobs = [change.job for change in changes]
        added = iter(self._add_jobs([job for job in jobs if job is not None and job.id == UNSTORED]))
        moved = [(row.before, row.job) for row in changes if row.before is not None and row.job is not None]
        self._move_jobs([(before, job) for before, job in moved if job != before])
        return [None if job is None else next(added) if job.id == UNSTORED else job.id for job in jobs]

    def _add_jobs(self, jobs: Sequence[Job]) -> Sequence[int]:
        """Write new jobs; return the ids that they have been given, those which SQLite would give next."""
        if not jobs:
            return ()
        connection = self._session.connection()
        new = numbered(jobs, (connection.execute(_LAST_ID).scalar() or 0) + 1)
        connection.execute(_ADD_JOBS, [{"id": job.id, **job_columns(job)} for job in new])
        self._kept.update({job.id: as_stored(job, job.id) for job in new})
        return [job.id for job in new]

    def _move_jobs(self, moves: Sequence[tuple[Job, Job]]) -> None:
        """Write what has changed of jobs, given as they were before and as they are now; raise StoreError."""
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for before, job in moves:
            columns = changed_columns(before, job)
            if columns:
                alike.setdefault(tuple(columns), []).append({"job": job.id, "before": before.state, **columns})
        as_expected = update(JOBS).where(JOBS.c.id == bindparam("job"), JOBS.c.state == bindparam("before"))
        for rows in alike.values():
            if self._session.connection().execute(as_expected, rows).rowcount != len(rows):
                ids = ", ".join(str(row["job"]) for row in rows)
                raise StoreError(f"not all of these jobs are as they were, so nothing was changed: {ids}")
        for _, job in moves:
            self._kept[job.id] = as_stored(job, job.id)

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

    def _add_events(self, rows: Iterable[Mapping[str, Any]]) -> None:
        if listed := list(rows):
            self._session.connection().execute(_ADD_EVENTS, listed)


def jobs_of_keys(session: Session, user: str, unique_keys: Collection[str]) -> dict[str, Job]:
    """Return the jobs that this user gave these keys, by key."""
    if not unique_keys:
        return {}
    own = select(JobRecord).where(JOBS.c.user == user, among(JOBS.c.unique_key, unique_keys))
    return {str(record.unique_key): job_of(record) for record in session.scalars(own)}

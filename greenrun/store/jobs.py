"""The jobs: what their users asked for, where they stand, and the events of their lives."""

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import delete, func, or_, select, text

from greenrun.core.errors import InvalidJob, JobError, JobNotFound, KnownRequest
from greenrun.core.jobs.acceptance import keep_new, raised
from greenrun.core.jobs.job import FINISHED, Event, Job, JobRequest, JobSpec, RequestKey, State, Submission
from greenrun.core.jobs.stored_transitions import JobTransitions
from greenrun.store.columns import among
from greenrun.store.database import KEPT, Database
from greenrun.store.records import event_of, job_of
from greenrun.store.tables import EVENTS, JOBS, SUBMISSIONS, EventRecord, JobRecord
from greenrun.store.transaction import JobTransaction, jobs_of_keys

UNFINISHED = frozenset(State) - FINISHED


class JobRepository(JobTransitions):
    """Keeps the jobs, what their users want of them, and the events of their lives."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def _transaction(self) -> Iterator[JobTransaction]:
        with self._database.write() as session:
            yield JobTransaction(session, self._database.live.current())

    @contextmanager
    def _view(self) -> Iterator[JobTransaction]:
        with self._database.read() as session:
            session.info.setdefault(KEPT, {})
            yield JobTransaction(session, None)

    def add_jobs(
        self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime, request: RequestKey | None = None
    ) -> list[tuple[Job, bool]]:
        """Store queued jobs, all or none; return each and whether it is new (a known `unique_key` gives the old).

        With a `request`, which asked for them, that is kept beside them; raise KnownRequest when its key is known, and
        KeyOfAnotherJob when a unique key names a job with another command.
        """
        (added,) = self.add_requests([JobRequest(specs=specs, user=user, uid=uid, now=now, key=request)])
        return raised(added)

    def add_requests(self, requests: Sequence[JobRequest]) -> list[list[tuple[Job, bool]] | JobError]:
        """Store the jobs of requests as `add_jobs` does of each in this order, in one transaction.

        Return in place of what was added KnownRequest for each whose key is known, stored before or that of one before
        it, and KeyOfAnotherJob for each that has a job's unique key and another command.
        """
        try:
            with self._transaction() as stored:
                known = stored.known_requests([(row.user, row.key.key) for row in requests if row.key])
                new: dict[int, JobRequest] = {}
                for number, row in enumerate(requests):
                    if row.key is None or (row.user, row.key.key) not in known:
                        new[number] = row
                        known |= {(row.user, row.key.key)} if row.key else set()
                added = dict(zip(new, keep_new(stored, list(new.values())), strict=True))
                stored.keep_submissions(
                    [
                        (new[number], [job.id for job, _ in rows])
                        for number, rows in added.items()
                        if not isinstance(rows, JobError)
                    ]
                )
                return [added[number] if number in added else _known(row) for number, row in enumerate(requests)]
        except (UnicodeEncodeError, OverflowError) as exc:
            raise InvalidJob(f"the job was not accepted: a value in it cannot be stored ({exc})") from exc

    def job(self, job_id: int) -> Job:
        """Return one job; raise JobNotFound."""
        live = self._live()
        if live and job_id in live:
            return live[job_id]
        with self._database.read() as session:
            record = session.get(JobRecord, job_id)
        if record is None:
            raise JobNotFound(f"there is no job {job_id}")
        return job_of(record)

    def of_keys(self, user: str, unique_keys: Collection[str]) -> Mapping[str, Job]:
        """Return the jobs that this user gave these keys, by key."""
        with self._database.read() as session:
            return jobs_of_keys(session, user, unique_keys)

    def submission(self, user: str, key: str) -> Submission | None:
        """Return what came of the request that this user gave this key; None for one that is not known (any more)."""
        own = select(SUBMISSIONS.c.digest, SUBMISSIONS.c.jobs).where(
            SUBMISSIONS.c.user == user, SUBMISSIONS.c.key == key
        )
        with self._database.read() as session:
            row = session.execute(own).first()
            if row is None:
                return None
            records = session.scalars(select(JobRecord).where(among(JOBS.c.id, row.jobs)))
            jobs = {record.id: job_of(record) for record in records}
        request = RequestKey(key=key, digest=row.digest)
        return Submission(request=request, jobs=[jobs[job_id] for job_id in row.jobs])

    def prune_submissions(self, before: datetime) -> None:
        """Forget the keys of requests that came before then; their jobs stay."""
        with self._database.write() as session:
            session.execute(delete(SUBMISSIONS).where(SUBMISSIONS.c.at < before))

    def jobs(
        self,
        states: Sequence[State] = (),
        *,
        project: str | None = None,
        user: str | None = None,
        uid: int | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        before: int | None = None,
    ) -> Sequence[Job]:
        """Return jobs in these states (all when empty) with ids below `before`, by id; the newest first on request."""
        live = self._live() if states and UNFINISHED.issuperset(states) else None
        if live is not None:
            wanted = [job for job in live.values() if job.state in states and _is_of(job, project, user, uid)]
            wanted = wanted if before is None else [job for job in wanted if job.id < before]
            return (wanted[::-1] if newest_first else wanted)[:limit]
        query = select(JobRecord).order_by(JOBS.c.id.desc() if newest_first else JOBS.c.id).limit(limit)
        if states:
            query = query.where(JOBS.c.state.in_(states))
        if before is not None:
            query = query.where(JOBS.c.id < before)
        if project is not None:
            query = query.where(JOBS.c.project == project)
        if user is not None:
            query = query.where(JOBS.c.user == user)
        if uid is not None:
            query = query.where(JOBS.c.uid == uid)
        with self._database.read() as session:
            return [job_of(record) for record in session.scalars(query)]

    def unfinished(self) -> Mapping[int, Job]:
        """Return the unfinished jobs by id, in order: the very same mapping for as long as none of them changes."""
        live = self._live()
        return {job.id: job for job in self._unfinished()} if live is None else live

    def last_id(self) -> int:
        """Return the id of the latest job that was ever stored; 0 before the first."""
        with self._database.read() as session:
            found: int | None = session.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'jobs'"))
        return found or 0

    def skip_ids(self, upto: int) -> bool:
        """Give no job an id up to this one any more; False when that is so already."""
        if upto <= self.last_id():
            return False
        with self._database.write() as session:
            connection = session.connection()
            found = connection.execute(text("UPDATE sqlite_sequence SET seq = :n WHERE name = 'jobs'"), {"n": upto})
            if not found.rowcount:
                connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES ('jobs', :n)"), {"n": upto})
        return True

    def job_states(self, job_ids: Collection[int]) -> dict[int, State]:
        """Return the state of each of these jobs; one that does not exist is absent."""
        if not job_ids:
            return {}
        live = self._live() or {}
        found = {job_id: live[job_id].state for job_id in job_ids if job_id in live}
        others = [job_id for job_id in job_ids if job_id not in found]
        if not others:
            return found
        query = select(JOBS.c.id, JOBS.c.state).where(among(JOBS.c.id, others))
        with self._database.read() as session:
            return found | {job_id: State(state) for job_id, state in session.execute(query)}

    def owners(self, job_ids: Collection[int]) -> dict[int, int]:
        """Return the uid of each of these jobs' submitters; a job that does not exist is absent."""
        live = self._live() or {} if job_ids else {}
        found = {job_id: live[job_id].uid for job_id in job_ids if job_id in live}
        others = [job_id for job_id in job_ids if job_id not in found]
        if not others:
            return found
        query = select(JOBS.c.id, JOBS.c.uid).where(among(JOBS.c.id, others))
        with self._database.read() as session:
            return found | {job_id: int(uid) for job_id, uid in session.execute(query)}

    def submissions(self, since: datetime, limit: int) -> list[Job]:
        """Return the jobs submitted at or after `since`, whatever became of them, by id; the newest `limit` of them."""
        query = select(JobRecord).where(JOBS.c.submitted_at >= since).order_by(JOBS.c.id.desc()).limit(limit)
        with self._database.read() as session:
            return [job_of(record) for record in session.scalars(query)][::-1]

    def job_counts(self) -> dict[State, int]:
        """Return how many jobs are in each state; a state without jobs is absent."""
        query = select(JOBS.c.state, func.count()).group_by(JOBS.c.state)
        with self._database.read() as session:
            return {State(state): count for state, count in session.execute(query)}

    def count_queued(self) -> int:
        """Return how many jobs are queued."""
        if self._live() is not None and (queued := self._database.live.count_queued()) is not None:
            return queued
        with self._database.read() as session:
            return session.scalar(select(func.count()).where(JOBS.c.state == State.QUEUED)) or 0

    def _live(self) -> Mapping[int, Job] | None:
        """Return the unfinished jobs by id from memory; None while they cannot be kept there."""
        live = self._database.live
        self._database.require_in_place()
        try:
            known = live.current()
            if known is not None:
                return known
            with self._database.locked() as is_ours:
                if not is_ours:  # nobody knows yet of the write in progress
                    return live.latest()
                known = live.current()  # another write may have ended just now
                return live.reload(self._unfinished) if known is None else known
        except sqlite3.Error:
            return None  # reading the file itself will say what is wrong with it

    def _unfinished(self) -> list[Job]:
        query = select(JobRecord).where(JOBS.c.state.in_(sorted(UNFINISHED))).order_by(JOBS.c.id)
        with self._database.read() as session:
            return [job_of(record) for record in session.scalars(query)]

    def events(
        self,
        job_id: int | None = None,
        limit: int = 1000,
        *,
        job_ids: Collection[int] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        after: int | None = None,
        before: int | None = None,
        actor: str | None = None,
        kinds: Collection[str] = (),
        visible_to: int | None = None,
    ) -> Sequence[Event]:
        """Return events in order, the latest `limit` of them: of these jobs, of this actor, of these kinds, in time.

        Those with an id above `after` are the first `limit` of them, so that nobody who goes on from there misses one;
        with `before`, only those with an id below it.
        With `visible_to`, only those of this user's jobs, what this user did, and what is about no job.
        """
        order = EVENTS.c.id.desc() if after is None else EVENTS.c.id
        query = select(EventRecord).order_by(order).limit(limit)
        wanted = [*job_ids, *([] if job_id is None else [job_id])]
        if wanted:
            query = query.where(among(EVENTS.c.job_id, wanted))
        if since is not None:
            query = query.where(EVENTS.c.at >= since)
        if until is not None:
            query = query.where(EVENTS.c.at < until)
        if after is not None:
            query = query.where(EVENTS.c.id > after)
        if before is not None:
            query = query.where(EVENTS.c.id < before)
        if actor is not None:
            query = query.where(EVENTS.c.actor == actor)
        if kinds:
            query = query.where(EVENTS.c.kind.in_(list(kinds)))
        if visible_to is not None:
            own = select(JOBS.c.id).where(JOBS.c.id == EVENTS.c.job_id, JOBS.c.uid == visible_to).exists()
            query = query.where(or_(EVENTS.c.job_id.is_(None), EVENTS.c.uid == visible_to, own))
        with self._database.read() as session:
            found = [event_of(record) for record in session.scalars(query)]
        return found if after is not None else found[::-1]


def _known(request: JobRequest) -> KnownRequest:
    named = request.key.key if request.key else ""
    return KnownRequest(f"the request {named} was accepted before, so its jobs are not added again")


def _is_of(job: Job, project: str | None, user: str | None, uid: int | None) -> bool:
    return project in (None, job.spec.project) and user in (None, job.user) and uid in (None, job.uid)

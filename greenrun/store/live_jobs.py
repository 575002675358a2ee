"""The unfinished jobs, kept in memory by id, because to read a long queue from the file takes longer than to plan it.

What the file says counts. A write applies what it changed once it is durable, and before the next write begins. Whether
anybody else has written, SQLite's `data_version` tells; then all is read again.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock

from greenrun.core.jobs.job import FINISHED, Job, State

Load = Callable[[], Iterable[Job]]


@dataclass(frozen=True, slots=True)
class _Known:
    """The unfinished jobs as of a commit, how many of them are queued, and how often one ended or was queued again."""

    jobs: Mapping[int, Job]
    version: int
    queued: int
    endings: int


class LiveJobs:
    """The unfinished jobs as of the last commit; `watch` is a connection of its own, which never writes."""

    def __init__(self, watch: sqlite3.Connection) -> None:
        self._watch = watch
        self._watching = Lock()
        self._known: _Known | None = None  # one attribute: no reader sees half a change
        self._endings = 0  # also of what was forgotten meanwhile

    def close(self) -> None:
        """Close the connection that watches."""
        with self._watching:
            self._watch.close()

    def version(self) -> int:
        """Return a number that differs after every commit of any other connection; raise sqlite3.Error."""
        with self._watching:
            return data_version(self._watch)

    def schema_version(self) -> int:
        """Return a number that each change of the schema raises, and each VACUUM; raise sqlite3.Error."""
        with self._watching:
            found: int = self._watch.execute("PRAGMA schema_version").fetchone()[0]
        return found

    def complete(self) -> None:
        """Write all that is in SQLite's log into the open file, as far as possible, and empty the log."""
        with self._watching, suppress(sqlite3.Error):
            self._watch.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Copy the whole database to another one; raise sqlite3.Error."""
        with self._watching:
            self._watch.backup(target)

    def current(self) -> Mapping[int, Job] | None:
        """Return the unfinished jobs by id, in order; None when they have to be read again. Never changed later."""
        known = self._current()
        return known.jobs if known else None

    def count_queued(self) -> int | None:
        """Return how many of them are queued; None when they have to be read again."""
        known = self._current()
        return known.queued if known else None

    def endings(self) -> int | None:
        """Return a number that is another one once a job has ended or was queued again; None while nobody knows."""
        known = self._current()
        return known.endings if known else None

    def latest(self) -> Mapping[int, Job] | None:
        """Return them as of the last commit that was taken in, which a write in progress is about to follow."""
        known = self._known
        return known.jobs if known else None

    def forget(self) -> None:
        """Have everything read again."""
        self._known = None

    def reload(self, load: Load) -> Mapping[int, Job]:
        """Read everything; only for who keeps all other threads from writing."""
        version = self.version()  # before the reading: what somebody commits meanwhile shows as another version
        jobs = {job.id: job for job in load()}
        self._endings += 1
        queued = sum(job.state is State.QUEUED for job in jobs.values())
        self._known = _Known(jobs, version, queued, self._endings)
        return jobs

    def apply(self, changed: Mapping[int, Job | None], version: int) -> None:
        """Take in what a commit has changed (None: a job is gone); `version` is the number since then."""
        known = self._known
        if known is None:
            return
        if not changed:
            self._known = replace(known, version=version)
            return
        before = known.jobs
        unfinished = {job_id: job for job_id, job in changed.items() if job and job.state not in FINISHED}
        jobs = {**before, **unfinished}
        for job_id in changed.keys() - unfinished.keys():
            jobs.pop(job_id, None)
        last = max(before, default=0)
        come = [job for job_id, job in unfinished.items() if job_id not in before]
        if any(job.id < last for job in come):
            jobs = dict(sorted(jobs.items()))
        are_new = all(job.id > last and job.requeued_at is None for job in come)
        self._endings += not are_new or len(unfinished) < len(changed)
        queued = known.queued - _queued(before.get(job_id) for job_id in changed) + _queued(unfinished.values())
        self._known = _Known(jobs, version, queued, self._endings)

    def _current(self) -> _Known | None:
        known = self._known
        return known if known and known.version == self.version() else None


def _queued(jobs: Iterable[Job | None]) -> int:
    return sum(job is not None and job.state is State.QUEUED for job in jobs)


def data_version(connection: sqlite3.Connection) -> int:
    """Return SQLite's count of the commits of other connections that this one has noticed."""
    found: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return found

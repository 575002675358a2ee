"""The unfinished jobs, kept in memory by id, because to read a long queue from the file takes longer than to plan it.

What the file says counts. A write applies what it changed once it is durable, and before the next write begins. Whether
anybody else has written, SQLite's `data_version` tells; then all is read again.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Lock

from greenrun.core.jobs.job import FINISHED, Job

Load = Callable[[], Iterable[Job]]


class LiveJobs:
    """The unfinished jobs as of the last commit; `watch` is a connection of its own, which never writes."""

    def __init__(self, watch: sqlite3.Connection) -> None:
        self._watch = watch
        self._watching = Lock()
        self._known: tuple[Mapping[int, Job], int] | None = None  # one attribute: no reader sees half a change

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
        known = self._known
        return known[0] if known and known[1] == self.version() else None

    def latest(self) -> Mapping[int, Job] | None:
        """Return them as of the last commit that was taken in, which a write in progress is about to follow."""
        known = self._known
        return known[0] if known else None

    def forget(self) -> None:
        """Have everything read again."""
        self._known = None

    def reload(self, load: Load) -> Mapping[int, Job]:
        """Read everything; only for who keeps all other threads from writing."""
        version = self.version()  # before the reading: what somebody commits meanwhile shows as another version
        jobs = {job.id: job for job in load()}
        self._known = jobs, version
        return jobs

    def apply(self, changed: Mapping[int, Job | None], version: int) -> None:
        """Take in what a commit has changed (None: a job is gone); `version` is the number since then."""
        if self._known is None:
            return
        before = self._known[0]
        unfinished = {job_id: job for job_id, job in changed.items() if job and job.state not in FINISHED}
        jobs = {job_id: job for job_id, job in before.items() if job_id in unfinished or job_id not in changed}
        jobs |= unfinished
        last = max(before, default=0)
        if any(job_id < last and job_id not in before for job_id in unfinished):
            jobs = dict(sorted(jobs.items()))
        self._known = (jobs if changed else before), version


def data_version(connection: sqlite3.Connection) -> int:
    """Return SQLite's count of the commits of other connections that this one has noticed."""
    found: int = connection.execute("PRAGMA data_version").fetchone()[0]
    return found

"""The SQLite file: how it is opened, what a transaction is, and its errors in greenrun's words."""

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.orm import Session

from greenrun.core.errors import StorageFull, StoreDamaged, StoreError, StoreLost
from greenrun.core.jobs.job import Job
from greenrun.host_shortage import lacking
from greenrun.store.columns import among
from greenrun.store.file_identity import DatabaseFiles
from greenrun.store.lineage import NEW_MARK
from greenrun.store.live_jobs import LiveJobs, data_version
from greenrun.store.records import job_of
from greenrun.store.tables import JOBS, JobRecord

SYNCHRONOUS = "FULL"  # a commit has reached the disk when it returns
INCREMENTAL = 2  # the mode in which free pages can be given back to the disk, a few at a time
BUSY_S = 5.0  # how long a transaction waits for another one's lock
CONNECTIONS = 64  # more than the API's and the scheduler's threads together
KEPT_OPEN = 8  # of them, when nobody uses any; each takes two descriptors
KEPT = "kept"  # where a transaction leaves the jobs it has written
NO_ROOM_BYTES = 1 << 20  # below this, a failed write is put down to the full disk


class Database:
    """Transactions over one SQLite file; safe to use from many threads. `write_failures` counts what was not stored.

    A write is BEGIN IMMEDIATE: a deferred one that reads first fails at once under WAL when another wrote meanwhile.
    `live` are the unfinished jobs in memory, which every write keeps current. Each call raises StoreLost, and a write
    also if it finds out only after its commit, once the file that is open is not the one at its path any more.
    """

    def __init__(self, path: Path, connections: int = CONNECTIONS) -> None:
        """Open it; who needs one more than `connections` at once waits for it, for BUSY_S at most."""
        self.path = path
        self._engine = connect(path, connections=connections)
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        self._changed: dict[int, None] = {}  # ids of the jobs that the write in progress has touched
        event.listen(self._engine, "connect", self._note_changes)
        with translated(path):
            watch = opened(path)
            watch.execute("SELECT 1 FROM sqlite_master").fetchone()  # from now on, SQLite's files beside it are there
            self.live = LiveJobs(watch)
        self._files = DatabaseFiles(path, self._schema_version)
        self.write_failures = 0
        self._write_trouble: StoreError | None = None
        self._damage: StoreDamaged | None = None
        self._one_writer = Lock()  # hands over at once within this process, where SQLite would sleep and retry

    def close(self) -> None:
        """Close all connections; the store cannot be used after that."""
        self._engine.dispose()
        try:
            self._files.require()
        except StoreLost:
            self.live.complete()  # else SQLite would apply what is left in its log to what is put in the file's place
        except StoreError:
            pass
        self.live.close()

    def require_in_place(self) -> None:
        """Raise StoreLost, or StoreDamaged, unless the open database is whole and the one at its path."""
        self._require()
        if self._files.is_written:
            with self.locked() as is_ours:  # else whoever writes has looked
                if is_ours:
                    self._require_own_content()

    def _require(self) -> None:
        self._files.require()
        if self._damage is not None:  # what is left of it may say that there is no such job
            raise StoreDamaged(str(self._damage))

    def _require_own_content(self) -> None:
        """Raise StoreDamaged where something else was written into the file, while nobody commits."""
        with self._noting_damage():
            self._files.require_own_content()

    def trouble(self) -> StoreError | None:
        """Return why nothing can be stored now, as far as that is known; None when all is well."""
        try:
            self.require_in_place()
            if self._write_trouble is not None:
                self._try_write()
        except StoreError as exc:
            return exc
        return None

    def expect_size(self, size: int) -> None:
        """Let the file become as small as that, in bytes, without taking it to be cut off."""
        self._files.expect(size)

    def rescue(self, target: Path) -> bool:
        """Copy the open database to `target` if its file was deleted; False if it was not. Raise StoreError.

        The file's content is there for as long as it is open.
        """
        if not self._files.is_deleted:
            return False
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            with translated(target), closing(sqlite3.connect(target)) as copy:
                self.live.copy_to(copy)
        except StoreError:  # on a disk that is full, say: half a copy is of no use, and each further one takes room
            target.unlink(missing_ok=True)
            raise
        return True

    def _schema_version(self) -> int:
        with translated(self.path):
            return self.live.schema_version()

    def _try_write(self) -> None:
        """Write something that changes nothing, to see whether the last failure is over; raise StoreError."""
        with self.write() as session:
            session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = version_num")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give one consistent view; raise StoreError."""
        self.require_in_place()
        with self._noting_damage(), translated(self.path), Session(self._engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a transaction that is durable when it is left, and undone when it raises; raise StoreError.

        What it leaves in `info[KEPT]` of the session are jobs by id as they are from now on.
        """
        if not self._one_writer.acquire(timeout=BUSY_S):
            self.write_failures += 1
            raise StoreError(_locked(self.path))
        try:
            with self._counted():
                self._require()
                if self._files.is_written:
                    self._require_own_content()
                with self._noting_damage(), translated(self.path), self._writer.connect() as connection:
                    raw: Any = connection.connection.dbapi_connection
                    with self._known_if_committed(), Session(connection, info={KEPT: {}}) as session, session.begin():
                        session.connection()  # begins now, and not with the first statement
                        self._changed.clear()
                        is_known = self.live.current() is not None
                        before, changes = data_version(raw), raw.total_changes
                        yield session
                        session.flush()
                        if raw.total_changes != changes:  # else there is nothing to make durable
                            raw.execute(NEW_MARK)
                    self._apply(connection, session.info[KEPT], before if is_known else None)
                self._files.require()  # what is acknowledged is in the file that has the name
        finally:
            self._one_writer.release()

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Keep all other threads from writing, without waiting for one that does; give whether that is so."""
        is_ours = self._one_writer.acquire(blocking=False)
        try:
            yield is_ours
        finally:
            if is_ours:
                self._one_writer.release()

    @contextmanager
    def _known_if_committed(self) -> Iterator[None]:
        """Forget the jobs when a transaction has failed in a way that leaves open what is in the file."""
        try:
            yield
        except (sqlite3.Error, SQLAlchemyError, StoreError):
            self.live.forget()
            raise

    def _apply(self, connection: Connection, kept: Mapping[int, Job], before: int | None) -> None:
        """Take what was committed into the unfinished jobs, or forget them if anybody else has written meanwhile."""
        if before is None:
            return
        try:
            version = self.live.version()
            changed: dict[int, Job | None] = {job_id: kept[job_id] for job_id in self._changed if job_id in kept}
            others = [job_id for job_id in self._changed if job_id not in kept]
            if others:
                with Session(connection.execution_options(begin="BEGIN")) as session:
                    found = session.scalars(select(JobRecord).where(among(JOBS.c.id, others)))
                    changed |= dict.fromkeys(others) | {record.id: job_of(record) for record in found}
            raw: Any = connection.connection.dbapi_connection
            if data_version(raw) == before:  # read after the other one: a commit in between would show here
                self.live.apply(changed, version)
                return
        except (sqlite3.Error, SQLAlchemyError):  # the write is durable, only what is in memory is not
            pass
        self.live.forget()

    def _note_changes(self, connection: sqlite3.Connection, _record: Any) -> None:
        """Have SQLite itself tell which jobs a write touches, whatever statement does it."""
        self._files.require()  # else this connection is one to another file
        connection.create_function("note_changed_job", 1, lambda job_id: self._changed.setdefault(job_id))
        for name, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")):
            connection.execute(
                f"CREATE TEMP TRIGGER note_{name.lower()} AFTER {name} ON main.jobs "
                f"BEGIN SELECT note_changed_job({row}.id); END"
            )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except StoreError as exc:
            self.write_failures += 1
            self._write_trouble = exc
            raise
        self._write_trouble = None

    @contextmanager
    def _noting_damage(self) -> Iterator[None]:
        try:
            yield
        except StoreDamaged as exc:
            self._damage = exc
            raise


def opened(path: Path) -> sqlite3.Connection:
    """Return a connection to a database that is there: SQLite by itself would make a new one. Raise sqlite3.Error."""
    there = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(there, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def connect(path: Path, *, foreign_keys: bool = True, connections: int = CONNECTIONS) -> Engine:
    """Return an engine on the file; its transactions are begun here, because the driver would begin them too late."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        creator=lambda: opened(path),
        pool_size=(kept := max(1, min(KEPT_OPEN, connections // 4))),
        max_overflow=connections - kept,
        pool_timeout=BUSY_S,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def create(path: Path) -> None:
    """Make the folder (0700) and the file (0600) where they are missing, and turn WAL on; raise StoreError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
    except OSError as exc:
        kind = StorageFull if exc.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(f"the database {path} cannot be opened ({exc.strerror}); greenrun does not start") from exc
    with translated(path), closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA auto_vacuum={INCREMENTAL}")  # heeded where the file has nothing in it yet
        connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the driver's and SQLAlchemy's errors into StoreError or StorageFull, each one sentence."""
    try:
        yield
    except DBAPIError as exc:
        raise _from_sqlite(path, exc.orig) from exc
    except sqlite3.Error as exc:
        raise _from_sqlite(path, exc) from exc
    except StatementError as exc:
        raise StoreError(f"nothing was stored: {exc.orig}") from exc
    except SQLAlchemyError as exc:
        raise StoreError(f"the database {path} cannot be used now ({exc}); nothing was stored") from exc


def _from_sqlite(path: Path, error: BaseException | None) -> StoreError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    primary = code & 0xFF  # an extended code keeps the plain one in its low byte
    if _is_full(path, code):
        return StorageFull(f"there is no room left for {path}; nothing was stored: free some space, then try again")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(_locked(path))
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(
            f"the database {path} is damaged or not a database ({error}); greenrun leaves it as it is: "
            "move it away, or put a backup in its place"
        )
    if primary == sqlite3.SQLITE_CANTOPEN and (what := _lacking()):
        return StoreError(
            f"the database {path} cannot be opened now: this machine is short of {what}; nothing was stored"
        )
    return StoreError(f"the database {path} refused ({error}); nothing was stored")


def _lacking() -> str:
    """Return what is lacking to open a file, which SQLite does not say; empty if one can be opened now."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as exc:
        return lacking(exc)
    return ""


def _is_full(path: Path, code: int) -> bool:
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE):  # the latter is how a quota shows
        return True
    if code & 0xFF not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) or not path.parent.is_dir():
        return False
    return shutil.disk_usage(path.parent).free < NO_ROOM_BYTES


def _locked(path: Path) -> str:
    return (
        f"the database {path} was locked for more than {BUSY_S:g} s; nothing was stored: "
        "try again, and look for another program that keeps it open"
    )

"""Acknowledged means durable; races have one winner; a full or locked disk is a sentence, after which all goes on."""

import ast
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import event

import greenrun
from greenrun.core.errors import StorageFull, StoreError
from greenrun.core.jobs.job import State
from greenrun.store import Store, database
from tests.patience import HANGS_S
from tests.store.examples import NOW, WHY, after, entry, running, spec, submit

AS_RELEASED = database.SYNCHRONOUS  # the tests let no store of their own process wait for the disk
SUBMIT_AND_WAIT = """
import sys
from datetime import timedelta
from pathlib import Path
from greenrun.clock import utc_now
from greenrun.core.jobs.job import JobSpec
from greenrun.store import Store

store = Store(Path(sys.argv[1]))
spec = JobSpec(command=("true",), workdir="/", duration=timedelta(hours=1))
print(store.jobs.add_job(spec, user="ada", uid=1000, now=utc_now())[0].id, flush=True)
sys.stdin.read()
"""


@pytest.mark.system
def test_an_acknowledged_job_is_there_after_kill_9(path: Path) -> None:
    command = [sys.executable, "-c", SUBMIT_AND_WAIT, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        job_id = int(process.stdout.readline())
        process.kill()
    with Store(path) as store:
        assert [(job.id, job.state) for job in store.jobs.jobs()] == [(job_id, State.QUEUED)]
        assert [each.kind for each in store.jobs.events()] == ["submitted"]


def test_every_commit_reaches_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SYNCHRONOUS", AS_RELEASED)
    with Store(path) as store, store.database.write() as connection:
        pragmas = ("synchronous", "journal_mode", "foreign_keys", "busy_timeout")
        values = {name: connection.connection().exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas}
    assert values == {"synchronous": 2, "journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 5000}


def at_once(calls: list[Callable[[], object]]) -> list[object]:
    """Make these calls in threads that set off together."""
    gate = Barrier(len(calls))

    def go(call: Callable[[], object]) -> object:
        gate.wait(timeout=HANGS_S)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(go, calls))


def test_of_two_daemons_that_claim_a_job_exactly_one_wins(path: Path, store: Store) -> None:
    with Store(path) as other:
        for _ in range(10):
            job = submit(store)
            claims = [partial(each.runs.claim, job.id, [], reason=WHY, now=NOW) for each in (store, other)]
            won = [run for run in at_once(claims) if run is not None]
            assert won == store.runs.of_jobs([job.id])[job.id]
            assert len(won) == 1


def test_of_two_jobs_that_claim_a_device_exactly_one_gets_it(path: Path, store: Store) -> None:
    with Store(path) as other:
        for number in range(10):
            wanted = [f"GPU-{number}"]
            claims = [
                partial(each.runs.claim, submit(store).id, wanted, reason=WHY, now=NOW) for each in (store, other)
            ]
            assert [run is not None for run in at_once(claims)].count(True) == 1


def test_one_unique_key_submitted_at_once_is_one_job(path: Path, store: Store) -> None:
    with Store(path) as other:
        stores = (store, other, store, other)
        answers = at_once(
            [partial(each.jobs.add_job, spec(unique_key="k"), user="ada", uid=1, now=NOW) for each in stores]
        )
    assert sorted(new for _, new in answers) == [False, False, False, True]  # type: ignore[misc]
    assert len(store.jobs.jobs()) == 1


def test_many_threads_may_use_one_store(store: Store) -> None:
    def submit_and_read() -> None:
        for _ in range(5):
            submit(store)
            store.jobs.jobs([State.QUEUED])
            store.jobs.set_reason({1: WHY}, now=NOW)

    at_once([submit_and_read] * 12)
    assert len(store.jobs.jobs()) == 60
    assert store.books.counters()["greenrun_jobs_submitted_total", ()] == 60


def test_reading_does_not_wait_for_a_writer_and_sees_what_was_committed(store: Store) -> None:
    job = submit(store)
    with store.database.write() as connection:
        connection.connection().exec_driver_sql("UPDATE jobs SET state = 'cancelled'")
        assert store.jobs.job(job.id).state is State.QUEUED
    assert store.jobs.job(job.id).state is State.CANCELLED


@contextmanager
def full(store: Store) -> Iterator[None]:
    """Let the database grow no further."""

    def limit(connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size when that is larger

    event.listen(store.database._engine, "checkout", limit)
    yield
    event.remove(store.database._engine, "checkout", limit)
    with store.database.read() as connection:
        connection.connection().exec_driver_sql("PRAGMA max_page_count = 1073741823")


@contextmanager
def failing_writes(store: Store) -> Iterator[None]:
    """Let the system refuse to make any file longer, as a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("trouble", [full, failing_writes])
def test_a_full_disk_refuses_the_job_whole_and_is_survived(
    store: Store, trouble: Callable[[Store], AbstractContextManager[None]]
) -> None:
    run = running(store)
    large = {"env": {"BLOB": "x" * 200_000}}
    before = store.jobs.jobs(), store.jobs.events(), store.books.counters()
    with trouble(store):
        with pytest.raises(StorageFull, match=r"no room left .* nothing was stored"):
            submit(store, **large)
        assert (store.jobs.jobs(), store.jobs.events(), store.books.counters()) == before
    assert submit(store, **large).id == run.job_id + 1
    store.books.append_slices([entry(0, run=run)], [], now=after(60))
    assert store.books.run_totals([run.id])[run.id].energy_j == 3_600


def test_a_database_locked_too_long_is_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    with Store(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="was locked for more than"):
            submit(store)
        other.execute("ROLLBACK")
        assert submit(store).id == 1


def test_a_database_that_was_damaged_is_a_sentence(path: Path) -> None:
    with Store(path) as store:
        submit(store)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(StoreError, match="damaged or not a database"), Store(path) as store:
        store.jobs.jobs()


def test_only_the_store_knows_sql() -> None:
    root = Path(greenrun.__file__).parent
    sources = [path for path in root.rglob("*.py") if root / "store" not in path.parents]
    users = {str(path) for path in sources if imported(path) & {"sqlite3", "sqlalchemy", "sqlmodel", "alembic"}}
    assert users == set()


def imported(path: Path) -> set[str]:
    """The top-level names that a module imports."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names}

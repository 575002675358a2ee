"""What is written to a database that is not at its path any more is not acknowledged; once it is back, all goes on."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from greenrun.clock import utc_now
from greenrun.core.conditions import ConditionCode
from greenrun.core.errors import StorageFull, StoreDamaged, StoreError, StoreLost
from greenrun.core.jobs.job import State
from greenrun.daemon.database_check import DatabaseCheck
from greenrun.store import Store, file_identity
from tests.store.examples import submit

Accident = Callable[[Path], object]


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def moved(path: Path) -> None:
    path.rename(beside(path, ".moved"))


def deleted(path: Path) -> None:
    path.unlink()


def folder_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def replaced(path: Path) -> None:
    shutil.copy(path, beside(path, ".copy"))
    beside(path, ".copy").replace(path)


def emptied_anew(path: Path) -> None:
    path.unlink()
    path.touch()


def became_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def log_deleted(path: Path) -> None:
    beside(path, "-wal").unlink()


def index_deleted(path: Path) -> None:
    beside(path, "-shm").unlink()


ACCIDENTS = [moved, deleted, folder_moved, replaced, emptied_anew, became_a_folder, log_deleted, index_deleted]


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_nothing_is_acknowledged_and_nothing_read_once_the_database_is_not_at_its_path(
    path: Path, store: Store, accident: Accident
) -> None:
    submit(store)
    accident(path)
    for call in (lambda: submit(store), store.jobs.jobs, lambda: store.jobs.jobs([State.QUEUED]), store.runs.live_runs):
        with pytest.raises(StoreLost, match="greenrun"):
            call()
    assert isinstance(store.database.trouble(), StoreLost)


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_a_write_that_is_committed_while_the_database_goes_is_not_acknowledged(
    path: Path, store: Store, accident: Accident
) -> None:
    def written() -> None:
        with store.database.write() as session:
            session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = version_num")
            accident(path)

    with pytest.raises(StoreLost):
        written()


@pytest.mark.parametrize("accident", [moved, folder_moved])
def test_all_goes_on_once_the_file_is_back(path: Path, store: Store, accident: Accident) -> None:
    first, folder = submit(store), path.parent
    accident(path)
    with pytest.raises(StoreLost):
        submit(store)
    if accident is moved:
        beside(path, ".moved").rename(path)
    else:
        folder.with_name("elsewhere").rename(folder)
    assert store.database.trouble() is None
    assert [job.id for job in store.jobs.jobs()] == [first.id]
    assert submit(store).id == first.id + 1


def test_no_new_database_appears_in_place_of_the_one_that_went(path: Path, store: Store) -> None:
    """Not even by connections that are made after it went."""
    with store.database.read(), store.database.read():
        path.unlink()
        with pytest.raises(StoreLost):
            store.jobs.jobs()
    assert not path.exists()


def test_what_a_deleted_database_held_is_copied_beside_it_once(path: Path, store: Store) -> None:
    job, check = submit(store), DatabaseCheck(store)
    beside(path, ".rescued-1").touch()
    path.unlink()
    with capture_logs():
        found = [check(utc_now()) for _ in range(3)]
    copy = beside(path, ".rescued-2")
    assert [row.code for rows in found for row in rows] == [ConditionCode.DATABASE_LOST] * 3
    assert str(copy) in found[0][0].remedy
    assert (copy.stat().st_mode & 0o777, beside(path, ".rescued-3").exists()) == (0o600, False)
    with Store(copy) as rescued:
        assert [row.id for row in rescued.jobs.jobs()] == [job.id]


def test_a_copy_that_fails_leaves_nothing_and_is_tried_again(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    submit(store)
    check = DatabaseCheck(store)
    path.unlink()
    with capture_logs():
        with monkeypatch.context() as patch:
            patch.setattr(store.database.live, "copy_to", fails)
            for _ in range(3):
                check(utc_now())
        assert list(path.parent.glob("*.rescued-*")) == []
        (told,) = check(utc_now())
    assert str(beside(path, ".rescued-1")) in told.remedy


def test_a_database_that_was_moved_is_not_copied(path: Path, store: Store) -> None:
    moved(path)
    assert not store.database.rescue(beside(path, ".rescued"))
    assert not beside(path, ".rescued").exists()


def test_a_database_that_is_cut_off_is_damaged_until_it_is_whole(path: Path, store: Store) -> None:
    whole = path.read_bytes()
    os.truncate(path, 0)
    with pytest.raises(StoreDamaged):
        submit(store)
    path.write_bytes(whole)
    assert store.database.trouble() is None


def test_damage_that_was_met_is_told_from_then_on(path: Path) -> None:
    with Store(path) as store:
        for _ in range(20):
            submit(store)
    with Store(path) as store:
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (path.stat().st_size - 4096))
        with pytest.raises(StoreDamaged):
            store.jobs.events()
        (found,) = DatabaseCheck(store)(utc_now())
    assert found.code is ConditionCode.DATABASE_DAMAGED


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_a_failed_write_is_told_until_one_succeeds(path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    check = DatabaseCheck(store)
    with store.database.write() as session:
        session.connection().exec_driver_sql("PRAGMA busy_timeout = 0")
    with locked(path):
        with pytest.raises(StoreError):
            submit(store)
        (found,) = check(utc_now())
    assert (found.code, "locked" in found.text) == (ConditionCode.DATABASE_UNUSABLE, True)
    assert check(utc_now()) == []


def test_no_room_is_told_as_a_full_disk_until_there_is_some(store: Store) -> None:
    def full(_: object) -> None:
        raise StorageFull("there is no room left for it; nothing was stored: free some space")

    check = DatabaseCheck(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_identity.DatabaseFiles, "require", lambda files: full(files))
        with pytest.raises(StorageFull):
            submit(store)
        assert [row.code for row in check(utc_now())] == [ConditionCode.DISK_FULL]
    assert check(utc_now()) == []


def checkpointed(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_smaller_older_copy_written_over_the_open_database_is_told_at_once(path: Path, store: Store) -> None:
    checkpointed(path)
    older = path.read_bytes()
    submit(store)
    with store.database.write() as session:
        session.connection().exec_driver_sql("CREATE TABLE much AS SELECT randomblob(1000000) AS text")
    checkpointed(path)
    store.database.require_in_place()
    path.write_bytes(older)
    for _ in range(2):
        with pytest.raises(StoreDamaged, match="written over"):
            submit(store)
    (found,) = DatabaseCheck(store)(utc_now())
    assert found.code is ConditionCode.DATABASE_DAMAGED


def test_a_database_that_sqlite_itself_makes_smaller_is_whole(path: Path, store: Store) -> None:
    with store.database.write() as session:
        session.connection().exec_driver_sql("CREATE TABLE much AS SELECT randomblob(1000000) AS text")
    checkpointed(path)
    store.database.require_in_place()
    before = path.stat().st_size
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DROP TABLE much")
        other.execute("VACUUM")
    checkpointed(path)
    assert path.stat().st_size < before
    assert submit(store).id == 1


def test_a_damaged_database_answers_nothing_more_and_takes_nothing(path: Path) -> None:
    """What is left of it would say that there is no such job, and what it took would be lost."""
    with Store(path) as store:
        for _ in range(20):
            submit(store)
    with Store(path) as store:
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (path.stat().st_size - 4096))
        with pytest.raises(StoreDamaged):
            store.jobs.events()
        for call in (lambda: submit(store), lambda: store.jobs.job(99), store.jobs.unfinished, store.runs.live_runs):
            with pytest.raises(StoreDamaged):
                call()


@pytest.mark.parametrize("accident", [deleted, moved])
def test_what_takes_the_place_of_a_lost_database_gets_nothing_of_its_log(path: Path, accident: Accident) -> None:
    with Store(path) as store:
        submit(store)
    older = path.read_bytes()
    with Store(path) as store:
        for _ in range(20):
            submit(store)
        checkpointed(path)
        submit(store)
        accident(path)
    path.write_bytes(older)
    with Store(path) as store:
        assert len(store.jobs.unfinished()) == 1
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    if accident is moved:
        with closing(sqlite3.connect(beside(path, ".moved"))) as other:
            assert other.execute("SELECT count(*) FROM jobs").fetchone() == (22,)

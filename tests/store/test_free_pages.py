"""A database that holds less than it did becomes smaller, a little at a time, and is not taken to be cut off."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from greenrun.core.errors import StoreDamaged
from greenrun.store import Store, free_pages
from greenrun.store.database import INCREMENTAL
from tests.store.examples import NOW, after, entry

ROWS = 3000


@pytest.fixture(autouse=True)
def _few_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_pages, "FEW_PAGES", 8)
    monkeypatch.setattr(free_pages, "AT_ONCE", 16)


def pragma(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def fill_and_empty(store: Store) -> None:
    store.books.append_slices([entry(60 * number) for number in range(ROWS)], [], now=NOW)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        for table in ("unsettled", "slices"):
            connection.execute(f"DELETE FROM {table}")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def checkpoint(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_free_pages_are_given_back_and_the_store_goes_on(path: Path, store: Store) -> None:
    fill_and_empty(store)
    before = path.stat().st_size
    assert store.shrink() > 100
    checkpoint(path)
    assert path.stat().st_size < before / 2
    store.books.append_slices([entry()], [], now=NOW)
    assert len(store.books.entries()) == 1
    assert store.shrink() == 0


def test_a_file_that_is_cut_off_below_what_was_given_back_is_damaged_all_the_same(path: Path, store: Store) -> None:
    fill_and_empty(store)
    store.shrink()
    checkpoint(path)
    store.books.entries()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(StoreDamaged):
        store.books.entries()


def older(path: Path) -> None:
    """Make it a database of an earlier release, which cannot become smaller."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA auto_vacuum=0")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode=WAL")


def test_an_older_database_stays_as_it_is_while_most_of_it_is_used(path: Path) -> None:
    with Store(path) as store:
        store.books.append_slices([entry(60 * number) for number in range(ROWS)], [], now=NOW)
    older(path)
    with Store(path) as store:
        assert store.shrink() == 0
    assert pragma(path, "auto_vacuum") == 0


def test_an_older_database_that_is_mostly_free_is_rebuilt_when_it_is_opened(path: Path) -> None:
    Store(path).close()
    older(path)
    with Store(path) as store:
        fill_and_empty(store)
        assert store.shrink() == 0
        store.books.append_slices([entry(60)], [], now=after(60))
    before = path.stat().st_size
    with Store(path) as store:
        assert path.stat().st_size < before / 2
        assert len(store.books.entries()) == 1
    assert pragma(path, "auto_vacuum") == INCREMENTAL


def test_a_database_that_somebody_else_uses_is_not_rebuilt(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_pages, "BUSY_S", 0.05)
    Store(path).close()
    older(path)
    with Store(path) as store:
        fill_and_empty(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        free_pages.rebuild_if_mostly_free(path)
        other.execute("ROLLBACK")
    assert pragma(path, "auto_vacuum") == 0

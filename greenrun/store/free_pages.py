"""Gives room that is free inside the database back to the disk, a little at a time.

SQLite reuses free pages, but a file only shrinks where it was made to (`auto_vacuum`). New databases are made so. An
older one is rebuilt once, when it is opened and mostly free: what is left of it is small then, so that takes seconds.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection

from greenrun.store.database import BUSY_S, INCREMENTAL, Database
from greenrun.store.lineage import CHANGED

KEPT = 0.1  # of the file may be free: bookings of the next days use it again
FEW_PAGES = 4096  # 16 MiB, which are not worth moving anything for
AT_ONCE = 256  # pages in one transaction
REBUILT_FROM = 0.5  # an older database is rebuilt when so much of it is free


class _Pages(NamedTuple):
    total: int
    free: int

    @property
    def surplus(self) -> int:
        """How many free pages are more than may stay."""
        return self.free - max(FEW_PAGES, int(KEPT * self.total))


def shrink(database: Database) -> int:
    """Give back the pages that are free beyond what will soon be used again; return how many; raise StoreError."""
    given_back = 0
    while True:
        with database.read() as session:
            pages = _pages(session.connection())
        if pages.surplus <= 0:
            return given_back
        with database.write() as session:
            connection = session.connection()
            driver: Any = connection.connection.dbapi_connection
            driver.execute(f"PRAGMA incremental_vacuum({min(AT_ONCE, pages.surplus)})").fetchall()  # else one page goes
            driver.execute(CHANGED)  # SQLite counts giving pages back as no change
            left = _pages(connection).total
            database.expect_size(left * connection.exec_driver_sql("PRAGMA page_size").scalar_one())
        if left >= pages.total:  # an older database, which has to be rebuilt
            return given_back
        given_back += pages.total - left


def rebuild_if_mostly_free(path: Path) -> None:
    """Rebuild, before it is used, a database that cannot shrink by itself and is mostly free.

    Without the room for that, or when another program uses it, it stays as it is: whole, only larger than need be.
    """
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as connection:
            mode, total, free = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("auto_vacuum", "page_count", "freelist_count")
            )
            if mode != INCREMENTAL and free > max(FEW_PAGES, REBUILT_FROM * total):
                connection.execute(f"PRAGMA auto_vacuum={INCREMENTAL}")
                connection.execute("VACUUM")
    except sqlite3.Error:
        return


def _pages(connection: Connection) -> _Pages:
    total, free = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in ("page_count", "freelist_count")
    )
    return _Pages(total, free)

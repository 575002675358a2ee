"""Whether a database and SQLite's log beside it belong together: if not, SQLite would mix the two without a word.

Every commit writes a mark of its own, and that of the commit before, into the only row of a table. A log (`-wal`) holds
all commits since the file was last complete, so the mark in the file itself is one of those in the log, or the one
before the first of them. An older copy that was put in the file's place while its log stayed has another one, unless
the log holds all that came since: then the two make the latest state.
"""

import os
import re
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from greenrun.core.errors import StoreError

# In one statement, so that a commit costs one page more and no question. Once in each transaction, just before its end:
# a second time, the mark would name one before it that no file ever had, and its own log would be refused.
NEW_MARK = """
    UPDATE lineage SET mark = 'commit:' || lower(hex(randomblob(8))) || ':' || substr(mark, 8, 16)
"""
CHANGED = "UPDATE lineage SET mark = mark"  # has a write mark its commit, where SQLite counts no change

_TEXT = re.compile(rb"commit:([0-9a-f]{16}):([0-9a-f]{16})")
_MARK = re.compile(rb"[\x00-\x7f]{2,9}?" + _TEXT.pattern)
_NONE = b"0" * 16  # before the first commit
_WAL_HEADER = struct.Struct(">8I")  # magic, version, page size, checkpoint, two salts, two sums
_WAL_MAGIC = (0x377F0682, 0x377F0683)
_FRAME = struct.Struct(">6I")  # page, pages of the database after a commit, two salts, two sums
_LEAF = struct.Struct(">BHHHBH")  # a page of rows: its kind, free block, count, where the content begins; the first row
_TABLE_LEAF = 0x0D
_TRIES = 5  # while others write, the file and the log are not seen at the same instant


class Commit(NamedTuple):
    """A commit in a log: its mark, that of the one before, and the page that they are on."""

    mark: bytes
    before: bytes
    page: int
    page_bytes: int


class Lineage:
    """The commits of an open database as its file and log tell them, one look after another."""

    def __init__(self, path: Path) -> None:
        self._path, self._last = path, b""

    def is_whole(self) -> bool:
        """Whether the file continues what it was, and the log belongs to it; True where that cannot be told."""
        for _ in range(_TRIES):
            mark, known = _mark_by_sqlite(self._path), _marks(list(_commits(_log_of(self._path))))
            if mark is None or not known:
                return True
            places = {each: place for place, each in enumerate(known)}
            if mark in places and places[mark] >= places.get(self._last, 0):
                self._last = mark
                return True
        return False


def require_own_log(path: Path) -> None:
    """Raise StoreError when the log beside a database that is not open here is not its own, or is of a later state."""
    log = _log_of(path)
    for _ in range(_TRIES):
        commits = list(_commits(log))
        found = {*_marks_in_file(path, commits), _mark_by_sqlite(path)} - {None} if commits else set()
        if not found or not found.isdisjoint(_marks(commits)):
            return
    raise StoreError(
        f"the database {path} is not the one that {log.name} beside it belongs to: an older copy was put in its "
        "place, say, after greenrun was killed. greenrun does not start and leaves both as they are, lest they mix: to "
        f"use the file as it is, move {log.name} and {path.name}-shm away; to go on with what there was, put the "
        "former file back"
    )


def _log_of(path: Path) -> Path:
    real = Path(os.path.realpath(path))  # beside which SQLite keeps it, where the name is a link
    return real.with_name(f"{real.name}-wal")


def _mark_by_sqlite(path: Path) -> bytes | None:
    """Return the mark in the file itself, whatever is in its log; zeros without a table, None if unknown."""
    try:
        # Closing a descriptor of our own would give up the locks that SQLite has on the file in this process.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'lineage'").fetchone() is None:
                return _NONE
            found = connection.execute("SELECT CAST(mark AS BLOB) FROM lineage").fetchone()
    except sqlite3.Error:
        return None  # as while it is being completed, from page to page
    is_mark = _TEXT.fullmatch(found[0] or b"") if found else None  # else rows of another table are still in its place
    return is_mark[1] if is_mark else None


def _marks_in_file(path: Path, commits: Sequence[Commit]) -> Iterator[bytes]:
    """Yield the marks on the pages that they are on by the log: SQLite cannot read a file that is half completed."""
    pages = {row.page: row.page_bytes for row in commits}
    with suppress(OSError), path.open("rb") as file:
        for number, page_bytes in pages.items():
            file.seek((number - 1) * page_bytes)
            if found := _marks_on(file.read(page_bytes)):
                yield found[0]


def _marks(commits: Sequence[Commit]) -> Sequence[bytes]:
    """Return the mark before the first commit in a log and those of its commits, in order; nothing of one without."""
    return [commits[0].before, *(row.mark for row in commits)] if commits else []


def _commits(log: Path) -> Iterator[Commit]:
    """Yield the commits that were written into a log since it was begun anew."""
    try:
        file = log.open("rb")
    except OSError:
        return
    with file:
        head = file.read(_WAL_HEADER.size)
        if len(head) < _WAL_HEADER.size:
            return
        magic, _, page_bytes, _, *salts, _, _ = _WAL_HEADER.unpack(head)
        if magic not in _WAL_MAGIC:
            return
        while len(frame := file.read(_FRAME.size + page_bytes)) == _FRAME.size + page_bytes:
            number, _, *own, _, _ = _FRAME.unpack_from(frame)
            if own != salts:
                return  # what is left from before
            if found := _marks_on(frame[_FRAME.size :]):
                yield Commit(*found, page=number, page_bytes=page_bytes)


def _marks_on(page: bytes) -> tuple[bytes, bytes] | None:
    """Return the mark of a commit and of the one before, of a page whose only row they are."""
    if len(page) < _LEAF.size:
        return None
    kind, _, count, _, _, row = _LEAF.unpack_from(page)
    if kind != _TABLE_LEAF or count != 1:
        return None
    found = _MARK.match(page, row)
    return (found[1], found[2]) if found else None

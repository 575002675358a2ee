"""Whether the database that is open is still the one at its path: what goes into a file without a name is lost."""

import os
from collections.abc import Callable
from pathlib import Path

from greenrun.core.errors import StoreDamaged, StoreLost
from greenrun.store.lineage import Lineage

LEAST_BYTES = 512  # the smallest page: a database that has tables is never smaller
BESIDE = ("-wal", "-shm")  # SQLite's own files beside a database, there for as long as it is open

Place = tuple[int, int]


class DatabaseFiles:
    """The files of a database as they were when it was opened."""

    def __init__(self, path: Path, schema_version: Callable[[], int]) -> None:
        """Take note of the files; all of them must be there. A VACUUM raises what `schema_version` returns."""
        self.path = path
        self._schema_version = schema_version
        # No descriptor of our own: closing one would give up the locks that SQLite has on the file in this process.
        # While SQLite has it open, no other file gets its inode.
        status = path.stat()
        self._identity = _identity(status)
        self._size = status.st_size, schema_version()
        self._given_back_to: int | None = None
        self._lineage = Lineage(path)
        self._seen_ns = self._looked_at_ns = 0  # when the file was written last, as far as that was seen, and looked at
        self._beside = {place: found for place in self._places() if (found := _place(place))}

    @property
    def is_deleted(self) -> bool:
        """Whether the open database has no name left anywhere, so that it is gone once it is closed."""
        links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))  # noqa: PTH208 - of our own
        found = (status for link in links if (status := _status(Path(link))) and _identity(status) == self._identity)
        return any(status.st_nlink == 0 for status in found)

    def require(self) -> None:
        """Raise StoreLost unless the open database is the one at its path, StoreDamaged where it was cut off."""
        found = _status(self.path)
        if found is None or _identity(found) != self._identity:
            raise StoreLost(_lost(self.path, "was replaced by another file" if found else "was removed or moved away"))
        for place, identity in self._beside.items():
            if _place(place) != identity:
                raise StoreLost(_lost_beside(place))
        if found.st_size < LEAST_BYTES or self._is_short(found.st_size):
            raise self._overwritten()
        self._seen_ns = found.st_mtime_ns

    @property
    def is_written(self) -> bool:
        """Whether the file has been written since its content was looked at: by SQLite from its log, or by others."""
        return self._seen_ns != self._looked_at_ns

    def require_own_content(self) -> None:
        """Raise StoreDamaged where something else was written into the file; call it while nobody commits here."""
        seen_ns = self._seen_ns
        if not self._lineage.is_whole():
            raise self._overwritten()
        self._looked_at_ns = seen_ns

    def _overwritten(self) -> StoreDamaged:
        return StoreDamaged(
            f"the database {self.path} was cut off or written over while it was open; nothing is accepted and "
            "nothing is started: stop greenrun, put a backup in its place, and start it again"
        )

    def expect(self, size: int) -> None:
        """From now on let the file be as small as that, in bytes: SQLite is about to give free pages back."""
        self._given_back_to = size if self._given_back_to is None else min(size, self._given_back_to)

    def _is_short(self, size: int) -> bool:
        """Whether the file became smaller by somebody's hand. SQLite makes it so only in a VACUUM, or if `expect`ed."""
        before, version = self._size
        if size == before:
            return False
        if self._given_back_to is not None and self._given_back_to <= size < before:
            self._size = size, version
            return False
        if size < before:
            now = _status(self.path)
            if now is None or now.st_size >= before:  # it has grown since, and another thread saw that first
                return False
            found = self._schema_version()
            if found == version:
                return True
            # Not when it has grown: a VACUUM may be in the log by then, and the file be shortened later.
            version = found
        self._size = size, version
        return False

    def _places(self) -> list[Path]:
        real = self.path.resolve()  # beside which SQLite keeps them, where the name is a link
        return [real.with_name(f"{real.name}{ending}") for ending in BESIDE]


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _place(path: Path) -> Place | None:
    """Return which file a path names; None when there is none."""
    found = _status(path)
    return None if found is None else _identity(found)


def _identity(found: os.stat_result) -> Place:
    return found.st_dev, found.st_ino


def _lost(path: Path, how: str) -> str:
    return (
        f"the database {path} {how} while it was open, so nothing is accepted and nothing is started; "
        "jobs that run go on: put the file back, and greenrun goes on, or restart greenrun to use what is there then"
    )


def _lost_beside(path: Path) -> str:
    return (
        f"{path}, which belongs to the open database, was removed or replaced, so nothing is accepted and nothing is "
        "started; jobs that run go on: stop greenrun, which completes the database, and start it again"
    )

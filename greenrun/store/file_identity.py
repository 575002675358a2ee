"""Whether the database that is open is still the one at its path: what goes into a file without a name is lost."""

import os
import stat
from pathlib import Path

from greenrun.core.errors import StoreDamaged, StoreLost

LEAST_BYTES = 512  # the smallest page: a database that has tables is never smaller
BESIDE = ("-wal", "-shm")  # SQLite's own files beside a database, there for as long as it is open

Place = tuple[int, int]


class DatabaseFiles:
    """The files of a database as they were when it was opened."""

    def __init__(self, path: Path) -> None:
        """Take note of the files; all of them must be there."""
        self.path = path
        # Closing any other descriptor of a database gives up the locks that SQLite has on it in this process.
        self._opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        self._beside = {place: found for place in self._places() if (found := _place(place))}
        self._identity = _identity(os.fstat(self._opened))

    def close(self) -> None:
        """Release what is kept of the file."""
        os.close(self._opened)

    @property
    def is_deleted(self) -> bool:
        """Whether the open database has no name left anywhere, so that it is gone once it is closed."""
        return os.fstat(self._opened).st_nlink == 0

    def require(self) -> None:
        """Raise StoreLost unless the open database is the one at its path, StoreDamaged where it was cut off."""
        found = _place(self.path)
        if found != self._identity:
            raise StoreLost(_lost(self.path, "was replaced by another file" if found else "was removed or moved away"))
        for place, identity in self._beside.items():
            if _place(place) != identity:
                raise StoreLost(_lost_beside(place))
        if os.fstat(self._opened).st_size < LEAST_BYTES:
            raise StoreDamaged(
                f"the database {self.path} was cut off while it was open; nothing is accepted and nothing is started: "
                "stop greenrun, put a backup in its place, and start it again"
            )

    def _places(self) -> list[Path]:
        return [self.path.with_name(f"{self.path.name}{ending}") for ending in BESIDE]


def _place(path: Path) -> Place | None:
    """Return which file a path names; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _identity(found) if stat.S_ISREG(found.st_mode) else (0, 0)


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

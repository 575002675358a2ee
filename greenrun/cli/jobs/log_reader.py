"""Read a log over its parts: a full one is moved away and another begun, while somebody follows it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from greenrun.executors.log_file import MARK, PREVIOUS

_BLOCK_BYTES = 64 * 1024


class LogReader:
    """Gives what a log holds, oldest first, and then what is added to it: each byte that is kept, once."""

    def __init__(self, path: Path, opened: Callable[[Path], BinaryIO]) -> None:
        """Open the log by `opened`, which may raise its own errors."""
        self._path = path
        self._files: list[BinaryIO] = []
        latest = opened(path)
        self._files = [*self._before(latest), latest]

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def skip_to_last(self, lines: int) -> None:
        """Leave out all but the last so many lines of what there is; a pipe is passed on as it comes."""
        for place in range(len(self._files) - 1, -1, -1):
            lines -= _seek_to_last(self._files[place], lines)
            if lines <= 0:
                for file in self._files[:place]:
                    file.close()
                self._files = self._files[place:]
                return

    def copy(self, write: Callable[[BinaryIO], None]) -> None:
        """Pass on what was there or has been added since, file by file; `write` reads to the end of each."""
        write(self._files[0])
        while len(self._files) > 1 or self._has_moved_on():
            write(self._files[0])  # the last of it: it was still written to until it was moved away
            self._files.pop(0).close()
            write(self._files[0])

    def _has_moved_on(self) -> bool:
        """Add the parts that were begun after this one; return whether there are any."""
        current = self._files[0]
        latest = _opened(self._path)
        if latest is None:
            return False  # just being moved
        if _is_same(latest, current):
            latest.close()
            if current.seekable() and os.fstat(current.fileno()).st_size < current.tell():
                current.seek(0)  # it was emptied
            return False
        self._files += [*self._before(latest), latest]
        return True

    def _before(self, latest: BinaryIO) -> list[BinaryIO]:
        """Return the part before the latest, if that says that there is one which has not been read."""
        if not latest.seekable():
            return []
        begins = latest.read(len(MARK))
        latest.seek(0)
        previous = _opened(self._path.with_name(self._path.name + PREVIOUS)) if begins == MARK else None
        if previous is None:
            return []
        known = [latest, *self._files]
        if any(_is_same(previous, file) for file in known):
            previous.close()
            return []
        return [previous]


def _seek_to_last(file: BinaryIO, lines: int) -> int:
    """Go to where the last so many lines begin, or to the beginning; return how many lines follow."""
    if not file.seekable():
        return 0
    at = end = file.seek(0, os.SEEK_END)
    found = 0  # line ends before which a line begins, but for the one at the very end
    while at > 0 and lines:
        size = min(_BLOCK_BYTES, at)
        at -= size
        file.seek(at)
        block = file.read(size)
        stop = len(block) - (at + size == end and block.endswith(b"\n"))
        while (line_end := block.rfind(b"\n", 0, stop)) >= 0:
            found, stop = found + 1, line_end
            if found == lines:
                file.seek(at + line_end + 1)
                return lines
    file.seek(end if not lines else 0)
    return found + 1 if end and lines else 0


def _opened(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except OSError:
        return None


def _is_same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))

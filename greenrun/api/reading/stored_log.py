"""A run's log over its two parts, as one stretch of bytes: an offset counts all that was ever written to it.

The line that a part begins with says how much came before it, so offsets stay what they are when a full part is moved
away; what was dropped for good is skipped.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from greenrun.core.errors import JobNotFound, StoreError
from greenrun.executors.log_file import MARK, PREVIOUS

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a link or a FIFO must not lead or block us
_HEADING_BYTES = 512
_KEPT = re.compile(rb"; the (\d+) bytes before this line are in .*?(?:, and (\d+) bytes before those were dropped)?$")
_DROPPED = re.compile(rb"; all before this line, (\d+) bytes, was dropped")


class ReadLog(NamedTuple):
    """What was read of a log: from `start` on; `oldest` is the first byte that is still there, `end` is behind it."""

    data: bytes
    start: int
    oldest: int
    end: int


class _Part(NamedTuple):
    """An open file of a log, where it begins in it, and how long it is."""

    descriptor: int
    start: int
    size: int

    def read(self, start: int, end: int) -> bytes:
        first, last = max(start, self.start), min(end, self.start + self.size)
        return os.pread(self.descriptor, last - first, first - self.start) if last > first else b""


def read_log(path: Path, most_bytes: int, offset: int | None = None) -> ReadLog:
    """Return `most_bytes` of a log at most: from `offset` on, or where that is None its end.

    Raise JobNotFound when it is gone, StoreError when it cannot be read.
    """
    with _parts(path) as parts:
        oldest, end = parts[0].start, parts[-1].start + parts[-1].size
        start = max(end - most_bytes if offset is None else offset, oldest)
        data = b"".join(part.read(start, start + most_bytes) for part in parts)
        return ReadLog(data, start, oldest, end)


@contextmanager
def _parts(path: Path) -> Iterator[list[_Part]]:
    descriptors: list[int] = []
    try:
        latest = _opened(path, descriptors)
        has_more, before, dropped = _before(os.pread(latest, _HEADING_BYTES, 0))
        parts = [_Part(latest, (before or 0) + dropped, os.fstat(latest).st_size)]
        with suppress(JobNotFound, StoreError):  # what was before it may have been deleted
            if has_more:
                previous = _opened(path.with_name(path.name + PREVIOUS), descriptors)
                size = os.fstat(previous).st_size
                before = size if before is None else before
                parts = [
                    _Part(previous, dropped, min(size, before)),
                    parts[0]._replace(start=before + dropped),
                ]
        yield parts
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _before(heading: bytes) -> tuple[bool, int | None, int]:
    """Return what a part's first line says: whether there is one before it, of how many bytes, and how many are gone.

    The first line of a log whose path is very long may not be whole: then the size is None.
    """
    line = heading.partition(b"\n")[0]
    if not line.startswith(MARK):
        return False, 0, 0
    if kept := _KEPT.search(line):
        return True, int(kept[1]), int(kept[2] or 0)
    dropped = _DROPPED.search(line)
    return (False, 0, int(dropped[1])) if dropped else (True, None, 0)


def _opened(path: Path, descriptors: list[int]) -> int:
    """Open a plain file; raise JobNotFound when it is gone, StoreError when it is none or may not be read."""
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError as exc:
        raise JobNotFound(f"The log {path} is gone; the job's record stays.") from exc
    except OSError as exc:
        raise StoreError(f"The log {path} cannot be read ({exc.strerror}); look at it with your own rights.") from exc
    descriptors.append(descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise StoreError(f"The log {path} is not a plain file, so greenrun does not read it.")
    return descriptor

"""Read the end of a run's log: only the path that was recorded for it, and only a plain file."""

import os
import stat
from pathlib import Path

from greenrun.core.errors import JobNotFound, StoreError

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a link or a FIFO must not lead or block us


def tail(path: Path, limit_bytes: int) -> bytes:
    """Return at most the last `limit_bytes` of a log; raise JobNotFound when it is gone, StoreError when unreadable."""
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError as exc:
        raise JobNotFound(f"The log {path} is gone; the job's record stays.") from exc
    except OSError as exc:
        raise StoreError(f"The log {path} cannot be read ({exc.strerror}); look at it with your own rights.") from exc
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"The log {path} is not a plain file, so greenrun does not read it.")
        return os.pread(descriptor, limit_bytes, max(0, status.st_size - limit_bytes))
    finally:
        os.close(descriptor)

"""Let a training program report its progress to greenrun: a call that costs microseconds and never fails.

Standard library only, and nothing else of greenrun, so that this file can be copied into any environment.
"""

import atexit
import contextlib
import json
import os
import threading
import time
from collections import deque

VARIABLE = "GREENRUN_PROGRESS"  # names the file; greenrun sets it for each run
EVERY_S = 1.0  # so often at the most the file is written, but for the last word of a process


class _Reporter:
    """What this process has reported and not written yet; of several threads the latest report counts."""

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._due = 0.0
        self._unwritten: deque[tuple[float, str]] = deque(maxlen=1)

    def say(self, work: float, unit: str) -> None:
        """Remember it, and write it where the last writing is long enough ago."""
        self._unwritten.append((work, unit))
        if time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        """Write what is not written; where another thread is at it, leave it to its next call."""
        path = os.environ.get(VARIABLE)
        if not path or not self._unwritten or not self._writing.acquire(blocking=False):
            return
        try:
            self._due = time.monotonic() + EVERY_S
            with contextlib.suppress(Exception):  # whatever is wrong with it, training goes on
                work, unit = self._unwritten.pop()
                _replace(path, json.dumps({"work": float(work), "unit": str(unit)}))
        finally:
            self._writing.release()


def report(*, samples: float, unit: str = "samples") -> None:
    """Report how much this run has done since it began: a count of `unit`s that only grows.

    Call it as often as you like, from one process of the run only (rank 0, with the count of all ranks): the latest
    report counts. Outside greenrun it does nothing; it never raises, and at most once a second it writes a file.
    """
    if VARIABLE in os.environ:
        _reporter.say(samples, unit)


def _replace(path: str, line: str) -> None:
    """Replace a file atomically: readers find either the old line or the new one, whole."""
    new = f"{path}.{os.getpid()}.new"
    with open(new, "w", encoding="utf-8") as file:  # noqa: PTH123  # no pathlib: it would be most of the import's time
        file.write(line + "\n")
    os.replace(new, path)  # noqa: PTH105


def _reset_in_child() -> None:
    """In a forked child drop what the parent will report itself, and a lock whose holder does not exist here."""
    global _reporter
    _reporter = _Reporter()


_reporter = _Reporter()
os.register_at_fork(after_in_child=_reset_in_child)
atexit.register(lambda: _reporter.write())

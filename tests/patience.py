"""Waiting and timing in seconds that the machine gives: load makes a wait longer, and only a fault makes it fail.

Where others compute too, who wants a processor gets a part of one. Of each moment these clocks count that part alone,
as the kernel tells it, so a limit says how long something may take on a machine that has nothing else to do.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, TypeVar

import numpy as np

from greenrun.clock import utc_now

T = TypeVar("T")

LIMIT_S = 20.0
PAUSE_S = 0.02
MOST = 20.0  # whatever the load: a wait ends after so many times its limit
HANGS_S = 600.0  # where a limit is there only to end what hangs, and no promise is made of how long it takes
STAT = Path("/proc/stat")


class FairClock:
    """Counts seconds, of each moment only the part of a processor that was to be had in it."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._at_s = monotonic()
        self._processors, self._stolen = _times()

    def advance(self, most_s: float = float("inf")) -> float:
        """Count what has passed since the last call, at most so much: who slept and was woken late lost the rest."""
        now_s, (processors, stolen) = monotonic(), _times()
        share = (self._processors + processors) / 2 * (1 - _ratio(self._stolen, stolen))
        self.seconds += min(now_s - self._at_s, most_s) * share
        self._at_s, self._processors, self._stolen = now_s, processors, stolen
        return self.seconds


def _times() -> tuple[float, tuple[int, int]]:
    """Return the part of a processor that each gets who wants one now, and the stolen and all ticks since the boot."""
    lines = STAT.read_text().splitlines()
    running = next(int(line.split()[1]) for line in lines if line.startswith("procs_running"))
    ticks = [int(word) for word in lines[0].split()[1:9]]
    return min(1.0, (os.cpu_count() or 1) / max(1, running)), (ticks[7], sum(ticks))


def _ratio(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Return which part of the ticks between two looks another guest of this computer had."""
    return (after[0] - before[0]) / max(1, after[1] - before[1])


def until(condition: Callable[[], T], what: str | Callable[[], str] = "it is so", limit_s: float = LIMIT_S) -> T:
    """Return what `condition` returns once it is true; fail, saying `what` did not come, after `limit_s`."""
    clock, began_s = FairClock(), monotonic()
    while not (found := condition()):
        if clock.advance() > limit_s or monotonic() > began_s + MOST * limit_s:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {limit_s:g} s ({monotonic() - began_s:.1f} s by the wall clock): {told}")
        Event().wait(PAUSE_S)
        clock.advance(PAUSE_S)
    return found


def at_some_pace(judge: Callable[[float], object], paces: Sequence[float] = (1, 2, 5, 15)) -> None:
    """Let `judge` try a promise with all its times so many times as long, until one is long enough for this machine.

    For limits that the product keeps by the wall clock. Load upsets short times only; a fault is there at every pace.
    """
    for pace in paces[:-1]:
        try:
            judge(pace)
        except AssertionError:
            continue
        return
    judge(paces[-1])


def exit_code(process: "Popen[Any]", limit_s: float = LIMIT_S) -> int:
    """Return how a process ended; fail when it does not."""
    until(lambda: process.poll() is not None, f"{process.args!r} ends", limit_s)
    return int(process.returncode)


class Watch:
    """Tells how many seconds something was given, and how late the machine woke those who slept meanwhile."""

    def __init__(self) -> None:
        self._clock = FairClock()
        self._turn = Lock()
        self._at_s = [utc_now().timestamp()]
        self._given_s = [0.0]
        self._late_s = [0.0]

    @property
    def elapsed_s(self) -> float:
        """How long it has taken so far by the wall clock."""
        return self._at_s[-1] - self._at_s[0]

    @property
    def seconds(self) -> float:
        """How long it has taken so far, of the time that was given."""
        return self._given_s[-1]

    @property
    def whole_late_s(self) -> float:
        """For how much of it so far nobody was woken who should have been."""
        return self._late_s[-1]

    def given_s(self, since_s: float, until_s: float) -> float:
        """Return how much of the time between two instants (seconds since the epoch) was given to who wanted it."""
        return self._between(self._given_s, since_s, until_s)

    def late_s(self, since_s: float, until_s: float) -> float:
        """Return for how much of the time between two instants nobody was woken who should have been."""
        return self._between(self._late_s, since_s, until_s)

    def look(self, slept_s: float | None = None) -> float:
        """Count up to now, after a sleep that should have been so long; return the seconds so far."""
        with self._turn:
            given_s, at_s = self._clock.advance(float("inf") if slept_s is None else slept_s), utc_now().timestamp()
            late_s = 0.0 if slept_s is None else max(0.0, at_s - self._at_s[-1] - slept_s)
            self._given_s.append(given_s)
            self._late_s.append(self._late_s[-1] + late_s)
            self._at_s.append(at_s)
            return given_s

    def _between(self, sums: Sequence[float], since_s: float, until_s: float) -> float:
        with self._turn:
            first, last = np.interp([since_s, until_s], self._at_s, sums)
        return float(last - first)


@contextmanager
def watching() -> Iterator[Watch]:
    """Keep a watch on the block."""
    watch, over = Watch(), Event()

    def keep_looking() -> None:
        while not over.wait(PAUSE_S):
            watch.look(PAUSE_S)

    thread = Thread(target=keep_looking, name="watch", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
        watch.look()

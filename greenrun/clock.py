"""The only place that reads the wall clock; everything else is given `now`."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter

CLOCK_STEP_S = 2.0  # a wall clock that deviates this much from a steady one has been set
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # only Linux has the former


def utc_now() -> datetime:
    """Return the present instant, aware, in UTC."""
    return datetime.now(UTC)


def boot_s() -> float:
    """Return the seconds since the machine was started, suspended or not; setting the wall clock does not move it."""
    return time.clock_gettime(_BOOT)


def suspended_s() -> float:
    """Return for how long the machine has been suspended since it was started: what `time.monotonic` leaves out."""
    return boot_s() - time.monotonic()


def stopwatch() -> Callable[[], float]:
    """Return a function that tells how many seconds have passed since: what something took, whatever time it is."""
    began_s = perf_counter()
    return lambda: perf_counter() - began_s

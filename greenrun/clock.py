"""The only place that reads the wall clock; everything else is given `now`."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter

CLOCK_STEP_S = 2.0  # a wall clock that deviates this much from a steady one has been set
_TRIES, _AT_ONCE_S = 10, 0.1  # for two clocks to be read at once
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # only Linux has the former


def utc_now() -> datetime:
    """Return the present instant, aware, in UTC."""
    return datetime.now(UTC)


def boot_s() -> float:
    """Return the seconds since the machine was started, suspended or not; setting the wall clock does not move it."""
    return time.clock_gettime(_BOOT)


def both_clocks() -> tuple[datetime, float]:
    """Return the present instant and the seconds since the machine was started, of one moment."""
    for _ in range(_TRIES):
        before_s, now, after_s = boot_s(), utc_now(), boot_s()
        if after_s - before_s < _AT_ONCE_S:  # else this process waited in between
            break
    return now, after_s


def by_this_clock(wall: datetime, steady_s: float | None, clocks: tuple[datetime, float] | None = None) -> datetime:
    """Return when something was noted down, which `wall` says by the clock of then, as the present clock dates it.

    `steady_s` are seconds since this boot. Without them, or where they lie ahead, so that they cannot be of this clock,
    and where the clock was not set since, it is `wall`.
    """
    now, now_s = clocks or both_clocks()
    if steady_s is None or steady_s > now_s:
        return wall
    found = now - timedelta(seconds=now_s - steady_s)
    return found if abs(found - wall) > timedelta(seconds=CLOCK_STEP_S) else wall


def suspended_s() -> float:
    """Return for how long the machine has been suspended since it was started: what `time.monotonic` leaves out."""
    return boot_s() - time.monotonic()


def stopwatch() -> Callable[[], float]:
    """Return a function that tells how many seconds have passed since: what something took, whatever time it is."""
    began_s = perf_counter()
    return lambda: perf_counter() - began_s

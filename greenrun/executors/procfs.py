"""Read processes from /proc; light enough for the shim of every job to import."""

# ruff: noqa: PTH123, PTH208
# No pathlib: it would cost every shim a third of its start.

import contextlib
import os

Stat = tuple[str, int, int, int, int]


def process_stat(pid: int) -> Stat | None:
    """Return (state, parent, group, session, start time in ticks since boot) of a process, or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before it may contain anything
    except OSError:
        return None
    return fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19])


def start_ticks(pid: int) -> int:
    """Return when a process started, in ticks since boot; 0 when it is gone."""
    found = process_stat(pid)
    return found[4] if found else 0


def all_pids() -> list[int]:
    """Return the pids of all processes that can be seen."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def live_children(parent: int) -> list[int]:
    """Return the children of a process that have not ended."""
    found = ((pid, process_stat(pid)) for pid in all_pids())
    return [pid for pid, process in found if process and process[1] == parent and process[0] not in "ZX"]


def has_children() -> bool:
    """Tell whether anything of the tree is left, alive or not yet reaped."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def reap() -> dict[int, int]:
    """Collect the children that have ended; return the wait status of each."""
    ended = {}
    while has_children():
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        ended[pid] = status
    return ended


def signal_one(pid: int, number: int) -> None:
    """Signal a child; one that became another user's (by sudo) is left to end by itself."""
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def boot_id() -> str:
    """Return what tells this boot of the machine from every other."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()

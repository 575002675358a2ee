"""Read processes and the boot id from /proc, for executors and meters; the shim of every job imports it too."""

# ruff: noqa: PTH123, PTH208
# No pathlib: it would cost every shim a third of its start.

import os
from typing import NamedTuple


class ProcessStat(NamedTuple):
    """A process as /proc/PID/stat shows it; times are in clock ticks, `start_ticks` since boot.

    `own_ticks` is its own CPU time, `reaped_ticks` that of the children it has waited for.
    """

    state: str
    parent: int
    group: int
    session: int
    own_ticks: int
    reaped_ticks: int
    start_ticks: int

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended; a zombie has."""
        return self.state not in "ZX"

    @property
    def is_stopped(self) -> bool:
        """Whether a signal has stopped it; one that a debugger has stopped does not count."""
        return self.state == "T"


def process_stat(pid: int, proc: str = "/proc") -> ProcessStat | None:
    """Return the stat of a process, also of a zombie; None when it is gone. Raise OSError when it cannot be told."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before it may contain anything
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError, PermissionError):
        return None
    if len(fields) < 20:
        return None
    return ProcessStat(
        state=fields[0].decode(),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        own_ticks=int(fields[11]) + int(fields[12]),
        reaped_ticks=int(fields[13]) + int(fields[14]),
        start_ticks=int(fields[19]),
    )


def start_ticks(pid: int) -> int:
    """Return when a process started, in ticks since boot; 0 when it is gone."""
    stat = process_stat(pid)
    return stat.start_ticks if stat else 0


def process_name(pid: int, proc: str = "/proc") -> str:
    """Return the name of a process's program, cut to 15 bytes by the kernel; "?" when it is gone."""
    try:
        with open(f"{proc}/{pid}/comm", "rb") as file:
            name = file.read().decode(errors="replace").strip()
    except OSError:
        return "?"
    return "".join(sign if sign.isprintable() else "?" for sign in name) or "?"


def all_pids(proc: str = "/proc") -> list[int]:
    """Return the pids of all visible processes; raise OSError."""
    return [int(name) for name in os.listdir(proc) if name.isdigit()]


def boot_id() -> str:
    """Return the id of this boot of the machine; raise OSError."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()

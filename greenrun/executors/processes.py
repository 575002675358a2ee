"""Identify processes despite pid reuse, and signal, find and kill those of a run."""

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from greenrun import procfs
from greenrun.executors.run_folder import IN_PLACE, SUPERVISES


@cache
def this_boot() -> str:
    """Return the id of this boot of the machine; raise OSError without /proc."""
    return procfs.boot_id()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A process identified beyond doubt: a pid is not reused within one boot at the same start time."""

    boot_id: str
    pid: int
    start_ticks: int

    @classmethod
    def from_record(cls, record: dict[str, object], boot: str | None = None) -> "Identity | None":
        """Return the process that a record in a run's folder identifies; None if it identifies none."""
        boot_id, pid, ticks = boot or record.get("boot_id"), record.get("pid"), record.get("start_ticks")
        if isinstance(boot_id, str) and isinstance(pid, int) and isinstance(ticks, int) and pid > 0:
            return cls(boot_id=boot_id, pid=pid, start_ticks=ticks)
        return None

    def is_alive(self) -> bool:
        """Return whether it is still running; a zombie is not."""
        stat = procfs.process_stat(self.pid)
        is_same = stat is not None and stat.start_ticks == self.start_ticks and stat.is_alive
        return self.boot_id == this_boot() and is_same

    def is_stopped(self) -> bool:
        """Return whether it is alive, and stopped by a signal."""
        stat = procfs.process_stat(self.pid)
        return stat is not None and stat.is_stopped and self.is_alive()


def open_pidfd(process: Identity) -> int | None:
    """Return a pidfd of exactly this live process, None if it has ended; raise OSError without pidfds."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    is_it = False
    try:
        is_it = process.is_alive()
    finally:  # also when /proc cannot be read, for want of a second descriptor most of all
        if not is_it:
            os.close(descriptor)
    return descriptor if is_it else None


def send(process: Identity, number: int) -> bool:
    """Signal exactly this process; return False if it has ended. Raise PermissionError for another user's."""
    try:
        descriptor = open_pidfd(process)
    except OSError:  # a kernel or sandbox without pidfds: check the identity just before
        return process.is_alive() and _kill(process.pid, number)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _kill(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The marks of the processes of a run whose shim is gone; any one mark is enough, and so is a parent with one.

    `leaders` are the shim, the command, and the leaders of the sessions and groups that the run was last seen to have:
    processes in these are the run's, unless the leader's pid has been reused, which the kernel does only once session
    and group are empty. `seen` are processes that the shim saw.
    """

    lock: Path
    token: str
    leaders: Sequence[Identity] = ()
    seen: Sequence[Identity] = ()

    def find(self) -> list[Identity]:
        """Return this user's live processes that bear a mark, and what descends from them, except the caller."""
        alive = {pid: stat for pid in procfs.all_pids() if (stat := procfs.process_stat(pid)) and stat.is_alive}
        mine = {pid: stat for pid, stat in alive.items() if pid != os.getpid() and _is_own(pid)}
        groups = {leader.pid for leader in self.leaders if not _is_reused(leader)}
        seen = {(process.pid, process.start_ticks) for process in self.seen}
        lock = _inode(self.lock)
        found = {pid for pid, stat in mine.items() if (pid, stat.start_ticks) in seen}
        found |= {pid for pid, stat in mine.items() if self._is_marked(pid, stat, groups, lock)}
        while more := {pid for pid, stat in mine.items() if stat.parent in found and pid not in found}:
            found |= more
        return [Identity(boot_id=this_boot(), pid=pid, start_ticks=mine[pid].start_ticks) for pid in sorted(found)]

    def _is_marked(self, pid: int, stat: procfs.ProcessStat, groups: set[int], lock: tuple[int, int] | None) -> bool:
        if not groups.isdisjoint((stat.group, stat.session)):
            return True
        with suppress(OSError):  # it has just ended, or hides its environment and files
            return _has_token(pid, self.token) or _holds(pid, lock)
        return False


def _is_own(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid == os.getuid()
    return False


def _is_reused(leader: Identity) -> bool:
    stat = procfs.process_stat(leader.pid)
    return leader.boot_id != this_boot() or (stat is not None and stat.start_ticks != leader.start_ticks)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _has_token(pid: int, token: str) -> bool:
    """Whether it is of the run's command, or the run's shim; one whose folder is not in place yet does not count."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    if f"GREENRUN_RUN_TOKEN={token}".encode() in variables:
        return True
    return f"{SUPERVISES}={token}".encode() in variables and procfs.process_name(pid) == IN_PLACE


def _holds(pid: int, inode: tuple[int, int] | None) -> bool:
    return inode is not None and any(_inode(link) == inode for link in Path(f"/proc/{pid}/fd").iterdir())


def kill_all(find: Callable[[], Sequence[Identity]], limit_s: float) -> tuple[int, bool]:
    """Kill what `find` returns until it returns nothing; return how many were killed, and whether none is left.

    Some may be left after `limit_s`.
    """
    deadline = time.monotonic() + limit_s
    killed: set[Identity] = set()
    while found := find():
        if time.monotonic() >= deadline:
            return len(killed), False
        for process in found:
            with suppress(PermissionError):
                if send(process, signal.SIGKILL):
                    killed.add(process)
        _wait_for_end(found, deadline)
    return len(killed), True


def _wait_for_end(processes: Sequence[Identity], deadline: float) -> None:
    """Wait until the first of them ends, at most 50 ms: killing one may let others end."""
    poller, descriptors = select.poll(), []
    with suppress(OSError):
        descriptors = [found for process in processes if (found := open_pidfd(process)) is not None]
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    with suppress(OSError):  # fewer files may be open by now than are: then without waiting
        poller.poll(max(0.0, min(deadline - time.monotonic(), 0.05)) * 1000)
    for descriptor in descriptors:
        os.close(descriptor)

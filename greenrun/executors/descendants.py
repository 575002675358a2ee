"""Find, signal and reap what descends from a shim, and note it, so that it is found should the shim be killed.

A process may leave its session, close what it inherited and clear its environment: what it cannot hide is whose child
it was when it was seen.
"""

import contextlib
import os
import signal
import time

from greenrun.executors.run_folder import MEMBERS, VERSION, write_record
from greenrun.procfs import ProcessStat, all_pids, process_stat, start_ticks

FIRST_PAUSE_S, FIRST_LOOKS = (
    0.02,
    6,
)  # at first it is looked often: what hides does so when it starts. The pauses double
LOOK_EVERY_S = 1.0
LOOK_COST = 0.005  # the most of a processor that looking may take afterwards
LOOK_AT_ALL_EVERY = 60  # looks: who bears the pid of somebody else's process may be of the run by now
MOST = 4000  # of each in the record


class Members:
    """The live processes that descend from this one, and the leaders of their sessions and process groups."""

    def __init__(self, folder: str) -> None:
        self.look_at = 0.0
        self._folder = folder
        self._looks = 0
        self._processes: dict[int, int] = {}  # start times, in ticks, by pid
        self._leaders: dict[int, int] = {}  # 0 for one that had ended: whoever bears its pid later is another
        self._others: set[int] = set()

    def note(self) -> None:
        """Look, unless that was done just now, and write down what has changed."""
        began = time.monotonic()
        if began < self.look_at:
            return
        before, spent_s = (self._processes, self._leaders), time.process_time()
        with contextlib.suppress(OSError):
            self._look()
            if (self._processes, self._leaders) != before:
                self._write()
        spent_s = time.process_time() - spent_s
        first_s = FIRST_PAUSE_S * 2**self._looks if self._looks < FIRST_LOOKS else 0.0
        self._looks += 1
        self.look_at = began + (first_s or max(LOOK_EVERY_S, spent_s / LOOK_COST))

    def _look(self) -> None:
        """Find the descendants. Who was none will never be one, so its stat is not read again."""
        if self._looks % LOOK_AT_ALL_EVERY == 0:
            self._others = set()
        pids = set(all_pids())
        self._others &= pids
        stats = {pid: stat for pid in pids - self._others if (stat := process_stat(pid))}
        tree = {os.getpid()}
        while more := {pid for pid, stat in stats.items() if stat.parent in tree and pid not in tree}:
            tree |= more
        known = self._others | (stats.keys() - tree) | {0}
        self._others |= {pid for pid, stat in stats.items() if pid not in tree and stat.parent in known}
        self._processes = {pid: stats[pid].start_ticks for pid in sorted(tree) if _is_other_and_alive(pid, stats[pid])}
        leaders = {leader for pid in self._processes for leader in (stats[pid].session, stats[pid].group)}
        self._leaders = {pid: self._leaders.get(pid) or start_ticks(pid) for pid in sorted(leaders)}

    def _write(self) -> None:
        processes, leaders = (list(found.items())[:MOST] for found in (self._processes, self._leaders))
        record = {"version": VERSION, "processes": processes, "leaders": leaders}
        write_record(self._folder, MEMBERS, record, sync=False)


def _is_other_and_alive(pid: int, stat: ProcessStat) -> bool:
    return pid != os.getpid() and stat.is_alive


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

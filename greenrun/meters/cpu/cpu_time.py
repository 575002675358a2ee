"""CPU time per run: the key by which the energy of CPUs and DRAM is allocated to the runs of a host.

A run's share is its CPU time over that of the whole host, from the process tree under its supervisor, or from its
cgroup if that contains exactly this tree. The rest of the host's CPU time is no run's.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from greenrun.meters.cpu.process_tree import Tree, Trees, Used
from greenrun.meters.host import boot_id
from greenrun.meters.run_folders import NewFolders, Process, process_in, record_of

LEAST_BUSY_S = 0.02  # two ticks: less is too coarse to be allocated
_BUSY = (0, 1, 2, 5, 6)  # of the columns of /proc/stat: user, nice, system, irq, softirq; user includes guests


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """CPU seconds of the whole host, and of each live run by its label; only differences are meaningful."""

    host_s: float
    runs_s: Mapping[str, float] = field(default_factory=dict)


def shares(before: CpuTimes | None, after: CpuTimes | None) -> dict[str, float]:
    """Return each live run's share of the host's CPU time between two readings.

    They add up to at most 1. Empty if unknown: a reading is missing, or the host was idle.
    """
    if before is None or after is None or after.host_s - before.host_s < LEAST_BUSY_S:
        return {}
    used_s = {label: max(0.0, run_s - before.runs_s.get(label, 0.0)) for label, run_s in after.runs_s.items()}
    whole_s = max(after.host_s - before.host_s, sum(used_s.values()))  # the kernel's counts of ticks are not consistent
    return {label: run_s / whole_s for label, run_s in used_s.items()}


@dataclass(slots=True, kw_only=True)
class _Run:
    """A live run's CPU time; `cgroup_s` is the last value of its cgroup, None without one of its own."""

    used: Used
    cgroup_s: float | None
    total_s: float = 0.0


class CpuClock:
    """Reads the CPU time of the host and of every run in a folder of runs."""

    def __init__(self, runs: Path, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        self._folder, self._proc, self._cgroups = runs, proc, cgroups
        self._boot, self._tick_s = boot_id(), 1 / os.sysconf("SC_CLK_TCK")
        self._new, self._trees = NewFolders(runs), Trees(proc)
        self._live: dict[str, Process] = {}
        self._runs: dict[str, _Run] = {}

    def look(self, now: datetime) -> CpuTimes | None:
        """Return the times so far; None if /proc cannot be read. Fast enough for every second.

        A run counts from its start, so what it used before it was found is included.
        """
        host_s = self._host_s()
        if host_s is None:
            return None
        for name in self._new(now):
            record = record_of(self._folder / name / "run.json")
            supervisor = process_in(record)
            if supervisor and record.get("boot_id") == self._boot:
                self._live[name] = supervisor
        trees = self._trees.look(self._live)
        self._live = {label: self._live[label] for label in trees}
        self._runs = {label: self._counted(label, tree) for label, tree in trees.items()}
        return CpuTimes(host_s=host_s, runs_s={label: run.total_s for label, run in self._runs.items()})

    def _counted(self, label: str, tree: Tree) -> _Run:
        """Return a run with what it has used since the last call added."""
        cgroup_s = cgroup_seconds(self._proc, self._cgroups, self._live[label].pid, tree)
        run = self._runs.get(label)
        if run is None:
            run = _Run(used=Used({}), cgroup_s=None)
        tree_s = run.used.ticks(tree) * self._tick_s
        run.total_s += tree_s if cgroup_s is None or run.cgroup_s is None else max(0.0, cgroup_s - run.cgroup_s)
        run.cgroup_s = cgroup_s
        return run

    def _host_s(self) -> float | None:
        try:
            with (self._proc / "stat").open("rb") as file:
                columns = file.readline().split()[1:]
            return sum(int(columns[index]) for index in _BUSY) * self._tick_s
        except (OSError, ValueError, IndexError):
            return None


def cgroup_seconds(proc: Path, cgroups: Path, pid: int, tree: Tree) -> float | None:
    """Return the CPU seconds of a process's cgroup (version 2); None unless it contains exactly this tree."""
    try:
        lines = (proc / f"{pid}/cgroup").read_text(encoding="utf-8").splitlines()
        own = next((line[3:] for line in lines if line.startswith("0::")), "/")
        folder = cgroups / own.lstrip("/")
        if own == "/" or not _is_its_own(folder, tree):
            return None
        facts = dict(line.split() for line in (folder / "cpu.stat").read_text(encoding="ascii").splitlines())
        return int(facts["usage_usec"]) / 1e6
    except (OSError, ValueError, KeyError):
        return None


def _is_its_own(folder: Path, tree: Tree) -> bool:
    """Whether this cgroup and its descendants contain exactly the processes of the tree."""
    own = _members(folder / "cgroup.procs")
    if not own <= tree.keys():  # as in a cgroup shared by runs, whose subtree may be large
        return False
    return own.union(*map(_members, folder.glob("*/**/cgroup.procs"))) == tree.keys()


def _members(file: Path) -> set[int]:
    return {int(pid) for pid in file.read_text(encoding="ascii").split()}

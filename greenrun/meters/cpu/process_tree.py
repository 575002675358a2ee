"""The process trees of runs and their CPU time from /proc; cheap enough to read every second."""

from collections.abc import Mapping
from pathlib import Path

from greenrun.meters.run_folders import Process
from greenrun.procfs import ProcessStat, all_pids, process_stat

LOOK_AT_ALL_EVERY = 60  # calls: bounds how long a process with a reused pid stays unnoticed

Tree = Mapping[int, ProcessStat]


class Trees:
    """The processes below some roots. Others are read once and then skipped: none of them ever joins a tree."""

    def __init__(self, proc: Path) -> None:
        self._proc = str(proc)
        self._trees: dict[str, dict[int, ProcessStat]] = {}
        self._others: set[int] = set()
        self._looks = 0

    def look(self, roots: Mapping[str, Process]) -> Mapping[str, Tree]:
        """Return the processes of each tree by pid; a tree whose root has ended is absent.

        Parents are read before their children, so CPU time of a child reaped in between is counted late, never twice.
        """
        self._looks += 1
        if not roots.keys() <= self._trees.keys() or self._looks % LOOK_AT_ALL_EVERY == 0:
            self._others = set()
        self._trees = {label: tree for label, root in roots.items() if (tree := self._known(label, root))}
        if self._trees:
            self._assign_new()
        return self._trees

    def _known(self, label: str, root: Process) -> dict[int, ProcessStat]:
        """Return the known processes of a tree that still exist, the root first; empty without the root."""
        starts = {root.pid: root.start_ticks}
        starts |= {pid: stat.start_ticks for pid, stat in self._trees.get(label, {}).items()}
        found: dict[int, ProcessStat] = {}
        for pid, start_ticks in starts.items():
            stat = process_stat(pid, self._proc)
            if stat is not None and stat.start_ticks == start_ticks:
                found[pid] = stat
            elif pid == root.pid:
                return {}
        return found

    def _assign_new(self) -> None:
        """Assign the new processes to the trees of their parents."""
        tree_of = {pid: tree for tree in self._trees.values() for pid in tree}
        there = set(all_pids(self._proc))
        self._others &= there
        new = {
            pid: stat
            for pid in sorted(there - self._others - tree_of.keys())
            if (stat := process_stat(pid, self._proc))
        }
        for pid in new:
            ancestor, line = pid, [pid]
            while ancestor in new and ancestor not in tree_of and new[ancestor].parent not in line:
                ancestor = new[ancestor].parent
                line.append(ancestor)
            tree = tree_of.get(ancestor)
            for each in line:
                if tree is None:
                    self._others.add(each)
                elif each in new and each not in tree:
                    tree[each], tree_of[each] = new[each], tree


class Used:
    """The CPU time of one tree: it never decreases, whatever joins and leaves."""

    def __init__(self, tree: Tree) -> None:
        """Start counting after what this tree has used so far."""
        self._tree = tree
        self._owed = 0  # ticks of ended processes that have not appeared in a parent's reaped time yet

    def ticks(self, tree: Tree) -> int:
        """Return the ticks since the last call, including processes that started and ended in between.

        The time of a reaped process goes to its parent; that of one never reaped is lost since it was last read.
        """
        before, self._tree = self._tree, tree
        own = reaped = 0
        for pid, stat in tree.items():
            known = before.get(pid)
            if known is None or known.start_ticks != stat.start_ticks:
                own += stat.own_ticks + stat.reaped_ticks
            else:
                own += stat.own_ticks - known.own_ticks
                reaped += stat.reaped_ticks - known.reaped_ticks
        left = [stat for pid, stat in before.items() if pid not in tree or tree[pid].start_ticks != stat.start_ticks]
        gone = sum(stat.own_ticks + stat.reaped_ticks for stat in left)
        balance = reaped - gone - self._owed
        self._owed = min(max(0, -balance), gone)
        return max(0, own) + max(0, balance)

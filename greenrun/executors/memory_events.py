"""Tell whether the kernel ended processes of a run for want of memory: its control group has counted that.

Loaded by every shim: the standard library alone.
"""

# ruff: noqa: PTH123
# No pathlib: it would cost every shim a third of its start.

import contextlib

OWN_GROUP = "/greenrun-run-"  # the control group of a run's unit: in any other there is more than the run
MOST_BYTES = 4096


def oom_kills(membership: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> tuple[int, bool]:
    """Return how many processes of this run the kernel has killed for memory, and whether at the run's own limit.

    Nothing is counted where the run has no control group of its own, as in user mode.
    """
    with contextlib.suppress(OSError, ValueError):
        path = next((row[3:] for row in _read(membership).splitlines() if row.startswith("0::")), "")
        if OWN_GROUP in path:
            rows = dict(row.split(" ", 1) for row in _read(f"{root}{path}/memory.events").splitlines())
            return int(rows.get("oom_kill", 0)), int(rows.get("oom", 0)) > 0
    return 0, False


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(MOST_BYTES)

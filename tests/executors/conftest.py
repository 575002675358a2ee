"""A local executor in a folder of its own, which leaves nothing running."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from greenrun.executors.local import LocalExecutor
from tests.executors.bench import Bench, alive


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., LocalExecutor]]:
    """Make executors on one state folder (as restarts of the daemon do) and one host's locks."""
    made: list[LocalExecutor] = []

    def executor(
        state: str = "state", on_change: Callable[[], None] | None = None, cap: int = 1 << 20
    ) -> LocalExecutor:
        locks = tmp_path / "locks"
        made.append(
            LocalExecutor(runs_dir=tmp_path / state / "runs", locks_dir=locks, on_change=on_change, log_cap_bytes=cap)
        )
        return made[-1]

    yield executor
    for each in made:
        each.close()
    for record in tmp_path.glob("*/runs/*/run.json"):  # leave nothing running
        _end_shim(record)


@pytest.fixture
def bench(make: Callable[..., LocalExecutor], tmp_path: Path) -> Bench:
    return Bench(make(), tmp_path)


def _end_shim(record: Path) -> None:
    pid = json.loads(record.read_text() or "{}").get("pid")
    if pid and alive(pid) and "shim_entry" in Path(f"/proc/{pid}/cmdline").read_text():
        os.kill(pid, signal.SIGTERM)

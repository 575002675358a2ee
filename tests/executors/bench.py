"""What tests of executors share: runs to start, their folders, and waiting for a condition with a limit."""

import itertools
import json
import os
import signal
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from greenrun.core.jobs.job import Job, JobSpec, Run, State
from greenrun.core.jobs.runs.status import Phase, RunStatus
from greenrun.engine.ports import Executor
from tests.patience import until

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PATH = "/usr/local/bin:/usr/bin:/bin"
ENDED = frozenset({Phase.EXITED, Phase.LOST, Phase.INTERRUPTED, Phase.FENCED})
numbers = itertools.count(1)


class Bench:
    """An executor at work in a folder of its own. `executor` may be replaced, as a restart of the daemon does."""

    def __init__(self, executor: Executor, folder: Path) -> None:
        self.executor = executor
        self.uid = os.getuid()  # as whom its jobs run
        self.workdir = folder / "work"
        self.workdir.mkdir(exist_ok=True)

    def make(self, *command: str, devices: tuple[str, ...] = (), **spec: Any) -> tuple[Run, Job]:
        """Return a claimed run of a job, not started yet."""
        fields = {
            "command": command,
            "workdir": str(self.workdir),
            "duration": timedelta(minutes=1),
            "env": {"PATH": PATH},
        }
        number = next(numbers)
        job = Job(
            id=number,
            spec=JobSpec(**{**fields, "gpus": len(devices), **spec}),
            user="alice",
            uid=1000,
            state=State.STARTING,
            submitted_at=NOW,
        )
        run = Run(id=number, job_id=number, number=1, token=uuid.uuid4().hex, devices=devices, claimed_at=NOW)
        return run, job

    def start(self, *command: str, **fields: Any) -> Run:
        """Start a new run and return it at once."""
        run, job = self.make(*command, **fields)
        self.executor.start(run, job)
        return run

    def running(self, *command: str, **fields: Any) -> Run:
        """Start a new run and return it once its command is executed: its start is recorded just before."""
        run = self.start(*command, **fields)
        until(lambda: self.executor.poll(run).phase is Phase.RUNNING)
        until(lambda: is_executed(self.command(run), f"GREENRUN_RUN_TOKEN={run.token}".encode()))
        return run

    def command(self, run: Run) -> int:
        """Return the process number of a run's command."""
        return int(json.loads((self.executor._folder(run) / "started.json").read_text())["pid"])

    def end(self, run: Run) -> RunStatus:
        """Wait for the end of a run and return it."""
        until(lambda: self.executor.poll(run).phase in ENDED)
        return self.executor.poll(run)

    def write(self, name: str, text: str) -> None:
        """Write a file of the working folder that is the user's as whom jobs run."""
        (self.workdir / name).write_text(text)
        os.chown(self.workdir / name, self.uid, -1)

    def file(self, name: str) -> str:
        """Wait for a file of the working folder to have content and return that."""
        path = self.workdir / name
        until(lambda: path.exists() and path.stat().st_size > 0)
        return path.read_text()


def alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def is_executed(pid: int, mark: bytes) -> bool:
    """Tell whether a process runs its own program, and so bears a mark in its environment that it was given.

    Until then it is a copy of who started it, and for a moment nothing is to be read of it.
    """
    try:
        words, environment = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))
    except OSError:
        return False
    return b"shim_entry" not in words and mark in environment.split(b"\0")


def folder(tmp_path: Path, run: Run) -> Path:
    return tmp_path / "state" / "runs" / run.label


def record(tmp_path: Path, run: Run, name: str = "run.json") -> dict[str, object]:
    return json.loads((folder(tmp_path, run) / name).read_text())


def kill_shim(tmp_path: Path, run: Run) -> None:
    pid = int(str(record(tmp_path, run)["pid"]))
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))

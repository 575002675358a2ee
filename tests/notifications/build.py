"""Events, jobs and hooks that the tests of notifications share."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from greenrun.core.jobs.job import Event, Job, JobSpec, State
from greenrun.core.jobs.notices import Topic
from greenrun.notifications.hook import Hook, HookKind
from greenrun.notifications.message import Notification, notification

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)


def job(**changes: Any) -> Job:
    spec = JobSpec(
        command=("python", "train.py", "--api-key=sesame"), workdir="/home/ada", duration=timedelta(hours=1),
        env={"TOKEN": "hunter2"}, **changes,
    )  # fmt: skip
    return Job(id=12, spec=spec, user="ada", uid=1000, state=State.RUNNING, submitted_at=NOW)


def event(kind: str = "finished", id: int = 7, **detail: Any) -> Event:
    about = None if kind.startswith(("source", "condition", "budget")) else 12
    return Event(id=id, at=NOW, actor="scheduler", kind=kind, job_id=about, run_id=None, detail=detail)


def told(of: Job | None = None, about: Event | None = None) -> Notification:
    ended = event(state="failed", number=1, outcome="failed", exit_code=3)
    return notification(about or ended, of or job(name="train"), id="abc-7", host="box", attempt=1)


def hook(kind: HookKind = HookKind.COMMAND, **changes: Any) -> Hook:
    return Hook(**{"name": "ops", "kind": kind, "topics": frozenset(Topic), "only_asked": False} | changes)


def script(folder: Path, text: str) -> tuple[str, ...]:
    """A command that runs this with the shell."""
    path = folder / "hook.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return (str(path),)

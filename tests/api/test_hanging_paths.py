"""A path on a file system that hangs keeps none of the threads that answer requests."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from greenrun.api import advice, as_user, needs, submit
from greenrun.api.routes import run_logs
from greenrun.core.jobs.job import State
from greenrun.executors.units.folder_guard import FolderGuard
from tests.api.fakes import RUN, World, stored
from tests.patience import HANGS_S


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What a look waits for that hangs; a guard of its own, which gives up soon."""
    event = threading.Event()
    monkeypatch.setattr(as_user, "_guard", FolderGuard(0.05))
    yield event
    event.set()


@pytest.mark.parametrize(
    ("module", "name"), [(needs, "_why_not_folder"), (advice, "_is_there"), (submit, "noted"), (needs, "_why_not_log")]
)
def test_a_submission_whose_path_hangs_is_refused_and_nothing_is_accepted(
    monkeypatch: pytest.MonkeyPatch, hang: threading.Event, tmp_path: Path, module: Any, name: str
) -> None:
    world = World()
    monkeypatch.setattr(module, name, lambda *_: hang.wait(HANGS_S))
    parts = {"command": ["sh", "job.sh"], "workdir": str(tmp_path), "log": "log"}
    for _ in range(2):
        answer = world.submit(**parts)
        assert (answer.status_code, world.store.kept) == (503, {})
        assert "file system" in answer.json()["detail"]


def test_an_edit_whose_path_hangs_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, hang: threading.Event, tmp_path: Path
) -> None:
    world = World()
    world.store.keep(stored(1, State.QUEUED, gpus=0))
    before = dict(world.store.kept)
    monkeypatch.setattr(needs, "_why_not_folder", lambda _: hang.wait(HANGS_S))
    answer = world.ask("POST", "/v1/jobs/1/edit", json={"workdir": str(tmp_path)})
    assert (answer.status_code, world.store.kept) == (503, before)


def test_a_log_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch, hang: threading.Event, tmp_path: Path) -> None:
    world = World()
    world.store.keep(stored(1, State.RUNNING, gpus=0))
    world.store.job_runs[1] = [replace(RUN, id=1, number=1, log=str(tmp_path / "log"))]
    monkeypatch.setattr(run_logs, "read_log", lambda *_: hang.wait(HANGS_S))
    answer = world.ask("GET", "/v1/jobs/1/logs")
    assert (answer.status_code, "file system" in answer.json()["detail"]) == (503, True)

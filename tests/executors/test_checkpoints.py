"""A checkpoint of a run outlives the daemon that asked for it, and a run of another release is never asked for one."""

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.runs.status import EndedBy, Phase
from greenrun.executors.leftovers.checkpoints import CheckpointFolders
from greenrun.executors.local import LocalExecutor
from greenrun.executors.run_folder import write_record
from tests.executors.bench import Bench, folder, kill_shim, record
from tests.executors.contract import IDLES, SAVES
from tests.patience import at_some_pace, until

pytestmark = pytest.mark.system


def test_a_checkpoint_goes_on_while_no_daemon_runs_and_the_next_one_knows_of_it(
    bench: Bench, make: Callable[..., LocalExecutor]
) -> None:
    run = bench.start("sh", "-c", f"trap 'while [ ! -e go ]; do sleep 0.02; done; exit 85' USR1; {IDLES}")
    bench.file("ready")
    bench.executor.checkpoint(run, "the plan")
    bench.executor.close()
    bench.executor = make()
    assert bench.executor.poll(run).is_checkpointing
    (bench.workdir / "go").touch()
    status = bench.end(run)
    assert (status.exit_code, status.ended_by) == (85, EndedBy.CHECKPOINT)


def test_a_checkpoint_whose_signal_was_never_sent_is_known_and_can_be_asked_for_again(
    bench: Bench, tmp_path: Path
) -> None:
    run = bench.start("sh", "-c", f"{SAVES} {IDLES}")
    bench.file("ready")
    write_record(str(folder(tmp_path, run)), "stop.json", {"version": 2, "by": "x", "how": "checkpoint"}, sync=False)
    assert bench.executor.poll(run).is_checkpointing
    bench.executor.checkpoint(run, "the plan")
    assert bench.end(run).exit_code == 85


def test_a_shim_that_is_killed_while_its_command_checkpoints_is_lost(bench: Bench, tmp_path: Path) -> None:
    run = bench.start("sh", "-c", f"trap 'echo saving > saving; sleep 60' USR1; {IDLES}")
    bench.file("ready")
    bench.executor.checkpoint(run, "the plan")
    bench.file("saving")
    kill_shim(tmp_path, run)
    status = bench.end(run)
    assert (status.phase, status.exit_code, status.is_checkpointing) == (Phase.LOST, None, False)


def test_a_time_limit_that_passes_during_a_checkpoint_is_kept(bench: Bench) -> None:
    def kept(pace: float) -> None:  # a command that was not ready yet is not asked
        limit, ready = timedelta(seconds=0.5 * pace), bench.workdir / "ready"
        ready.unlink(missing_ok=True)
        run = bench.start("sh", "-c", f"trap '' USR1; {IDLES}", time_limit=limit)
        until(lambda: ready.exists() or bench.executor.poll(run).phase is Phase.EXITED)
        bench.executor.checkpoint(run, "the plan")
        assert bench.executor.poll(run).is_checkpointing
        assert bench.end(run).ended_by is EndedBy.TIME_LIMIT

    at_some_pace(kept)


def test_a_run_of_the_last_release_is_adopted_and_never_asked_to_checkpoint(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; exit 7")
    path = folder(tmp_path, run)
    write_record(str(path), "run.json", {**record(tmp_path, run), "version": 1}, sync=False)
    with pytest.raises(ExecutorError, match="older greenrun"):
        bench.executor.checkpoint(run, "the plan")
    assert (bench.executor.poll(run).phase, (path / "stop.json").exists()) == (Phase.RUNNING, False)
    (bench.workdir / "go").touch()
    bench.end(run)
    write_record(str(path), "exit.json", {**record(tmp_path, run, "exit.json"), "version": 1}, sync=False)
    assert bench.end(run).exit_code == 7


def test_a_stop_that_the_last_release_asked_for_is_a_stop(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sleep", "60")
    write_record(str(folder(tmp_path, run)), "stop.json", {"version": 1, "by": "cancel"}, sync=False)
    bench.executor.checkpoint(run, "the plan")
    status = bench.end(run)
    assert (status.exit_code, status.ended_by, status.detail) == (128 + 15, EndedBy.STOP, "stopped by cancel")


def test_a_job_with_an_unknown_checkpoint_signal_is_not_started(bench: Bench) -> None:
    run, job = bench.make("true", checkpoint_signal="NOPE")
    with pytest.raises(ExecutorError, match="no signal 'NOPE'"):
        bench.executor.start(run, job)


def test_a_folder_that_is_too_deep_to_be_deleted_stays_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user made folders in folders by the thousand: before Python 3.13 each takes a call of its own."""
    for name in ("1", "2"):
        (tmp_path / name).mkdir()
    delete = shutil.rmtree

    def rmtree(path: Path, **how: Any) -> None:
        if path.name == "1":
            raise RecursionError("maximum recursion depth exceeded")
        delete(path, **how)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    CheckpointFolders(tmp_path).delete(["1", "2"])
    assert [path.name for path in tmp_path.iterdir()] == ["1"]

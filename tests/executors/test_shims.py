"""A supervisor that comes late, is killed or never gets to its command: the run is started once or never."""

import os
import sys
import threading
from pathlib import Path

import pytest

from greenrun.core.energy.model import Device
from greenrun.core.jobs.job import Job, Run
from greenrun.core.jobs.runs.status import Phase
from greenrun.executors.local import LocalExecutor
from greenrun.executors.spawn import shim_spec, spawn_shim
from greenrun.executors.watcher import Watcher
from tests.executors.bench import Bench, alive, folder, kill_shim
from tests.patience import HANGS_S

pytestmark = pytest.mark.system

HOLDS_NOTHING = "import os, time; os.closerange(3, 100); open('pid', 'w').write(str(os.getpid())); time.sleep(60)"


def test_a_shim_that_comes_after_the_tombstone_starts_nothing(bench: Bench, tmp_path: Path) -> None:
    run, job = bench.make("sh", "-c", "echo started > started")
    assert bench.executor.fence(run)
    pid = _spawn(run, job, tmp_path)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert bench.executor.poll(run).phase is Phase.FENCED
    assert not (bench.workdir / "started").exists()
    assert [path.name for path in (tmp_path / "state" / "runs").iterdir()] == [run.label]


def test_of_two_shims_of_one_run_one_starts_the_command(bench: Bench, tmp_path: Path) -> None:
    run, job = bench.make("sh", "-c", "echo once >> count; sleep 0.3")
    ends = [os.waitpid(pid, 0)[1] for pid in [_spawn(run, job, tmp_path) for _ in range(4)]]
    assert sorted(map(os.waitstatus_to_exitcode, ends)) == [0, 3, 3, 3]
    assert bench.file("count") == "once\n"


def test_a_run_sees_its_gpus_in_their_makers_way_whatever_its_submitter_saw(tmp_path: Path) -> None:
    """HIP counts what ROCm's runtime leaves, so a variable of the submitter's shell would hide what the run holds."""
    ids = ("GPU-00000000000000a1", "GPU-00000000000000b2")
    gpus = [Device(id=name, index=index, model="", source="amd", vendor="amd") for index, name in enumerate(ids)]
    executor = LocalExecutor(runs_dir=tmp_path / "runs", locks_dir=tmp_path / "locks", devices=lambda: gpus)
    bench = Bench(executor, tmp_path)
    script = 'echo "$ROCR_VISIBLE_DEVICES $HIP_VISIBLE_DEVICES $CUDA_VISIBLE_DEVICES"'
    shown = {}
    for held in ((), (ids[1],), ids):
        env = {"PATH": os.environ["PATH"], "HIP_VISIBLE_DEVICES": "3", "ROCR_VISIBLE_DEVICES": "7"}
        status = bench.end(bench.start("sh", "-c", script, devices=held, env=env))
        shown[held] = Path(status.log or "").read_text().strip()
    executor.close()
    assert shown == {(): "-1", (ids[1],): f"{ids[1]} 0 0", ids: f"{','.join(ids)} 0,1 0,1"}


def _spawn(run: Run, job: Job, tmp_path: Path) -> int:
    pid, said = spawn_shim(_spec(run, job, tmp_path), (), run.label)
    os.close(said)
    return pid


def _spec(run: Run, job: Job, tmp_path: Path) -> dict[str, object]:
    return shim_spec(run, job, folder=folder(tmp_path, run), checkpoints=tmp_path, log_cap_bytes=1 << 20)


def test_a_run_whose_shim_was_killed_is_lost_once_its_tree_is_gone(bench: Bench, tmp_path: Path) -> None:
    script = "setsid sh -c 'echo $$ > detached; sleep 60' & sleep 60 & echo $! > plain; wait"
    run = bench.running("sh", "-c", script, devices=("GPU-a",))
    pids = [int(bench.file(name)) for name in ("plain", "detached")]
    kill_shim(tmp_path, run)
    assert list(bench.executor.held_elsewhere(["GPU-a"])) == ["GPU-a"]
    assert all(map(alive, pids))
    status = bench.end(run)
    assert (status.phase, [alive(pid) for pid in pids]) == (Phase.LOST, [False, False])
    assert status.started_at is not None
    assert bench.executor.held_elsewhere(["GPU-a"]) == {}


def test_a_process_that_kept_neither_lock_nor_group_is_found_by_its_token(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sh", "-c", 'setsid "$0" -c "$1" & wait', sys.executable, HOLDS_NOTHING)
    pid = int(bench.file("pid"))
    kill_shim(tmp_path, run)
    assert (bench.end(run).phase, alive(pid)) == (Phase.LOST, False)


def test_a_run_that_cannot_be_seen_dead_is_unknown(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.running("sleep", "60")
    kill_shim(tmp_path, run)
    monkeypatch.setattr("greenrun.executors.inspection.kill_all", lambda find, limit_s: (0, True))  # it finds nobody
    assert bench.executor.poll(run).phase is Phase.UNKNOWN
    monkeypatch.undo()
    assert bench.end(run).phase is Phase.LOST


def test_a_shim_that_died_before_it_started_the_command_bars_the_run(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sleep", "60")
    kill_shim(tmp_path, run)
    (folder(tmp_path, run) / "started.json").unlink()
    assert bench.end(run).phase is Phase.FENCED


def test_a_shim_in_place_that_has_not_started_its_command_is_not_running_yet(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sleep", "60")
    (folder(tmp_path, run) / "started.json").unlink()
    assert (bench.executor.poll(run).phase, bench.executor.fence(run)) == (Phase.ABSENT, False)


def test_why_a_shim_started_nothing_is_told(bench: Bench, tmp_path: Path) -> None:
    run, job = bench.make("true")
    bench.executor.fence(run)
    told = threading.Event()
    watcher = Watcher(told.set)
    pid, said = spawn_shim(_spec(run, job, tmp_path), (), run.label)
    watcher.expect_ready(said, run.token)
    assert told.wait(HANGS_S)
    watcher.close()
    os.waitpid(pid, 0)
    assert (
        "nothing was started, because the run's folder could not be put in place" in watcher.said(run.token).complaint
    )

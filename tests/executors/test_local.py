"""The local executor: the contract, and what a crash of the daemon, of a shim or of the machine leaves."""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.clock import utc_now
from greenrun.core.energy.model import Device
from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.job import Job, Run
from greenrun.core.jobs.runs.status import EndedBy, Phase
from greenrun.executors.local import LocalExecutor
from greenrun.executors.run_folder import IN_PLACE, write_record
from greenrun.executors.spawn import shim_spec, spawn_shim
from greenrun.executors.watcher import Watcher
from greenrun.procfs import process_name
from tests.executors.bench import NOW, Bench, alive, folder, kill_shim, record
from tests.executors.contract import IDLES, SAVES, STUBBORN, ExecutorContract
from tests.patience import HANGS_S, at_some_pace, until

pytestmark = pytest.mark.system

HOLDS_NOTHING = "import os, time; os.closerange(3, 100); open('pid', 'w').write(str(os.getpid())); time.sleep(60)"


class TestLocalExecutor(ExecutorContract):
    """The local executor keeps the promises of every executor."""


# a restart of the daemon


def test_a_restarted_daemon_adopts_a_run_and_learns_its_true_exit_code(
    bench: Bench, make: Callable[..., LocalExecutor]
) -> None:
    run = bench.running("sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; exit 7")
    bench.executor.close()
    bench.executor = make()
    assert bench.executor.poll(run).phase is Phase.RUNNING
    (bench.workdir / "go").touch()
    assert bench.end(run).exit_code == 7


def test_time_limit_is_kept_while_no_daemon_runs(
    bench: Bench, make: Callable[..., LocalExecutor], tmp_path: Path
) -> None:
    def kept(pace: float) -> None:  # a command that was not ready yet could not ignore TERM
        limit, grace = timedelta(seconds=0.3 * pace), timedelta(seconds=0.2)
        bench.executor = make()
        run = bench.start("sh", "-c", STUBBORN, time_limit=limit, grace=grace)
        bench.executor.close()
        until((folder(tmp_path, run) / "exit.json").exists)
        status = make().poll(run)
        assert (status.exit_code, status.ended_by) == (128 + 9, EndedBy.TIME_LIMIT)

    at_some_pace(kept)


def test_changes_are_told_for_spawned_and_for_adopted_runs(bench: Bench, make: Callable[..., LocalExecutor]) -> None:
    told = threading.Event()
    bench.executor = make(on_change=told.set)
    run = bench.start("sh", "-c", "while [ ! -e go ]; do sleep 0.02; done")
    assert told.wait(HANGS_S)
    assert bench.executor.poll(run).phase is Phase.RUNNING
    told_later = threading.Event()
    bench.executor = make(on_change=told_later.set)
    bench.executor.poll(run)
    assert not told_later.is_set()
    (bench.workdir / "go").touch()
    assert told_later.wait(HANGS_S)
    assert bench.executor.poll(run).phase is Phase.EXITED


def test_changes_are_told_on_a_kernel_without_pidfds(
    bench: Bench, make: Callable[..., LocalExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int) -> int:
        raise OSError("no pidfd here")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    told: list[Phase] = []
    bench.executor = executor = make(on_change=lambda: told.append(executor.poll(run).phase))
    run, job = bench.make("sleep", "60")
    executor.start(run, job)
    until(lambda: Phase.RUNNING in told)
    executor.stop(run, "test")
    until(lambda: Phase.EXITED in told)


# checkpoints, older and newer releases


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


# a delayed or dead shim


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


# the machine, and damaged folders


def test_a_run_of_another_boot_was_interrupted(bench: Bench, tmp_path: Path) -> None:
    run = bench.start("true")
    ended = bench.end(run)
    (folder(tmp_path, run) / "exit.json").unlink()
    changed = {**record(tmp_path, run), "boot_id": "another"}
    (folder(tmp_path, run) / "run.json").write_text(json.dumps(changed))
    until(lambda: bench.executor.poll(run).phase is not Phase.UNKNOWN)  # until the shim has let go of the lock
    status = bench.executor.poll(run)
    assert (status.phase, status.started_at) == (Phase.INTERRUPTED, ended.started_at)
    assert status.ended_at is not None


def test_what_a_run_left_in_its_folder_neither_hides_that_it_was_interrupted_nor_puts_its_end_ahead_of_now(
    bench: Bench, tmp_path: Path
) -> None:
    left = 'cd "$(dirname "$GREENRUN_PROGRESS")"; ln -s nowhere dangling; touch -d 2100-01-01 "$GREENRUN_PROGRESS"'
    run = bench.start("sh", "-c", left)
    bench.end(run)
    (folder(tmp_path, run) / "exit.json").unlink()
    changed = {**record(tmp_path, run), "boot_id": "another"}
    (folder(tmp_path, run) / "run.json").write_text(json.dumps(changed))
    until(lambda: bench.executor.poll(run).phase is not Phase.UNKNOWN)
    status = bench.executor.poll(run)
    assert status.phase is Phase.INTERRUPTED
    assert status.ended_at is not None
    assert status.ended_at <= utc_now()


@pytest.mark.parametrize("made", ["mkfifo exit.json", "ln -s /dev/zero exit.json", "mkfifo stop.json"])
def test_what_a_run_puts_in_the_place_of_a_record_is_neither_waited_for_nor_believed(bench: Bench, made: str) -> None:
    run = bench.running("sh", "-c", f'cd "$(dirname "$GREENRUN_PROGRESS")"; {made}; touch made; sleep 60')
    until(lambda: (bench.executor._folder(run) / "made").exists())
    assert bench.executor.poll(run).phase is Phase.RUNNING


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"token": "other", "exit_code": 0}', "\x00" * 4096])
def test_a_damaged_exit_record_is_never_an_exit_code(bench: Bench, tmp_path: Path, content: str) -> None:
    run = bench.start("true")
    bench.end(run)
    (folder(tmp_path, run) / "exit.json").write_text(content)
    status = bench.end(run)
    assert (status.phase, status.exit_code) == (Phase.LOST, None)
    assert "its exit record is damaged" in status.detail


def test_a_run_whose_folder_says_nothing_is_lost_only_when_nobody_holds_its_lock(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sleep", "60")
    pid = int(str(record(tmp_path, run)["pid"]))
    (folder(tmp_path, run) / "run.json").write_text("")
    with pytest.raises(ExecutorError, match="damaged"):
        bench.executor.fence(run)
    os.kill(pid, signal.SIGKILL)
    assert bench.end(run).phase is Phase.LOST


def test_a_vanished_runs_folder_is_unknown_and_nothing_is_started(bench: Bench, tmp_path: Path) -> None:
    run, job = bench.make("true")
    runs = tmp_path / "state" / "runs"
    away = runs.rename(tmp_path / "away")
    assert bench.executor.poll(run).phase is Phase.UNKNOWN
    runs.mkdir()
    assert bench.executor.poll(run).phase is Phase.UNKNOWN
    for act in (lambda: bench.executor.start(run, job), lambda: bench.executor.fence(run)):
        with pytest.raises(ExecutorError, match="runs"):
            act()
    runs.rmdir()
    away.rename(runs)
    assert bench.executor.poll(run).phase is Phase.ABSENT


def test_a_confirmed_run_whose_folder_was_removed_is_never_absent(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sleep", "60")
    confirmed = replace(run, started_at=bench.executor.poll(run).started_at)
    shim = int(str(record(tmp_path, run)["pid"]))
    hidden = folder(tmp_path, run).rename(tmp_path / "hidden")
    assert bench.executor.poll(confirmed).phase is Phase.UNKNOWN
    os.kill(shim, signal.SIGTERM)
    assert bench.end(confirmed).phase is Phase.LOST
    assert hidden.exists()


def test_a_run_whose_folder_was_removed_before_its_start_was_seen_is_alive_and_not_started_again(
    bench: Bench, tmp_path: Path
) -> None:
    run, job = bench.make("sleep", "60")
    bench.executor.start(run, job)
    until(lambda: bench.executor.poll(run).phase is Phase.RUNNING)
    shim = int(str(record(tmp_path, run)["pid"]))
    folder(tmp_path, run).rename(tmp_path / "hidden")
    assert (bench.executor.poll(run).phase, bench.executor.fence(run)) == (Phase.RUNNING, False)
    bench.executor.start(run, job)
    assert not folder(tmp_path, run).exists()
    os.kill(shim, signal.SIGTERM)
    assert bench.end(replace(run, started_at=run.claimed_at)).phase is Phase.LOST


def test_a_shim_is_found_without_its_folder_before_its_command_is_executed(bench: Bench, tmp_path: Path) -> None:
    """Then nothing of the run bears the token of its environment yet."""
    os.mkfifo(bench.workdir / "env")  # whoever reads it waits
    run = bench.start("true", env_file="env")
    until((folder(tmp_path, run) / "run.json").exists)
    shim = int(str(record(tmp_path, run)["pid"]))
    place = folder(tmp_path, run)
    until(lambda: process_name(shim) == IN_PLACE, "the shim has seen that its folder is in place")
    away = place.rename(tmp_path / "away")
    assert (bench.executor.poll(run).phase, bench.executor.fence(run)) == (Phase.RUNNING, False)
    away.rename(place)
    (bench.workdir / "env").write_text("")
    assert bench.end(run).exit_code == 0


def test_a_run_that_moved_its_own_folder_and_ended_at_once_is_lost_and_not_started_again(
    bench: Bench, tmp_path: Path
) -> None:
    run, job = bench.make("sh", "-c", 'echo once >> ran; mv "$(dirname "$GREENRUN_PROGRESS")" away')
    run = replace(run, claimed_at=utc_now())
    bench.executor.start(run, job)
    status = bench.end(run)
    assert (status.phase, status.started_at) == (Phase.LOST, run.claimed_at)
    bench.executor.start(run, job)
    assert (bench.executor.fence(run), bench.executor.poll(run).phase) == (False, Phase.LOST)
    assert bench.file("ran") == "once\n"


def test_a_run_that_ends_while_its_folder_is_moved_away_has_its_exit_code_once_it_is_back(
    bench: Bench, tmp_path: Path
) -> None:
    run = bench.running("sh", "-c", "while [ ! -e go ]; do sleep 0.05; done; exit 5")
    place = folder(tmp_path, run)
    away = place.rename(tmp_path / "away")
    (bench.workdir / "go").touch()
    until((away / "exit.json").exists, "the end is recorded where the folder is")
    away.rename(place)
    assert bench.end(run).exit_code == 5


def test_a_run_whose_record_was_removed_is_not_said_to_have_a_dead_supervisor(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sleep", "60")
    (folder(tmp_path, run) / "run.json").unlink()
    status = bench.end(run)
    gone = (
        f"who supervises it cannot be told, as somebody removed or damaged {folder(tmp_path, run) / 'run.json'}, and "
    )
    assert (status.detail.startswith(gone), status.detail.endswith(" found alive and killed")) == (True, True)


def test_a_folder_of_another_database_bars_the_run_of_that_name(bench: Bench, tmp_path: Path) -> None:
    run, job = bench.make("true")
    bench.executor.start(run, job)
    bench.end(run)
    other = replace(run, token="another")
    assert (bench.executor.poll(other).phase, bench.executor.fence(other)) == (Phase.FENCED, True)
    with pytest.raises(ExecutorError, match="not of this run"):
        bench.executor.start(other, job)
    assert bench.executor.poll(run).phase is Phase.EXITED


def test_a_folder_of_a_newer_greenrun_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    run = bench.start("true")
    bench.end(run)
    (folder(tmp_path, run) / "run.json").write_text(json.dumps({**record(tmp_path, run), "version": 99}))
    assert bench.executor.poll(run).phase is Phase.UNKNOWN


# devices, signals, secrets, logs, pruning


def test_two_daemons_of_one_machine_cannot_hold_one_device(bench: Bench, make: Callable[..., LocalExecutor]) -> None:
    run = bench.running("sleep", "60", devices=("GPU-a",))
    other = make("other")
    late, job = bench.make("sh", "-c", "echo late > late", devices=("GPU-b", "GPU-a"))
    assert list(other.held_elsewhere(["GPU-a", "GPU-b"])) == ["GPU-a"]
    with pytest.raises(ExecutorError, match=rf"GPU-a is locked by run {run.label} of user \d+ in .*/state/runs"):
        other.start(late, job)
    assert other.held_elsewhere(["GPU-b"]) == {}
    bench.executor.stop(run, "test")
    bench.end(run)
    other.start(late, job)
    until(lambda: other.poll(late).phase is Phase.EXITED)
    assert bench.file("late") == "late\n"


def test_the_environment_is_nowhere_on_disk_but_in_the_job(bench: Bench, tmp_path: Path) -> None:
    run = bench.start("true", env={"API_KEY": "hunter2"})
    bench.end(run)
    found = [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert found == []


def test_the_command_starts_with_default_signals_and_only_the_locks_open(bench: Bench) -> None:
    run = bench.start("/bin/cat", "/proc/self/status", devices=("GPU-a",))
    status = dict(line.split(":\t", 1) for line in Path(bench.end(run).log or "").read_text().splitlines())
    of_the_c_library = 0b11 << 31  # signals 32 and 33: glibc may leave them ignored, and no program can set them
    assert (int(status["SigBlk"], 16), int(status["SigIgn"], 16) & ~of_the_c_library) == (0, 0)
    run = bench.start("sh", "-c", "for n in /proc/$$/fd/*; do readlink $n; done", devices=("GPU-a",))
    opened = [
        line.rpartition("/")[2].partition(":")[0] for line in Path(bench.end(run).log or "").read_text().splitlines()
    ]
    assert sorted(opened) == sorted(["null", "pipe", "pipe", "lock", "GPU-a.lock"])


def test_a_program_that_saves_on_term_behind_a_shell_keeps_the_whole_grace(bench: Bench) -> None:
    saver = "trap 'sleep 0.5; echo saved > saved; exit 0' TERM; echo ready > ready; while :; do sleep 0.05; done"
    run = bench.start("sh", "-c", f'sh -c "{saver}" & wait', grace=timedelta(seconds=10))
    bench.file("ready")
    bench.executor.stop(run, "bob")
    status = bench.end(run)
    assert (status.ended_by, status.detail, bench.file("saved")) == (EndedBy.STOP, "stopped by bob", "saved\n")


def test_pruning_deletes_only_what_is_old_ended_and_not_kept(bench: Bench, tmp_path: Path) -> None:
    ended, kept = bench.start("true"), bench.start("true")
    barred, _ = bench.make("true")
    bench.executor.fence(barred)
    for run in (ended, kept):
        bench.end(run)
    alive_run = bench.running("sleep", "60")
    later = datetime.now(UTC) + timedelta(hours=1)  # noqa: TID251  (files carry the real time)
    assert bench.executor.prune({kept.label}, NOW - timedelta(days=9999)) == 0
    until(lambda: bench.executor.prune({kept.label}, later) == 0 and not folder(tmp_path, ended).exists())
    names = {path.name for path in (tmp_path / "state" / "runs").iterdir()}
    assert names == {kept.label, alive_run.label}


# work


def test_a_run_tells_of_its_work_while_it_runs_and_when_it_has_ended(bench: Bench) -> None:
    says = 'echo 5 > "$GREENRUN_PROGRESS"; echo ready > ready; while [ ! -e go ]; do sleep 0.02; done;'
    run = bench.running("sh", "-c", f'{says} echo \'{{"work": 9, "unit": "steps"}}\' > "$GREENRUN_PROGRESS"')
    until(lambda: (bench.workdir / "ready").exists())
    first = bench.executor.poll(run)
    assert (first.phase, first.work, first.work_unit) == (Phase.RUNNING, 5.0, "units")
    (bench.workdir / "go").touch()
    last = bench.end(run)
    assert (last.phase, last.exit_code, last.work, last.work_unit, last.work_fault) == (
        Phase.EXITED, 0, 9.0, "steps", "",
    )  # fmt: skip


def test_what_a_run_says_that_cannot_be_its_work_changes_nothing_else(bench: Bench) -> None:
    status = bench.end(bench.start("sh", "-c", 'echo garbage > "$GREENRUN_PROGRESS"; exit 3'))
    assert (status.phase, status.exit_code, status.work) == (Phase.EXITED, 3, None)
    assert "neither a number nor JSON" in status.work_fault

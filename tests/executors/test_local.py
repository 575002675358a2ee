"""The local executor: the contract, a restart of the daemon, devices, signals, secrets, logs, pruning and work."""

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.runs.status import EndedBy, Phase
from greenrun.executors.local import LocalExecutor
from tests.executors.bench import NOW, Bench, folder
from tests.executors.contract import STUBBORN, ExecutorContract
from tests.patience import HANGS_S, at_some_pace, until

pytestmark = pytest.mark.system


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

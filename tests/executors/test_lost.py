"""What becomes of runs whose supervisor is killed or stopped, and of processes that hide: what was seen is told."""

import json
import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.status import EndedBy, Phase
from greenrun.executors import local
from greenrun.executors.run_folder import write_record
from greenrun.procfs import all_pids, process_stat
from tests.executors.bench import Bench, alive, folder, is_executed, kill_shim, record
from tests.executors.contract import IDLES, STUBBORN
from tests.patience import at_some_pace, until

pytestmark = pytest.mark.system

# A process that leaves its session and parent, closes what it inherited and clears its environment.
ESCAPES = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 100)
        open("pid.new", "w").write(str(os.getpid()))
        os.rename("pid.new", "pid")
        os.execve("/bin/sleep", ["sleep", "60"], {})
    os._exit(0)
os.wait()
time.sleep(60)
"""


def shim_of(bench: Bench, tmp_path: Path, run: Run) -> int:
    return int(str(record(tmp_path, run)["pid"]))


def alive_in_group(group: int) -> list[int]:
    stats = {pid: process_stat(pid) for pid in all_pids()}
    return [pid for pid, stat in stats.items() if stat and stat.group == group and stat.is_alive]


def noted(tmp_path: Path, run: Run) -> set[int]:
    path = folder(tmp_path, run) / "members.json"
    return {pid for pid, _ in json.loads(path.read_text())["processes"]} if path.exists() else set()


@pytest.mark.parametrize(
    "script", [ESCAPES, ESCAPES.replace("os.wait()\ntime.sleep(60)", "os.wait(); os.execlp('sleep', 'sleep', '60')")]
)
def test_a_process_that_hid_is_found_once_its_shim_has_seen_it(bench: Bench, tmp_path: Path, script: str) -> None:
    run = bench.running(sys.executable, "-c", script)
    pid = int(bench.file("pid"))
    until(lambda: pid in noted(tmp_path, run))
    until(lambda: not psutil.Process(bench.command(run)).children(), "its parent has ended")
    kill_shim(tmp_path, run)
    status = bench.end(run)
    assert (status.phase, alive(pid)) == (Phase.LOST, False)
    assert status.detail == (
        "its supervisor died without recording its end, and 2 of its processes were found alive and killed"
    )


def test_a_child_of_a_process_that_hid_is_found_by_its_parent(bench: Bench, tmp_path: Path) -> None:
    """It is born after the shim was killed, and bears no mark of its own."""
    born = (
        "env -i setsid sh -c 'echo $$ > parent; exec 3>&- 4>&- 5>&- 6>&-; while [ ! -e go ]; do sleep 0.05; done; "
        'setsid sh -c "echo \\$\\$ > child; exec sleep 60" & wait\''
    )
    run = bench.running("sh", "-c", f"{born} & wait")
    parent = int(bench.file("parent"))
    until(lambda: parent in noted(tmp_path, run))
    kill_shim(tmp_path, run)
    (bench.workdir / "go").touch()
    child = int(bench.file("child"))
    assert (bench.end(run).phase, alive(parent), alive(child)) == (Phase.LOST, False, False)


def test_of_a_lost_run_with_nothing_alive_nothing_is_said_to_be_killed(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sh", "-c", IDLES)
    command = bench.command(run)
    shim = shim_of(bench, tmp_path, run)
    os.kill(shim, signal.SIGSTOP)
    until(lambda: stopped(shim))
    os.killpg(command, signal.SIGKILL)
    os.kill(shim, signal.SIGKILL)
    until(lambda: not alive(shim) and not alive_in_group(command))
    status = bench.end(run)
    assert (status.phase, status.detail) == (
        Phase.LOST,
        "its supervisor died without recording its end, and none of its processes was found alive",
    )


def test_a_stranger_with_the_pid_of_a_noted_process_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    """The record is made to name this test's own process, with the start time of another."""
    run = bench.running("sh", "-c", IDLES)
    until(lambda: noted(tmp_path, run))
    kill_shim(tmp_path, run)
    written = record(tmp_path, run, "members.json")
    written["processes"] = [[os.getppid(), 1], ["x"], [True], 7]
    written["leaders"] = [[os.getsid(0), 1], None]
    write_record(str(folder(tmp_path, run)), "members.json", written, sync=False)
    assert bench.end(run).phase is Phase.LOST


# stopped


def settled(pid: int) -> bool:
    """Whether a shell sleeps: a signal that finds it just before it waits would be looked at when that is over."""
    return psutil.Process(pid).status() == psutil.STATUS_SLEEPING


def stopped(pid: int) -> bool:
    stat = process_stat(pid)
    return stat is not None and stat.is_stopped


# A shell that is just starting a program stands still with it without counting as stopped, so this one only waits.
WAITS = "sleep 60 & echo ready > ready; wait"


@pytest.mark.parametrize("script", [WAITS, f"sh -c '{WAITS}' & wait"])
def test_a_stopped_command_is_continued_so_that_it_can_end_on_term(bench: Bench, tmp_path: Path, script: str) -> None:
    saves = f"trap 'echo saved > saved; exit 3' TERM; {script}"
    run = bench.running("sh", "-c", saves, grace=timedelta(seconds=300))
    bench.file("ready")
    command = bench.command(run)
    until(lambda: settled(command))
    os.killpg(command, signal.SIGSTOP)
    until(lambda: stopped(command))
    bench.executor.stop(run, "bob")
    status = bench.end(run)
    assert (status.exit_code, status.ended_by, bench.file("saved")) == (3, EndedBy.STOP, "saved\n")


def test_a_stopped_command_is_continued_so_that_it_can_checkpoint(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sh", "-c", f"trap 'exit 85' USR1; {WAITS}", grace=timedelta(seconds=300))
    bench.file("ready")
    command = bench.command(run)
    until(lambda: settled(command))
    os.killpg(command, signal.SIGSTOP)
    until(lambda: stopped(command))
    bench.executor.checkpoint(run, "the plan")
    status = bench.end(run)
    assert (status.exit_code, status.ended_by) == (85, EndedBy.CHECKPOINT)


def test_a_stopped_process_that_was_left_behind_is_continued_so_that_it_can_end(bench: Bench) -> None:
    stops = "echo $$ > left; kill -STOP $$; while :; do sleep 0.05; done"
    left = f"setsid sh -c 'trap \"echo over > over; exit\" TERM; {stops}' &"
    run = bench.running(
        "sh", "-c", f"{left} while [ ! -s left ]; do sleep 0.05; done; sleep 0.2", grace=timedelta(seconds=300)
    )
    status = bench.end(run)
    assert (status.exit_code, bench.file("over")) == (0, "over\n")
    assert status.left >= 1


def test_a_stopped_supervisor_is_woken_to_stop_its_run(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sh", "-c", IDLES)
    shim = shim_of(bench, tmp_path, run)
    os.kill(shim, signal.SIGSTOP)
    until(lambda: stopped(shim))
    bench.executor.stop(run, "bob")
    until(lambda: not alive(shim))
    status = bench.end(run)
    assert (status.exit_code, status.ended_by) == (128 + 15, EndedBy.STOP)


def test_a_stopped_supervisor_is_woken_to_keep_its_runs_time_limit(bench: Bench, tmp_path: Path) -> None:
    def kept(pace: float) -> None:
        run = bench.start("sh", "-c", IDLES, time_limit=timedelta(seconds=pace))
        until(lambda: bench.executor.poll(run).phase in (Phase.RUNNING, Phase.EXITED))
        shim = shim_of(bench, tmp_path, run)
        os.kill(shim, signal.SIGSTOP)
        until(lambda: stopped(shim) or not alive(shim))
        was_stopped = alive(shim)
        status = bench.end(run)
        assert (status.exit_code, status.ended_by) == (128 + 15, EndedBy.TIME_LIMIT)
        assert was_stopped, "it had not ended before"

    at_some_pace(kept)


def test_a_supervisor_that_somebody_keeps_stopped_is_ended_past_the_grace_with_its_tree(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "SHIM_GRACE_S", 0.2)
    monkeypatch.setattr(local, "SIGCONT", 0)  # as if it were stopped again at once
    run = bench.running("sh", "-c", STUBBORN, grace=timedelta(seconds=0.2))
    bench.file("ready")
    shim, command = shim_of(bench, tmp_path, run), bench.command(run)
    os.kill(shim, signal.SIGSTOP)
    until(lambda: stopped(shim))
    until(lambda: bench.executor.stop(run, "bob") or not alive(shim))
    status = bench.end(run)
    assert (status.phase, alive(command)) == (Phase.LOST, False)
    assert status.detail.startswith("its supervisor was stopped (SIGSTOP) past its grace, so greenrun killed it, and ")
    assert "found alive and killed" in status.detail


def test_a_supervisor_that_runs_is_given_all_the_time_it_takes(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "SHIM_GRACE_S", -1.0)
    run = bench.running("sh", "-c", f"trap 'sleep 0.5; exit 3' TERM; {IDLES}", grace=timedelta(seconds=60))
    bench.file("ready")
    for _ in range(3):
        bench.executor.stop(run, "bob")
    assert (bench.end(run).exit_code, bench.end(run).ended_by) == (3, EndedBy.STOP)


# left behind


@pytest.mark.parametrize(
    ("left", "count"),
    [("sleep 60 &", 1), ("sleep 60 & setsid sleep 60 &", 2), ("(sleep 60 &);", 1)],
)
def test_what_a_command_left_behind_is_counted_and_named(bench: Bench, left: str, count: int) -> None:
    run = bench.running("sh", "-c", f"{left} while [ ! -e go ]; do sleep 0.02; done; echo over; exit 4")
    until(lambda: sleepers(run) == count, "all that it leaves is executed")
    (bench.workdir / "go").touch()
    status = bench.end(run)
    words = {1: "greenrun: the command left 1 process, ended: sleep", 2: "greenrun: the command left 2 processes"}
    assert (status.exit_code, status.left) == (4, count)
    assert Path(status.log or "").read_text().startswith(f"over\n{words[count]}")


def sleepers(run: Run) -> int:
    """Return how many processes of a run sleep for a minute."""
    mark, count = f"GREENRUN_RUN_TOKEN={run.token}".encode(), 0
    for pid in all_pids():
        with suppress(OSError):
            count += Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x0060\0" and is_executed(pid, mark)
    return count


def test_what_ends_by_itself_soon_after_the_command_is_not_said_to_be_left(bench: Bench) -> None:
    def ended(pace: float) -> None:  # it has a second, in which it must get to a processor
        status = bench.end(bench.start("sh", "-c", "sleep 0.05 & echo over; exit 4"))
        assert (status.exit_code, status.left, Path(status.log or "").read_text()) == (4, 0, "over\n")

    at_some_pace(ended)


def test_what_a_pipe_to_tee_still_has_to_write_is_not_cut_off(bench: Bench) -> None:
    def written(pace: float) -> None:
        (bench.workdir / "fifo").unlink(missing_ok=True)
        slow = "(sleep 0.3; cat > seen) < fifo &"
        status = bench.end(bench.start("sh", "-c", f"mkfifo fifo; {slow} exec > fifo; echo one; echo two"))
        assert (status.exit_code, status.left, (bench.workdir / "seen").read_text()) == (0, 0, "one\ntwo\n")

    at_some_pace(written)

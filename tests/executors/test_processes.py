"""Processes are named beyond doubt, and the record of an end outlasts a full disk."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from greenrun.executors import run_folder, shim
from greenrun.executors.processes import Identity, Tree, send, this_boot
from greenrun.executors.run_folder import IN_PLACE, SUPERVISES
from greenrun.procfs import start_ticks
from tests.executors.bench import is_executed
from tests.patience import HANGS_S, until

pytestmark = pytest.mark.system

TOKEN = uuid4().hex  # others may test on this machine, too


@pytest.fixture
def process() -> Iterator[Identity]:
    mark = f"GREENRUN_RUN_TOKEN={TOKEN}".encode()
    with subprocess.Popen(["sleep", "60"], env={"GREENRUN_RUN_TOKEN": TOKEN}, start_new_session=True) as child:
        until(lambda: is_executed(child.pid, mark))
        yield Identity(boot_id=this_boot(), pid=child.pid, start_ticks=start_ticks(child.pid))
        child.kill()


def test_a_pid_with_another_start_time_is_another_process_and_is_not_signalled(process: Identity) -> None:
    reused = replace(process, start_ticks=process.start_ticks - 1)
    assert (process.is_alive(), reused.is_alive(), send(reused, signal.SIGKILL)) == (True, False, False)
    assert process.is_alive()


def test_an_ended_process_that_nobody_collected_is_not_alive(process: Identity) -> None:
    assert send(process, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert (process.is_alive(), send(process, signal.SIGKILL)) == (False, False)


def test_processes_are_found_by_token_or_session_but_not_by_a_reused_session(process: Identity, tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    reused = replace(process, start_ticks=process.start_ticks - 1)
    assert Tree(lock=lock, token=TOKEN).find() == [process]
    assert Tree(lock=lock, token="other", leaders=[process]).find() == [process]
    assert Tree(lock=lock, token="other", leaders=[reused]).find() == []


def test_a_shim_is_its_runs_only_once_its_folder_is_in_place(tmp_path: Path) -> None:
    name = (
        f"import ctypes; input(); ctypes.CDLL(None).prctl({shim.PR_SET_NAME}, {IN_PLACE.encode()!r}); print(); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen([sys.executable, "-ISc", name], env={SUPERVISES: "t2"}, **pipes) as child:
        tree = Tree(lock=tmp_path / "lock", token="t2")
        found = [tree.find()]
        child.stdin.write(b"\n")
        child.stdout.readline()
        found += [tree.find(), Tree(lock=tmp_path / "lock", token="t").find()]
        child.kill()
    assert [[each.pid for each in processes] for processes in found] == [[], [child.pid], []]


def test_the_end_is_recorded_once_the_disk_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(run_folder, "write", _failing(3, run_folder.write))
    shim.record_exit(str(tmp_path), {"exit_code": 5}, waits.append)
    assert (run_folder.read_record(str(tmp_path), "exit.json"), len(waits)) == ({"exit_code": 5}, 3)


def test_a_removed_folder_is_not_waited_for(tmp_path: Path) -> None:
    shim.record_exit(str(tmp_path / "removed"), {"exit_code": 5})
    assert not (tmp_path / "removed").exists()


def test_a_supervisor_that_was_suspended_takes_nothing_for_a_signal() -> None:
    """It is stopped past the time for which it waits, as when a laptop sleeps."""
    code = (
        "import time; from greenrun.executors.waiting import Waiter\n"
        "waiter = Waiter(); print('ready', flush=True); print(waiter.wait(time.monotonic() + 0.4) == 0)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == "ready\n"
        waiting.send_signal(signal.SIGSTOP)
        threading.Event().wait(0.7)
        waiting.send_signal(signal.SIGCONT)
        assert waiting.communicate(timeout=HANGS_S)[0] == "True\n"


def _failing(times: int, write: object) -> object:
    """Return `write`, made to find the disk full the first `times` times."""
    failures = iter([OSError(28, "No space left on device")] * times)

    def attempt(path: str, data: bytes, *, sync: bool) -> None:
        if failure := next(failures, None):
            raise failure
        write(path, data, sync=sync)  # type: ignore[operator]

    return attempt

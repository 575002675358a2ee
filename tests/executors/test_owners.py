"""Whose processes are is told by run, never by user, as long as any mark is left of that."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from greenrun.core.jobs.availability import ProcessOwner
from greenrun.core.jobs.job import Run
from greenrun.executors import owners
from greenrun.executors.local import LocalExecutor
from tests.executors.bench import Bench, is_executed
from tests.patience import until

SPAWN = "import os, subprocess, sys; {how}; print(child.pid, flush=True); sys.stdin.read()"
WAYS = {
    "a child": 'child = subprocess.Popen(["sleep", "600"])',
    "a daemon without a trace": 'child = subprocess.Popen(["sleep", "600"], env={}, start_new_session=True)',
}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    executor = LocalExecutor(runs_dir=tmp_path / "runs", locks_dir=tmp_path / "locks")
    yield Bench(executor, tmp_path)
    executor.close()


def sleeping(bench: Bench, way: str, tmp_path: Path) -> tuple[Run, int]:
    """Start a run whose command has started another process in this way; return that one's pid too."""
    log = tmp_path / "out"
    script = f"{SPAWN.format(how=WAYS[way])}; import time; time.sleep(600)"
    run = bench.running(sys.executable, "-c", script, log=str(log))
    return run, int(until(lambda: (log.exists() and log.read_text().split()) or None)[0])


def restarted(bench: Bench, tmp_path: Path) -> LocalExecutor:
    return LocalExecutor(runs_dir=tmp_path / "runs", locks_dir=tmp_path / "locks")


@pytest.mark.parametrize("way", WAYS)
def test_processes_of_a_run_are_known_however_they_were_started_also_after_a_restart(
    bench: Bench, tmp_path: Path, way: str
) -> None:
    run, pid = sleeping(bench, way, tmp_path)
    executor = restarted(bench, tmp_path)
    try:
        assert executor.owners([pid], [run])[pid].run == run.label
        assert executor.owners([pid], [])[pid].run in (None, run.label)  # by its token, where it has one
    finally:
        bench.executor.stop(run, by="the test")
        executor.close()


def test_one_of_the_same_user_that_no_run_started_is_of_no_run(bench: Bench) -> None:
    run = bench.running("sleep", "600")
    with subprocess.Popen(["sleep", "600"], env={"OF": "nobody"}, start_new_session=True) as other:
        try:
            until(lambda: is_executed(other.pid, b"OF=nobody"))
            found = bench.executor.owners([other.pid, os.getpid()], [run])
            assert {pid: row.run for pid, row in found.items()} == {other.pid: None, os.getpid(): None}
            assert found[other.pid].user == found[os.getpid()].user is not None
        finally:
            other.kill()
            bench.executor.stop(run, by="the test")


def test_a_process_without_any_ancestor_of_a_run_is_its_own_by_the_token_alone(bench: Bench) -> None:
    """As in a container that Docker's daemon started with `docker run -e GREENRUN_RUN_TOKEN`."""
    run = bench.running("sleep", "600")
    with subprocess.Popen(["sleep", "600"], env={"GREENRUN_RUN_TOKEN": run.token}, start_new_session=True) as contained:
        try:
            until(lambda: is_executed(contained.pid, b"GREENRUN_RUN_TOKEN=" + run.token.encode()))
            assert bench.executor.owners([contained.pid], [run])[contained.pid].run == run.label
        finally:
            contained.kill()
            bench.executor.stop(run, by="the test")


@pytest.mark.parametrize(
    ("groups", "is_contained"),
    [
        ("0::/system.slice/docker-4f3c.scope\n", True),
        ("12:pids:/docker/4f3c\n1:name=systemd:/docker/4f3c\n", True),
        ("0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-9a.scope\n", True),
        ("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-77.scope/container\n", True),
        ("0::/machine.slice/lxc.payload.box\n", True),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", False),
        ("0::/system.slice/docker.service\n", False),
        ("0::/system.slice/containerd.service\n", False),
        ("0::/system.slice/docker-deploy.service\n", False),
        ("0::/\n", False),
    ],
)
def test_a_process_in_a_container_is_told_by_its_control_groups(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, groups: str, is_contained: bool
) -> None:
    (tmp_path / "42").mkdir()
    (tmp_path / "42" / "cgroup").write_text(groups)
    monkeypatch.setattr(owners, "Path", lambda place: Path(str(place).replace("/proc", str(tmp_path))))
    assert bool(owners._container_of(42)) == is_contained


def test_what_a_run_has_left_behind_is_known_by_the_token_of_its_folder(bench: Bench, tmp_path: Path) -> None:
    run = bench.running("sleep", "600")
    bench.executor.stop(run, by="the test")
    environment = {"GREENRUN_RUN": run.label, "GREENRUN_RUN_TOKEN": run.token}
    with (
        subprocess.Popen(["sleep", "600"], env={**os.environ, **environment}) as left,
        subprocess.Popen(["sleep", "600"], env={**os.environ, **environment, "GREENRUN_RUN_TOKEN": "made up"}) as false,
        subprocess.Popen(["sleep", "600"], env={b"GREENRUN_RUN_TOKEN": b"\xff", b"GREENRUN_RUN": b"\xfe"}) as odd,
    ):
        try:
            tokens = {left.pid: run.token.encode(), false.pid: b"made up", odd.pid: b"\xff"}
            until(lambda: all(is_executed(pid, b"GREENRUN_RUN_TOKEN=" + token) for pid, token in tokens.items()))
            found = bench.executor.owners(tokens, [])
            assert [found[pid].run for pid in tokens] == [run.label, None, None]
        finally:
            for process in (left, false, odd):
                process.kill()


def test_one_that_has_ended_is_still_known_for_a_while_to_have_been_a_run_s(bench: Bench) -> None:
    run = bench.running("sleep", "600")
    pid = bench.command(run)
    assert bench.executor.owners([pid], [run])[pid].run == run.label
    bench.executor.stop(run, by="the test")
    until(lambda: not Path(f"/proc/{pid}").exists())
    assert bench.executor.owners([pid], [])[pid] == ProcessOwner(run=run.label, is_seen=False, has_ended=True)


def test_a_process_that_cannot_be_seen_is_nobody_s(bench: Bench) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    assert bench.executor.owners([gone.pid], [])[gone.pid] == ProcessOwner(is_seen=False)


def test_a_pid_that_may_be_of_another_namespace_is_believed_only_of_who_has_a_gpu_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "INITIAL_PID_NAMESPACE", "pid:[1]")
    with suppress(ProcessLookupError):
        assert bench.executor.owners([os.getpid()], [])[os.getpid()] == ProcessOwner(is_seen=False)
    monkeypatch.setattr(owners, "GPU_FILES", (str(Path(f"/proc/{os.getpid()}/fd/0").readlink()),))
    assert bench.executor.owners([os.getpid()], [])[os.getpid()].is_seen


def test_a_service_of_the_driver_is_no_occupant(bench: Bench, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-cuda-mps-server"
    program.write_bytes(Path("/bin/sleep").resolve().read_bytes())
    program.chmod(0o755)
    with subprocess.Popen([str(program), "600"]) as server:
        try:
            assert until(lambda: bench.executor.owners([server.pid], [])[server.pid].is_service)
        finally:
            server.kill()


def test_one_that_the_kernel_hides_from_this_user_is_another_user_s(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with /proc mounted with hidepid: a signal is refused, where there would be no process otherwise."""

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(owners.procfs, "process_stat", lambda pid: None)
    monkeypatch.setattr(owners.os, "kill", refuse)
    assert bench.executor.owners([42], [])[42] == ProcessOwner(user=None, is_seen=True)

"""In a booted systemd: runs as units keep the promises of every executor, and the kernel keeps their users apart."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from greenrun.clock import utc_now
from greenrun.core.energy.model import Device
from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.job import Job, Run
from greenrun.core.jobs.runs.status import EndedBy, Phase
from greenrun.executors.units import account, unit_status, user_folders
from greenrun.executors.units.account import account_of, acting_as, may
from greenrun.executors.units.bus import NotAsked, NotHeard, ServiceManager
from greenrun.executors.units.controllers import why_not_limited
from greenrun.executors.units.folder_guard import FolderGuard
from greenrun.executors.units.systemd_executor import SystemdExecutor
from greenrun.executors.units.unit_properties import unit_name
from tests.executors.bench import ENDED, Bench
from tests.executors.contract import IDLES, ExecutorContract
from tests.patience import HANGS_S, until

ALICE, BOB = (pwd.getpwnam(name).pw_uid for name in ("alice", "bob"))
GPUS = [
    Device(id=name, index=index, model="emulated", source="nvml", vendor="nvidia", memory_bytes=None, power_w=None)
    for index, name in enumerate(("GPU-a", "GPU-b"))
]


class UnitBench(Bench):
    """A bench whose jobs are of a user, in a folder of the user's."""

    def __init__(self, executor: SystemdExecutor, folder: Path) -> None:
        super().__init__(executor, folder)
        self.uid = ALICE
        os.chown(self.workdir, ALICE, -1)

    def make(self, *command: str, devices: tuple[str, ...] = (), **spec: Any) -> tuple[Run, Job]:
        run, job = super().make(*command, devices=devices, **spec)
        return run, replace(job, uid=self.uid, user=pwd.getpwuid(self.uid).pw_name)

    def as_user(self, uid: int, *command: str, **spec: Any) -> Run:
        """Start a run of another user."""
        self.uid = uid
        try:
            return self.start(*command, **spec)
        finally:
            self.uid = ALICE


@pytest.fixture
def folder() -> Path:
    """A folder that all users can pass through: pytest's own are root's alone."""
    found = Path(tempfile.mkdtemp(dir="/srv"))
    found.chmod(0o755)
    return found


@pytest.fixture
def make(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SystemdExecutor]]:
    """Make executors on one state folder, as restarts of the daemon do; a loaded machine makes folders slowly."""
    monkeypatch.setattr(user_folders, "MADE_WITHIN_S", HANGS_S)
    made: list[SystemdExecutor] = []

    def executor(**more: Any) -> SystemdExecutor:
        made.append(
            SystemdExecutor(
                state=folder / "state",
                locks_dir=folder / "locks",
                devices=lambda: GPUS,
                log_cap_bytes=1 << 20,
                **{"user_of": lambda _: ALICE, **more},
            )
        )
        return made[-1]

    yield executor
    manager = ServiceManager()
    for name, _ in manager.running("greenrun-run-*"):  # leave nothing running
        manager._unless_gone("KillUnit", "ssi", (name, "all", signal.SIGKILL))
    until(lambda: not manager.running("greenrun-run-*"))
    manager.close()
    for each in made:
        each.close()


@pytest.fixture
def bench(make: Callable[..., SystemdExecutor], folder: Path) -> UnitBench:
    return UnitBench(make(), folder)


def log_of(bench: Bench, run: Run) -> str:
    return Path(bench.end(run).log or "").read_text()


class TestSystemdExecutor(ExecutorContract):
    """The executor of units keeps the promises of every executor."""


# restarts and what goes wrong


def test_a_restarted_daemon_adopts_a_run_and_learns_its_true_exit_code(
    bench: UnitBench, make: Callable[..., SystemdExecutor]
) -> None:
    run = bench.running("sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; exit 7")
    bench.executor.close()
    bench.executor = make()
    assert bench.executor.poll(run).phase is Phase.RUNNING
    (bench.workdir / "go").touch()
    assert bench.end(run).exit_code == 7


def test_the_end_of_a_run_is_told_at_once(make: Callable[..., SystemdExecutor], folder: Path) -> None:
    changes: list[int] = []
    bench = UnitBench(make(on_change=lambda: changes.append(1)), folder)
    run = bench.running("sh", "-c", "while [ ! -e go ]; do sleep 0.02; done")
    before = len(changes)
    (bench.workdir / "go").touch()
    until(lambda: len(changes) > before and bench.executor.poll(run).phase is Phase.EXITED)


def test_a_run_whose_shim_is_killed_is_lost_and_nothing_of_it_is_left(bench: UnitBench) -> None:
    run = bench.running("sh", "-c", "setsid sleep 60 & echo $! > detached; while :; do sleep 0.05; done")
    left = int(bench.file("detached"))
    shim = int(json.loads((bench.executor._folder(run) / "run.json").read_text())["pid"])
    os.kill(shim, signal.SIGKILL)
    status = bench.end(run)
    assert (status.phase, Path(f"/proc/{left}").exists()) == (Phase.LOST, False)


def test_systemd_that_cannot_be_asked_is_no_end_of_a_run(bench: UnitBench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench.running("sleep", "60")
    bench.executor._manager.close()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/run/nobody-listens-here")
    assert bench.executor.poll(run).phase is Phase.UNKNOWN
    with pytest.raises(NotAsked):
        bench.executor.fence(run)
    with pytest.raises(NotAsked):
        bench.start("true")
    monkeypatch.delenv("DBUS_SYSTEM_BUS_ADDRESS")
    assert bench.executor.poll(run).phase is Phase.RUNNING


def test_a_start_that_was_not_answered_is_found_again_and_started_once(
    bench: UnitBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = bench.executor._manager
    start = manager.start_transient

    def unheard(*args: Any) -> bool:
        start(*args)
        raise NotHeard("systemd did not answer in time")

    run, job = bench.make("sh", "-c", "echo once >> count")
    bench.executor._users.make_for(account_of(ALICE))
    monkeypatch.setattr(manager, "start_transient", unheard)
    bench.executor.start(run, job)
    bench.executor.start(run, job)
    assert bench.end(run).exit_code == 0
    assert (bench.workdir / "count").read_text() == "once\n"


# folders that hang or are hidden


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Let what is read of a run's folder wait once this is set, as on a file system that hangs, until the test ends."""
    began, ended = Event(), Event()
    real = unit_status.read_record

    def read(folder: str, name: str) -> Any:
        if began.is_set():
            ended.wait(HANGS_S)
        return real(folder, name)

    monkeypatch.setattr(unit_status, "read_record", read)
    yield began
    ended.set()


def test_a_folder_that_hangs_hides_a_run_and_keeps_nobody_waiting_nor_its_gpu(
    bench: UnitBench, hanging: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, executor = bench.running("sh", "-c", IDLES, devices=("GPU-a",)), bench.executor
    started = replace(run, started_at=run.claimed_at)
    monkeypatch.setattr(executor, "_guard", FolderGuard(0.2))
    hanging.set()
    assert executor.poll(started).phase is Phase.RUNNING  # as systemd says
    assert executor.poll(run).phase is Phase.UNKNOWN  # it is not known whether its command has been started
    with pytest.raises(ExecutorError, match="has not answered"):
        executor.checkpoint(started, "the plan")
    executor.stop(started, "test")
    until(lambda: executor.poll(started).phase is Phase.UNKNOWN, "its unit is gone, and how it ended is hidden")
    monkeypatch.setattr(unit_status, "GIVEN_UP_AFTER_S", 0.0)
    assert executor.poll(started).phase is Phase.LOST
    assert dict(executor.held_elsewhere(["GPU-a"])) == {}


def test_a_run_that_systemd_was_never_asked_for_is_fenced_whatever_hides_its_folder(bench: UnitBench) -> None:
    run, job = bench.make("true")
    run = replace(run, claimed_at=utc_now())
    runs = bench.executor._users.make_for(account_of(ALICE)) / "runs"
    with acting_as(account_of(ALICE)):
        runs.mkdir(exist_ok=True)
        runs.chmod(0)
    with pytest.raises(ExecutorError, match="was not started"):
        bench.executor.start(run, job)
    assert bench.executor.fence(run)
    runs.chmod(0o700)
    earlier = replace(run, claimed_at=run.claimed_at - timedelta(hours=1))  # by another daemon, which may have asked
    runs.chmod(0)
    with pytest.raises(ExecutorError, match="cannot be told"):
        bench.executor.fence(earlier)
    runs.chmod(0o700)


# accounts


@pytest.fixture
def dora() -> Iterator[int]:
    """A user for one test."""
    subprocess.run(["useradd", "--no-create-home", "dora"], check=True)
    uid = pwd.getpwnam("dora").pw_uid
    yield uid
    for name in ("dora", "eric"):
        subprocess.run(["userdel", "--force", name], check=False, capture_output=True)
    account._known.cache_clear()


def delete(name: str) -> None:
    subprocess.run(["userdel", "--force", name], check=True, capture_output=True)
    account._known.cache_clear()


def test_a_run_whose_users_account_is_deleted_ends_with_its_true_exit_code_and_frees_its_gpu(
    bench: UnitBench, make: Callable[..., SystemdExecutor], dora: int
) -> None:
    bench.uid = dora
    bench.workdir.chmod(0o777)
    run = bench.running("sh", "-c", "while [ ! -e go ]; do sleep 0.02; done; exit 7", devices=("GPU-a",))
    delete("dora")
    bench.executor.close()
    bench.executor = make(user_of=lambda _: dora)
    started = replace(run, started_at=run.claimed_at)
    assert bench.executor.poll(started).phase is Phase.RUNNING
    (bench.workdir / "go").touch()
    assert (bench.end(started).exit_code, dict(bench.executor.held_elsewhere(["GPU-a"]))) == (7, {})
    bench.executor.prune(set(), bench.end(started).ended_at + timedelta(days=1))
    assert not bench.executor._folder(run).exists()


def test_a_run_whose_users_account_is_deleted_can_be_stopped(bench: UnitBench, dora: int) -> None:
    bench.uid = dora
    bench.workdir.chmod(0o777)
    run = bench.running("sh", "-c", IDLES)
    delete("dora")
    bench.executor.stop(run, "test")
    assert bench.end(run).ended_by is EndedBy.STOP


def test_nothing_is_started_as_another_account_that_has_got_the_number(bench: UnitBench, dora: int) -> None:
    bench.uid = dora
    run, job = bench.make("true")
    delete("dora")
    with pytest.raises(ExecutorError, match="has no account"):
        bench.executor.start(run, job)
    subprocess.run(["useradd", "--no-create-home", "--uid", str(dora), "eric"], check=True)
    account._known.cache_clear()
    with pytest.raises(ExecutorError, match=f"submitted by dora, whose number {dora} is now that of the account eric"):
        bench.executor.start(run, job)
    assert not bench.executor._manager.state(unit_name(run.token)).is_alive


# containers

NO_CONTAINERS = "no container can be made here"
CONTAINERS_CONF = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
STORAGE_CONF = '[storage]\ndriver = "vfs"\n[storage.options.vfs]\nignore_chown_errors = "true"\n'


@pytest.fixture
def podman(folder: Path) -> dict[str, str]:
    """The environment of jobs in containers of the image `own:1`, which is made of a folder here; else a skip."""
    busybox = next((path for path in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if path.exists()), None)
    if shutil.which("podman") is None or busybox is None:
        pytest.skip(f"{NO_CONTAINERS}: there is no podman or no busybox (Debian's packages)")
    root = folder / "image"
    for name in ("bin", "proc", "sys", "dev", "tmp", "etc", "run", "var"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "cat", "id", "sleep", "touch"):
        (root / "bin" / name).symlink_to("busybox")
    env = {"PATH": "/usr/bin:/bin", "HOME": pwd.getpwuid(ALICE).pw_dir, "XDG_RUNTIME_DIR": str(folder / "xdg")}
    (folder / "xdg").mkdir()
    os.chown(folder / "xdg", ALICE, -1)
    for name, text in (("CONTAINERS_CONF", CONTAINERS_CONF), ("CONTAINERS_STORAGE_CONF", STORAGE_CONF)):
        (folder / name).write_text(text)
        env[name] = str(folder / name)
    if shutil.which("newuidmap") is None:  # then a user has the own number alone in a container
        for path in (Path("/etc/subuid"), Path("/etc/subgid")):
            path.write_text("")
    switch = ["setpriv", f"--reuid={ALICE}", f"--regid={pwd.getpwuid(ALICE).pw_gid}", "--init-groups"]
    for script in (
        f"tar -C {root} -c . | podman import - own:1",
        "podman run --rm --cgroups=disabled --network=host own:1 sh -c :",
        "podman system migrate",  # which ends the process that it leaves
    ):
        done = subprocess.run(
            [*switch, "sh", "-c", script], env=env, cwd="/", capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"{NO_CONTAINERS}: {done.stderr.strip().splitlines()[-1:]}")
    return env


def test_a_container_is_in_its_runs_unit_with_its_gpu_its_folders_and_its_variables(
    bench: UnitBench, podman: dict[str, str]
) -> None:
    look = 'echo "$KEY in $PWD"; for n in 0 1; do cat /dev/nvidia$n; done 2>&1'
    look += "; touch made $GREENRUN_CHECKPOINT_DIR/c; exit 7"
    run = bench.start(
        "sh", "-c", look, container="own:1", env={**podman, "KEY": "topsecret"}, devices=("GPU-a",)
    )  # fmt: skip
    status = bench.end(run)
    said = [line for line in Path(status.log or "").read_text().splitlines() if not line.startswith("time=")]
    assert (status.exit_code, said[0]) == (7, f"topsecret in {bench.workdir}")
    assert [line.rpartition(": ")[2] for line in said[1:]] == ["No such device or address", "No such file or directory"]
    assert ((status.image or "").partition("@sha256:")[0], status.left) == ("own:1", 0)
    assert (bench.workdir / "made").stat().st_uid == ALICE


def test_what_is_in_a_container_gets_signals_and_ends_with_its_run(bench: UnitBench, podman: dict[str, str]) -> None:
    script = "trap 'echo got; exit 3' TERM; touch up; while :; do sleep 0.05; done"
    run = bench.start("sh", "-c", script, container="own:1", env=podman)
    until(lambda: (bench.workdir / "up").exists())
    tasks = Path(f"/sys/fs/cgroup/greenrun.slice/{unit_name(run.token)}/cgroup.procs").read_text().split()
    assert "sh" in {Path(f"/proc/{pid}/comm").read_text().strip() for pid in tasks}
    words = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in tasks)
    assert podman["HOME"].encode() + b":" not in words
    bench.executor.stop(run, "test")
    status = bench.end(run)
    assert (status.ended_by, status.exit_code, "got" in Path(status.log or "").read_text()) == (EndedBy.STOP, 3, True)
    deaf = bench.start(
        "sh", "-c", "trap '' TERM; touch deaf; while :; do sleep 0.05; done", container="own:1", env=podman,
        grace=timedelta(0),
    )  # fmt: skip
    until(lambda: (bench.workdir / "deaf").exists())
    bench.executor.stop(deaf, "test")
    bench.end(deaf)
    assert not Path(f"/sys/fs/cgroup/greenrun.slice/{unit_name(deaf.token)}").exists()


# limits


def test_limits_are_told_to_systemd(bench: UnitBench) -> None:
    run = bench.running("sh", "-c", IDLES, memory_gib=0.25, cpus=1.5, io_weight=50)
    wanted = {"MemoryMax": f"{1 << 28}", "MemorySwapMax": "0", "CPUQuotaPerSecUSec": "1.500000s", "IOWeight": "50"}
    words = ["systemctl", "show", unit_name(run.token), *(f"--property={name}" for name in wanted)]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert dict(line.split("=", 1) for line in told.splitlines()) == wanted
    bench.executor.stop(run, "test")
    bench.end(run)


def test_a_run_that_takes_more_memory_than_its_limit_is_ended_and_says_so(bench: UnitBench) -> None:
    """Where the kernel keeps it; where it does not, a job that asks for a limit is refused (`inside_service`)."""
    run = bench.start("python3", "-c", "x = bytearray(512 << 20); print(len(x))", memory_gib=0.125)
    status = bench.end(run)
    if "memory_gib" in why_not_limited(is_system=True):
        assert (status.exit_code, status.oom_kills) == (0, 0)
    else:
        assert (status.signal, status.oom_kills > 0, status.is_own_limit) == (signal.SIGKILL, True, True)


# users


def test_a_run_is_its_users_and_has_the_users_groups(bench: UnitBench) -> None:
    of_alice, of_bob = bench.start("id"), bench.as_user(BOB, "id")
    assert log_of(bench, of_alice).startswith(f"uid={ALICE}(alice) gid={pwd.getpwuid(ALICE).pw_gid}(alice)")
    bench.executor._uids[of_bob.job_id] = BOB
    assert log_of(bench, of_bob).startswith(f"uid={BOB}(bob)")


def test_of_two_gpus_a_run_can_open_the_one_that_it_was_given(bench: UnitBench) -> None:
    """A node that is allowed has no driver (ENXIO); one that is not is refused before (EPERM)."""
    look = "for n in 0 1; do cat /dev/nvidia$n; done 2>&1"
    first, second = bench.start("sh", "-c", look, devices=("GPU-a",)), bench.start("sh", "-c", look, devices=("GPU-b",))
    none = bench.start("sh", "-c", look)
    no_driver, refused = "No such device or address", "Operation not permitted"
    told = [[line.rpartition(": ")[2] for line in log_of(bench, run).splitlines()] for run in (first, second, none)]
    assert told == [[no_driver, refused], [refused, no_driver], [refused, refused]]


def test_a_gpu_that_is_not_there_is_told_and_nothing_is_started(bench: UnitBench) -> None:
    with pytest.raises(ExecutorError, match="GPU-z is not there any more"):
        bench.start("true", devices=("GPU-z",))


def test_a_user_cannot_look_into_the_folder_or_the_processes_of_another(bench: UnitBench) -> None:
    secret = bench.running("sh", "-c", f"echo secret; {IDLES}", env={"PATH": "/usr/bin:/bin", "KEY": "topsecret"})
    folder, command = bench.executor._folder(secret), bench.command(secret)
    looks = [f"ls {folder}", f"cat {folder}/log", f"cat {folder}/run.json", f"ls {folder.parent.parent}",
             f"ls {folder.parent.parent.parent}", f"ls /proc/{command}", f"tr '\\0' ' ' < /proc/{command}/cmdline",
             f"cat /proc/{command}/environ", f"kill {command}"]  # fmt: skip
    run = bench.as_user(BOB, "sh", "-c", "; ".join(f"{look} && echo SEEN" for look in looks))
    bench.executor._uids[run.job_id] = BOB
    said = log_of(bench, run)
    assert ("SEEN" in said, "topsecret" in said, "echo secret" in said) == (False, False, False)
    properties = bench.as_user(BOB, "systemctl", "show", unit_name(secret.token))
    bench.executor._uids[properties.job_id] = BOB
    told = log_of(bench, properties)
    assert f"Id={unit_name(secret.token)}" in told
    assert "topsecret" not in told
    assert "echo secret" not in told


def test_links_of_a_user_lead_root_nowhere(bench: UnitBench, folder: Path) -> None:
    """In place of each record of a run, a link to a file of root's; then each thing that the daemon does with a run."""
    mine = folder / "roots"
    mine.write_text('{"token": "x"}')
    mine.chmod(0o600)
    run = bench.running("sh", "-c", IDLES)
    place = bench.executor._folder(run)
    with acting_as(account_of(ALICE)):
        for name in ("exit.json", "stop.json.new", "stop.json", "killed.json", "progress", "members.json"):
            (place / name).unlink(missing_ok=True)
            (place / name).symlink_to(mine)
    assert bench.executor.poll(run).phase is Phase.RUNNING
    bench.executor.checkpoint(run, "the plan")
    bench.executor.stop(run, "bob")
    bench.end(run)
    with acting_as(account_of(ALICE)):
        for child in place.iterdir():
            child.unlink()
        place.rmdir()
        place.symlink_to(folder)
    bench.executor.prune(set(), bench.end(run).ended_at + timedelta(days=1))
    assert mine.read_text() == '{"token": "x"}'
    assert sorted(path.name for path in folder.iterdir()) == ["locks", "roots", "state", "work"]


@pytest.mark.parametrize(
    "made",
    ["mkfifo stop.json.new", "ln -s /dev/zero stop.json.new", "ln -sf / run.json", "rm run.json"],
)
def test_nothing_that_a_user_does_to_the_records_of_a_run_keeps_it_from_being_stopped(
    bench: UnitBench, monkeypatch: pytest.MonkeyPatch, made: str
) -> None:
    run = bench.running("sh", "-c", IDLES, devices=("GPU-a",))
    place, executor = bench.executor._folder(run), bench.executor
    as_alice = ["setpriv", f"--reuid={ALICE}", "--clear-groups", "sh", "-c", f"cd {place} && {made}"]
    subprocess.run(as_alice, check=True)
    started = replace(run, started_at=run.claimed_at)
    monkeypatch.setattr(unit_status, "GIVEN_UP_AFTER_S", 0.0)
    executor.stop(started, "bob")
    until(lambda: executor.poll(started).phase in ENDED)
    assert not executor.held_elsewhere(["GPU-a"])


def test_the_memory_in_which_a_run_is_handed_over_is_roots_alone(
    bench: UnitBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, modes = bench.executor._manager.start_transient, []

    def looked(*args: Any) -> bool:
        for each in Path("/proc/self/fd").iterdir():
            if each.is_symlink() and "memfd:greenrun-spec" in str(each.readlink()):
                modes.append(each.stat().st_mode & 0o777)
        return bool(start(*args))

    bench.executor._users.make_for(account_of(ALICE))
    monkeypatch.setattr(bench.executor._manager, "start_transient", looked)
    bench.end(bench.start("true"))
    assert modes == [0o600]


def test_a_user_who_hides_how_a_run_ended_keeps_no_gpu_by_it(bench: UnitBench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench.start("true", devices=("GPU-a",))
    bench.end(run)
    place, executor = bench.executor._folder(run), bench.executor
    started = replace(run, started_at=run.claimed_at)
    for hidden in (place, place.parent):
        hidden.chmod(0)  # its user would
        monkeypatch.undo()
        assert executor.poll(started).phase is Phase.UNKNOWN
        monkeypatch.setattr(unit_status, "GIVEN_UP_AFTER_S", 0.0)
        assert executor.poll(started).phase is Phase.LOST
        hidden.chmod(0o700)


def test_a_checkpoint_that_a_user_makes_impossible_becomes_a_stop(bench: UnitBench) -> None:
    run = bench.running("sh", "-c", IDLES)
    with acting_as(account_of(ALICE)):
        (bench.executor._folder(run) / "stop.json.new").mkdir()
    with pytest.raises(ExecutorError, match="could not be checkpointed"):
        bench.executor.checkpoint(run, "the plan")
    bench.executor._asked[run.token] = (0.0, 0.0)  # that long ago
    bench.executor.checkpoint(run, "the plan")
    assert bench.end(run).phase in ENDED


def test_an_end_that_a_user_made_up_frees_no_gpu(bench: UnitBench) -> None:
    run = bench.running("sh", "-c", IDLES, devices=("GPU-a",))
    place = bench.executor._folder(run)
    end = {"version": 2, "token": run.token, "exit_code": 0, "ended_at": 1.0, "started_at": 0.5, "ended_by": "itself"}
    with acting_as(account_of(ALICE)):
        (place / "exit.json").write_text(json.dumps(end))
    status = bench.executor.poll(run)
    assert (status.phase, list(bench.executor.held_elsewhere(["GPU-a"]))) == (Phase.RUNNING, ["GPU-a"])
    bench.executor.stop(run, "test")
    ended = bench.end(run)
    assert ended.ended_at is not None
    assert ended.ended_at.timestamp() > 1.0


def test_a_shim_that_its_user_stopped_does_not_outlive_a_stop(bench: UnitBench) -> None:
    run = bench.running("sh", "-c", IDLES, grace=timedelta(seconds=0.1))
    shim = bench.executor._manager.main_pid(unit_name(run.token))
    os.kill(shim, signal.SIGSTOP)
    bench.executor.stop(run, "test")
    assert bench.end(run).ended_by is EndedBy.STOP  # systemd lets go on whom it ends


def test_what_leaves_its_session_and_its_parents_ends_with_the_run(bench: UnitBench) -> None:
    hide = "import os\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\n"
    hide += "open('pid', 'w').write(str(os.getpid()))\n"
    hide += "os.closerange(0, 100)\nos.execve('/bin/sleep', ['x', '600'], {})"
    run = bench.start("sh", "-c", f'python3 -c "{hide}"; while [ ! -s pid ]; do sleep 0.02; done')
    status = bench.end(run)
    assert (status.exit_code, Path(f"/proc/{bench.file('pid')}").exists()) == (0, False)


def test_what_may_be_opened_is_judged_by_the_users_rights(folder: Path) -> None:
    shut, shared = folder / "shut", folder / "shared"
    for path, mode in ((shut, 0o600), (shared, 0o604)):
        path.write_text("x")
        path.chmod(mode)
    with acting_as(account_of(ALICE)):
        assert [may(path, os.R_OK) for path in (shut, shared)] == [False, True]
        with pytest.raises(PermissionError):
            shut.read_text()
        assert not may(shared, os.W_OK)
    assert may(shut, os.R_OK | os.W_OK)
    assert shut.read_text() == "x"

"""What of runs as units needs no systemd: device files, names, properties, and what a shim is handed."""

import fcntl
import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.core.energy.model import Device
from greenrun.core.errors import ExecutorError
from greenrun.core.jobs.runs.status import Phase, RunStatus
from greenrun.executors.memory_events import oom_kills
from greenrun.executors.units import handover, unit_status
from greenrun.executors.units.account import Account, acting_as
from greenrun.executors.units.bus import UnitState
from greenrun.executors.units.controllers import why_not_kept, why_not_limited
from greenrun.executors.units.device_nodes import nodes_of
from greenrun.executors.units.shim_files import why_not_for_all
from greenrun.executors.units.unit_owners import token_of
from greenrun.executors.units.unit_properties import properties, unit_name
from greenrun.executors.units.unit_status import Doubts, status_of
from greenrun.executors.watcher import Said
from tests.executors.bench import NOW, Bench

ALIVE, GONE = UnitState(active="active"), UnitState(active="inactive")


def gpu(name: str, index: int, vendor: str = "nvidia") -> Device:
    return Device(id=name, index=index, model="x", source="x", vendor=vendor, memory_bytes=None, power_w=None)


def test_a_gpu_has_the_file_that_its_driver_says_and_not_that_of_its_index(tmp_path: Path) -> None:
    for slot, uuid, minor in (("0000:01:00.0", "GPU-a", 3), ("0000:02:00.0", "GPU-b", 0)):
        folder = tmp_path / "proc/driver/nvidia/gpus" / slot
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t x\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n")
    devices = [gpu("GPU-a", 0), gpu("GPU-b", 1), gpu("GPU-c", 2)]
    assert nodes_of(["GPU-a"], devices, tmp_path)[-1] == "/dev/nvidia3"
    assert nodes_of(["GPU-b", "GPU-a"], devices, tmp_path)[-2:] == ["/dev/nvidia0", "/dev/nvidia3"]
    with pytest.raises(ExecutorError, match="GPU-c has cannot be told"):
        nodes_of(["GPU-c"], devices, tmp_path)


def test_without_a_driver_of_its_maker_a_gpus_file_follows_its_index(tmp_path: Path) -> None:
    found = nodes_of(["EMULATED-1"], [gpu("EMULATED-0", 0), gpu("EMULATED-1", 1)], tmp_path)
    assert "/dev/nvidia1" in found
    assert "/dev/nvidia0" not in found
    assert nodes_of([], [gpu("EMULATED-0", 0)], tmp_path) == []


def test_an_amd_gpu_has_the_render_node_with_its_unique_id_or_none(tmp_path: Path) -> None:
    for node, unique in (("renderD128", "00aa"), ("renderD129", "00bb")):
        folder = tmp_path / "sys/class/drm" / node / "device"
        (folder / "drm" / node.replace("renderD12", "card")).mkdir(parents=True)
        (folder / "unique_id").write_text(f"{unique}\n")
    assert nodes_of(["GPU-00BB"], [gpu("GPU-00BB", 0, "amd")], tmp_path) == [
        "/dev/kfd", "/dev/dri/renderD129", "/dev/dri/card9",
    ]  # fmt: skip
    with pytest.raises(ExecutorError, match="cannot be told from /sys/class/drm"):
        nodes_of(["GPU-cc"], [gpu("GPU-cc", 0, "amd")], tmp_path)


@pytest.mark.parametrize("token", ["../../x", "a b", "a;reboot", "", "a@b", "ü"])
def test_what_is_no_token_names_no_unit(token: str) -> None:
    with pytest.raises(ValueError, match="is no token"):
        unit_name(token)


def test_what_all_users_may_read_of_a_unit_has_neither_command_nor_environment(tmp_path: Path) -> None:
    run, job = Bench(None, tmp_path).make(  # type: ignore[arg-type]
        "echo", "secret-word", env={"KEY": "secret-value"}, time_limit=timedelta(hours=1), name="secret-name"
    )
    told = dict(properties(run, job, Account(uid=1234, gid=1, name="x"), ["/dev/nvidia0"], 7))
    assert "secret" not in json.dumps(told)
    assert (told["User"], told["DevicePolicy"], told["KillMode"]) == (("s", "1234"), ("s", "closed"), ("s", "mixed"))
    assert told["DeviceAllow"] == ("a(ss)", [("/dev/nvidia0", "rw")])
    assert told["RuntimeMaxUSec"][1] > 3600 * 1_000_000


def test_a_shim_finds_what_was_handed_to_it_where_it_looks(tmp_path: Path) -> None:
    memory, (heard, ready) = os.memfd_create("spec"), os.pipe()
    os.write(memory, b"the spec")
    os.lseek(memory, 0, os.SEEK_SET)
    lock = os.open(tmp_path / "lock", os.O_RDONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with handover.send(memory, ready, [lock]) as its:
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(its.fileno(), 0)
                handover.receive()
                text = os.read(0, 100) + b" " + bytes(Path(f"/proc/self/fd/{handover.FIRST_LOCK}").readlink())
                os.write(2, text)
            finally:
                os._exit(0)
    for descriptor in (memory, ready, lock):
        os.close(descriptor)
    os.waitpid(pid, 0)
    assert os.read(heard, 1000).decode() == f"the spec {tmp_path}/lock"
    assert os.read(heard, 1) == b""  # nobody else has the other end
    os.close(heard)


def test_a_process_in_no_unit_of_a_run_has_no_token(tmp_path: Path) -> None:
    for pid, line in (
        (1, "0::/greenrun.slice/greenrun-run-ab12.service\n"),
        (2, "0::/user.slice/x-greenrun-run-ab.service\n"),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(line)
    assert [token_of(pid, tmp_path) for pid in (1, 2, 3)] == ["ab12", None, None]


def test_a_file_that_others_cannot_reach_is_named(tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o700)
    (shut / "file").write_text("")
    assert str(tmp_path) in (why_not_for_all((str(shut / "file"),)) or "")


def test_acting_as_oneself_changes_nothing() -> None:
    with acting_as(Account(uid=os.geteuid(), gid=12345, name="me")):
        assert os.getegid() != 12345


def test_a_fence_that_a_user_put_into_a_run_that_has_begun_fences_nothing(tmp_path: Path) -> None:
    run, _ = Bench(None, tmp_path).make("true")  # type: ignore[arg-type]
    begun = replace(run, started_at=NOW)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "barred.json").write_text(json.dumps({"version": 2, "token": run.token}))

    def phase(of: object, unit: UnitState, *, has_started: bool = False) -> Phase:
        return status_of(folder, of, unit, Said(has_started=has_started), lambda: 0.0).phase  # type: ignore[arg-type]

    assert phase(run, GONE) is Phase.FENCED
    assert phase(run, ALIVE) is Phase.ABSENT
    assert phase(begun, ALIVE) is Phase.RUNNING
    assert [phase(begun, GONE), phase(run, GONE, has_started=True)] == [Phase.LOST, Phase.LOST]


def test_a_run_that_has_begun_is_lost_and_not_fenced_when_its_user_removed_the_record_of_it(tmp_path: Path) -> None:
    run, _ = Bench(None, tmp_path).make("true")  # type: ignore[arg-type]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"version": 2, "token": run.token}))
    told = [status_of(folder, each, GONE, Said(), lambda: 0.0) for each in (run, replace(run, started_at=NOW))]
    assert [row.phase for row in told] == [Phase.FENCED, Phase.LOST]


def test_how_a_run_ended_is_not_unknown_for_ever_when_its_unit_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = Bench(None, tmp_path).make("true")  # type: ignore[arg-type]
    hidden = RunStatus(phase=Phase.UNKNOWN, detail="Permission denied")
    doubts = Doubts()
    assert doubts.settled(run, GONE, hidden) is hidden
    monkeypatch.setattr(unit_status, "GIVEN_UP_AFTER_S", 0.0)
    assert doubts.settled(run, ALIVE, hidden) is hidden
    lost = doubts.settled(run, GONE, hidden)
    assert (lost.phase, "Permission denied" in lost.detail) == (Phase.LOST, True)


# limits


def test_what_a_job_is_limited_to_becomes_properties_of_its_unit_and_nothing_else_does(tmp_path: Path) -> None:
    def told(tasks_max: int = 0, **fields: object) -> dict[str, object]:
        run, job = Bench(None, tmp_path).make("true", **fields)  # type: ignore[arg-type]
        account = Account(uid=1, gid=1, name="ada")
        return {name: value for name, (_, value) in properties(run, job, account, [], 0, tasks_max)}

    names = {"MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "IOWeight", "TasksMax"}
    assert not names & told().keys()
    limited = told(500, memory_gib=1.5, cpus=2.5, io_weight=50)
    assert {name: limited[name] for name in names} == {
        "MemoryMax": 3 << 29, "MemorySwapMax": 0, "CPUQuotaPerSecUSec": 2_500_000, "IOWeight": 50, "TasksMax": 500,
    }  # fmt: skip


def test_what_nothing_would_keep_is_told_by_the_controller_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu pids\n")
    found = why_not_limited(is_system=True, root=tmp_path)
    assert sorted(found) == ["io_weight", "memory_gib"]
    assert "the controller memory is not" in found["memory_gib"]
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    assert not why_not_limited(is_system=True, root=tmp_path)
    assert sorted(why_not_limited(is_system=True, root=tmp_path / "none")) == ["cpus", "io_weight", "memory_gib"]
    assert "system mode alone" in why_not_limited(is_system=False, root=tmp_path)["cpus"]
    assert why_not_kept([]) is None


@pytest.mark.parametrize(
    ("group", "events", "expected"),
    [
        ("0::/greenrun.slice/greenrun-run-ab.service", "low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\n", (2, True)),
        ("0::/greenrun.slice/greenrun-run-ab.service", "low 0\noom 0\noom_kill 1\noom_group_kill 0\n", (1, False)),
        ("0::/greenrun.slice/greenrun-run-ab.service", "nonsense", (0, False)),
        ("0::/greenrun.slice/greenrun-run-ab.service", None, (0, False)),
        ("0::/user.slice/session-1.scope", "oom 1\noom_kill 2\n", (0, False)),  # of others, too
        ("4:memory:/x\n0::/greenrun.slice/greenrun-run-ab.service", "oom_kill 0\noom 0\n", (0, False)),
    ],
)
def test_only_what_the_kernel_killed_of_a_runs_own_group_is_counted(
    tmp_path: Path, group: str, events: str | None, expected: tuple[int, bool]
) -> None:
    (tmp_path / "cgroup").write_text(f"{group}\n")
    folder = tmp_path / "root" / group.rpartition("::/")[2]
    folder.mkdir(parents=True)
    if events is not None:
        (folder / "memory.events").write_text(events)
    assert oom_kills(str(tmp_path / "cgroup"), str(tmp_path / "root")) == expected

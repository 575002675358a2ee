"""Who may write where the daemon writes, and how much room there is, with the remedy for each."""

import errno
import os
from pathlib import Path

import pytest

from greenrun.config import load_config
from greenrun.doctor.environment_checks import check_environment, check_settings
from greenrun.doctor.file_checks import check_disk, check_permissions
from greenrun.doctor.finding import Area, Finding, Status


def permissions(folder: Path, text: str = "") -> list[Finding]:
    file = folder / "greenrun.toml"
    file.write_text(text or "[paths]\nstate = 'state'\nlocks = 'locks'\n[api]\nsocket = 'run/s'\n", encoding="utf-8")
    return list(check_permissions(load_config(file, {})))


def wrong(found: list[Finding]) -> list[tuple[Status, str]]:
    return [(each.status, each.remedy) for each in found if each.status is not Status.OK]


def test_folders_that_are_not_there_yet_are_well(tmp_path: Path) -> None:
    found = permissions(tmp_path)
    assert (wrong(found), len(found)) == ([], 3)
    assert found[0].text == f"state folder: {tmp_path / 'state'}, made at the first start"


@pytest.mark.parametrize(
    ("mode", "status"), [(0o700, None), (0o711, Status.WARNING), (0o750, Status.WARNING), (0o777, Status.FAILED)]
)
def test_a_state_folder_that_others_use_is_told(tmp_path: Path, mode: int, status: Status | None) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    expected = [] if status is None else [(status, f"chmod 700 {tmp_path / 'state'}")]
    assert wrong(permissions(tmp_path)) == expected


def test_what_is_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "s").touch()
    said = wrong(permissions(tmp_path))
    assert [status for status, _ in said] == [Status.FAILED] * 2
    assert [remedy.split(":")[0] for _, remedy in said] == ["set paths.state", "move it away, or set api.socket"]


def test_a_socket_whose_path_is_too_long_is_told(tmp_path: Path) -> None:
    long = "x" * 120
    said = wrong(permissions(tmp_path, f"[paths]\nstate = 'state'\nlocks = 'locks'\n[api]\nsocket = '{long}'\n"))
    assert said == [(Status.FAILED, "set api.socket to a path of at most 107 bytes")]


def test_folders_and_files_of_somebody_else_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system tells it to any user but root; what is above a folder of greenrun's is nobody's to give away."""
    text = "[paths]\nstate = 'shut/state'\nlocks = 'locks'\n[api]\nsocket = 's'\n"
    refused = {str(tmp_path / "shut")}
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) not in refused)
    (tmp_path / "shut").mkdir()
    state, instead = tmp_path / "shut" / "state", "or set paths.state to a folder of yours"
    assert wrong(permissions(tmp_path, text)) == [
        (Status.FAILED, f"sudo install -d -m 700 -o {os.getuid()} {state}, {instead}")
    ]
    state.mkdir(mode=0o700)
    refused.add(str(state))
    assert wrong(permissions(tmp_path, text)) == [(Status.FAILED, f"sudo chown {os.getuid()} {state}, {instead}")]
    refused.remove(str(state))
    (state / "greenrun.db").touch()
    assert wrong(permissions(tmp_path, text)) == []
    refused.add(str(state / "greenrun.db"))
    assert wrong(permissions(tmp_path, text)) == [(Status.FAILED, f"sudo chown -R {os.getuid()} {state}")]


def test_what_this_user_may_not_even_look_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system tells it to any user but root of what is below another user's folder."""
    shut, stat, access = tmp_path / "shut", os.stat, os.access
    shut.mkdir()

    def refusing(path: object, **more: object) -> os.stat_result:
        if str(path).startswith(f"{shut}/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **more)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(os, "stat", refusing)
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(shut) and access(path, mode))
    text = "[paths]\nstate = 'shut/state'\nlocks = 'locks'\n[api]\nsocket = 's'\n"
    install = f"sudo install -d -m 700 -o {os.getuid()} {shut / 'state'}"
    assert wrong(permissions(tmp_path, text)) == [
        (Status.FAILED, f"{install}, or set paths.state to a folder of yours")
    ]
    (disk,) = check_disk(shut / "state")
    assert disk.area is Area.DISK


def test_a_folder_in_which_others_could_put_a_socket_is_told(tmp_path: Path) -> None:
    """As the daemon tells it when it refuses to start there, also where the socket's own folder is yet to be made."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    ((status, remedy),) = wrong(permissions(tmp_path))
    assert (status, remedy) == (Status.FAILED, f"chmod 700 {tmp_path / 'run'}, or set api.socket")
    (tmp_path / "run").rmdir()
    tmp_path.chmod(0o770)
    assert wrong(permissions(tmp_path)) == [(Status.FAILED, f"chmod 700 {tmp_path}, or set api.socket")]


class Room:
    """A file system as statvfs(3) tells it."""

    f_frsize, f_blocks, f_flag = 4096, 1 << 24, 0

    def __init__(self, free: int, inodes: int = 1000, flag: int = 0) -> None:
        self.f_bavail, self.f_files, self.f_favail, self.f_flag = free // 4096, 1000, inodes, flag


@pytest.mark.parametrize(
    ("room", "status"),
    [
        (Room(50 << 30), Status.OK), (Room(500 << 20), Status.WARNING), (Room(1 << 20), Status.FAILED),
        (Room(50 << 30, inodes=0), Status.FAILED), (Room(50 << 30, flag=os.ST_RDONLY), Status.FAILED),
    ],
)  # fmt: skip
def test_a_disk_without_room_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, room: Room, status: Status
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: room)
    (found,) = check_disk(tmp_path / "not" / "there" / "yet")
    assert (found.status, bool(found.remedy)) == (status, status is not Status.OK)


def test_every_problem_of_the_settings_is_a_finding_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[grid]\nzone = 'UK'\n[planner]\ntick = 'soon'\n[devices]\nmetre = 'nvml'\n", encoding="utf-8")
    config, found = check_settings(file)
    assert config is None
    assert {each.text.split(":")[0] for each in found} >= {"grid.zone", "planner.tick", "devices.metre"}
    assert {each.status for each in found} == {Status.FAILED}
    missing, (said,) = check_settings(tmp_path / "none.toml")
    assert (missing, said.area, said.status) == (None, Area.SETTINGS, Status.FAILED)


def test_settings_that_everybody_may_write_are_told(tmp_path: Path) -> None:
    file = tmp_path / "greenrun.toml"
    file.write_text("", encoding="utf-8")
    file.chmod(0o666)
    config, found = check_settings(file)
    assert config is not None
    assert [(each.status, each.remedy) for each in found][1:] == [(Status.FAILED, f"chmod o-w {file}")]


def test_an_environment_that_misleads_is_told() -> None:
    told = list(check_environment({"PATH": "/nowhere", "CUDA_VISIBLE_DEVICES": "0"}))
    assert [each.status for each in told] == [Status.OK, Status.WARNING, Status.WARNING, Status.WARNING]
    assert "not on PATH" in told[1].text
    assert told[2].remedy.startswith("export HOME=")

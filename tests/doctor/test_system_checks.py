"""What doctor says of a machine whose daemon is everybody's."""

import grp
import os
from pathlib import Path

import pytest

from greenrun.config.server_mode import Mode, ServerSettings
from greenrun.doctor.finding import Area, Finding, Status
from greenrun.doctor.host_checks import check_systemd
from greenrun.doctor.system_checks import CONTROLLERS, POLICY, check_system_mode
from greenrun.packaged import SYSTEM_UNIT, text_of

GROUP = grp.getgrgid(os.getgid()).gr_name


def root(tmp_path: Path, *, proc: str = "rw", policy: bool = True, controllers: bool = True) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/mounts").write_text(f"/dev/vda / ext4 rw 0 0\nproc /proc proc {proc} 0 0\n")
    for path, is_there in ((POLICY, policy), (CONTROLLERS, controllers)):
        if is_there:
            (tmp_path / path).parent.mkdir(parents=True)
            (tmp_path / path).write_text("")
    return tmp_path


def found(at: Path, group: str = GROUP) -> list[Finding]:
    settings = ServerSettings(mode=Mode.SYSTEM, group=group)
    return [each for each in check_system_mode(settings, at) if "cannot start jobs" not in each.text]


def test_nothing_is_said_in_user_mode(tmp_path: Path) -> None:
    assert list(check_system_mode(ServerSettings(), tmp_path)) == []


def test_a_group_that_is_not_there_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    first = found(root(tmp_path), group="no-such-group")[0]
    assert (first.status, first.area) == (Status.FAILED, Area.PERMISSIONS)
    assert "no group no-such-group" in first.text


@pytest.mark.parametrize(
    ("proc", "policy", "missing"),
    [
        ("rw,relatime", True, ["hidepid=invisible"]),
        ("rw,hidepid=invisible", False, [str(POLICY)]),
        ("rw,hidepid=0", False, ["hidepid=invisible", str(POLICY)]),
        ("rw,hidepid=2,gid=99", True, []),
    ],
)
def test_it_is_told_what_shows_command_lines_to_others(
    tmp_path: Path, proc: str, policy: bool, missing: list[str]
) -> None:
    last = found(root(tmp_path, proc=proc, policy=policy))[-1]
    assert last.status is (Status.WARNING if missing else Status.OK)
    assert [word for word in ("hidepid=invisible", str(POLICY)) if word in last.remedy] == missing


def test_control_groups_of_version_1_are_warned_of(tmp_path: Path) -> None:
    assert any("version 1" in each.text for each in found(root(tmp_path, controllers=False)))


def test_the_unit_of_the_machine_need_not_spare_jobs_which_are_in_units_of_their_own(tmp_path: Path) -> None:
    unit = tmp_path / "etc/systemd/system/greenrun.service"
    (missing,) = check_systemd({}, tmp_path, is_system=True)
    assert missing.status is Status.FAILED
    unit.parent.mkdir(parents=True)
    unit.write_text(text_of(SYSTEM_UNIT))
    assert [each.status for each in check_systemd({}, tmp_path, is_system=True)] == [Status.OK]

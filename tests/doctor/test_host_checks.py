"""What systemd, the clock and the limits would do to the daemon and its jobs, with the remedy for each."""

import os
import pwd
import resource
from pathlib import Path

import pytest

from greenrun.doctor import host_checks
from greenrun.doctor.finding import Finding, Status, worst
from greenrun.doctor.host_checks import check_clock, check_descriptors, check_systemd
from greenrun.packaged import USER_UNIT, text_of

USER = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Where a user's unit is."""
    path = tmp_path / "systemd" / "user" / "greenrun.service"
    path.parent.mkdir(parents=True)
    return path


def systemd(tmp_path: Path, *, lingers: bool = True) -> list[Finding]:
    linger = tmp_path / "var" / "lib" / "systemd" / "linger"
    linger.mkdir(parents=True, exist_ok=True)
    if lingers:
        (linger / USER).touch()
    return list(check_systemd({"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path))


def wrong(found: list[Finding]) -> list[tuple[Status, str]]:
    return [(each.status, each.remedy) for each in found if each.status is not Status.OK]


def test_the_unit_that_comes_with_greenrun_is_well(tmp_path: Path, unit: Path) -> None:
    unit.write_text(text_of(USER_UNIT), encoding="utf-8")
    assert wrong(systemd(tmp_path)) == []


def test_without_a_unit_nothing_is_wrong(tmp_path: Path) -> None:
    assert wrong(systemd(tmp_path, lingers=False)) == []


@pytest.mark.parametrize(("line", "lingers", "status"), [
    ("KillUserProcesses=yes", False, Status.WARNING), ("KillUserProcesses=yes", True, Status.OK),
    ("#KillUserProcesses=yes", False, Status.OK), ("KillUserProcesses=no", False, Status.OK),
])  # fmt: skip
def test_without_a_unit_it_is_told_where_a_logout_ends_everything(
    tmp_path: Path, line: str, lingers: bool, status: Status
) -> None:
    logind = tmp_path / "etc" / "systemd" / "logind.conf.d" / "own.conf"
    logind.parent.mkdir(parents=True)
    logind.write_text(f"[Login]\n{line}\n", encoding="utf-8")
    (found,) = systemd(tmp_path, lingers=lingers)
    assert (found.status, "greenrun init --unit" in found.remedy) == (status, True)


def test_a_system_s_unit_is_edited_by_root(tmp_path: Path) -> None:
    unit = tmp_path / "etc" / "systemd" / "system" / "greenrun.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(text_of(USER_UNIT).replace("KillMode=process", ""), encoding="utf-8")
    assert wrong(systemd(tmp_path, lingers=False)) == [
        (Status.FAILED, "sudo systemctl edit greenrun, and write [Service] KillMode=process")
    ]


def test_without_linger_jobs_end_at_the_logout(tmp_path: Path, unit: Path) -> None:
    unit.write_text(text_of(USER_UNIT), encoding="utf-8")
    assert wrong(systemd(tmp_path, lingers=False)) == [(Status.FAILED, f"loginctl enable-linger {USER}")]


@pytest.mark.parametrize(
    ("line", "instead", "status", "remedy"),
    [
        ("KillMode=process", "", Status.FAILED, "KillMode=process"),
        ("KillMode=process", "KillMode=mixed", Status.FAILED, "KillMode=process"),
        ("OOMPolicy=continue", "#OOMPolicy=continue", Status.WARNING, "OOMPolicy=continue"),
        ("Restart=on-failure", "Restart=no", Status.WARNING, "Restart=on-failure"),
    ],
)
def test_each_line_that_protects_jobs_is_missed(
    tmp_path: Path, unit: Path, line: str, instead: str, status: Status, remedy: str
) -> None:
    unit.write_text(text_of(USER_UNIT).replace(f"\n{line}\n", f"\n{instead}\n"), encoding="utf-8")
    assert wrong(systemd(tmp_path)) == [(status, f"systemctl --user edit greenrun, and write [Service] {remedy}")]


def test_what_systemctl_edit_wrote_counts(tmp_path: Path, unit: Path) -> None:
    unit.write_text(text_of(USER_UNIT), encoding="utf-8")
    over = unit.with_name("greenrun.service.d") / "override.conf"
    over.parent.mkdir()
    over.write_text("[Service]\nKillMode = control-group\n", encoding="utf-8")
    assert [status for status, _ in wrong(systemd(tmp_path))] == [Status.FAILED]


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        ((24, 24), Status.FAILED), ((48, 512), Status.WARNING), ((1024, 4096), Status.OK),
        ((1024, resource.RLIM_INFINITY), Status.OK),
    ],
)  # fmt: skip
def test_few_descriptors_are_told(monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], status: Status) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    found = list(check_descriptors())
    assert [each.status for each in found] == [status]
    assert (status is Status.OK) or "LimitNOFILE" in found[0].remedy


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ((True, 0.012), Status.OK, "to 12 ms"),
        ((True, 4.0), Status.WARNING, "may be off by 4s"),
        ((False, 16.0), Status.WARNING, "is not synchronised"),
        (None, Status.WARNING, "does not say"),
    ],
)
def test_a_clock_that_nobody_keeps_right_is_told(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[bool, float] | None, status: Status, said: str
) -> None:
    monkeypatch.setattr(host_checks, "_kernel_clock", lambda: answer)
    (found,) = check_clock()
    assert (found.status, said in found.text) == (status, True), found


def test_the_kernel_can_be_asked_about_its_clock() -> None:
    """Whatever it answers here, it is an answer: an error of no more than the kernel's own 16 s and some."""
    answer = host_checks._kernel_clock()
    assert answer is not None
    assert 0 <= answer[1] < 1000


def test_the_worst_finding_counts() -> None:
    found = [Finding(area=host_checks.Area.CLOCK, status=status, text="") for status in Status]
    assert [worst(found[:count]) for count in range(4)] == [Status.OK, Status.OK, Status.WARNING, Status.FAILED]

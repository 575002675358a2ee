"""What is there for systemd: it accepts it without a word, jobs are left alone, and counters get readable."""

import os
import subprocess
from pathlib import Path

import pytest

from greenrun.packaged import SYSTEM_FILES, SYSTEM_UNIT, USER_UNIT, path_of
from tests.conftest import require
from tests.patience import HANGS_S

UNIT = path_of(USER_UNIT)
ENERGY = UNIT.parents[1] / "tmpfiles.d" / "greenrun-rapl.conf"


def verify(unit: Path, runtime: Path) -> tuple[int, str]:
    """What `systemd-analyze verify` says; it needs no running systemd, but a runtime folder."""
    tool = require("systemd-analyze", "it comes with systemd")
    environ = {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(runtime), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    command = [tool, "verify", "--user", "--man=no", unit]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=HANGS_S, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.system
def test_systemd_has_nothing_to_say_about_the_unit(tmp_path: Path) -> None:
    assert verify(UNIT, tmp_path) == (0, "")


@pytest.mark.system
def test_systemd_would_tell_of_a_misspelt_line(tmp_path: Path) -> None:
    """Lest the silence above be systemd's own."""
    misspelt = tmp_path / "greenrun.service"
    misspelt.write_text(UNIT.read_text(encoding="utf-8").replace("KillMode", "KilMode"), encoding="utf-8")
    assert "Unknown key 'KilMode' in section [Service], ignoring." in verify(misspelt, tmp_path)[1]


def settings() -> dict[str, str]:
    """The unit's lines, without comments and sections."""
    lines = [line for line in UNIT.read_text(encoding="utf-8").splitlines() if "=" in line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_jobs_outlive_the_daemon_and_their_own_misfortunes_do_not_end_it() -> None:
    found = settings()
    expected = {"Type": "notify", "NotifyAccess": "main", "KillMode": "process", "OOMPolicy": "continue"}
    assert {key: found.get(key) for key in expected} == expected
    assert found["ExecStart"] == "/usr/bin/env greenrun serve"


def test_nothing_in_the_unit_confines_jobs() -> None:
    """Every job is a child of the service, so its sandbox would be theirs."""
    confining = ("Protect", "Private", "Restrict", "NoNewPrivileges", "SystemCall", "UMask", "Memory", "CPU", "Limit")
    assert [key for key in settings() if key.startswith(confining)] == []


def counters(root: Path) -> list[Path]:
    """The energy counters of a machine as the kernel lays them out below `root`, for their owner alone."""
    tree = root / "sys/devices/virtual/powercap"
    zones = ["intel-rapl/intel-rapl:0", "intel-rapl/intel-rapl:0/intel-rapl:0:1", "intel-rapl-mmio/intel-rapl-mmio:0"]
    files = [tree / zone / "energy_uj" for zone in zones]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o400)
    return files


@pytest.mark.system
def test_the_snippet_lets_a_group_read_every_energy_counter_and_nobody_else(tmp_path: Path) -> None:
    """Run by systemd-tmpfiles itself, for a user and group that the test may give files to: its own."""
    tool = require("systemd-tmpfiles", "it comes with systemd")
    snippet, files = ENERGY.read_text(encoding="utf-8"), counters(tmp_path)
    assert snippet.count(" root greenrun-energy -\n") == 2
    own = tmp_path / "greenrun-rapl.conf"
    own.write_text(snippet.replace(" root greenrun-energy ", f" {os.getuid()} {os.getgid()} "), encoding="utf-8")
    command = [tool, "--create", f"--root={tmp_path}", own]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [oct(file.stat().st_mode & 0o777) for file in files] == ["0o440"] * 3


# of the machine


def analysed(*words: str | Path) -> str:
    tool = require("systemd-analyze", "it comes with systemd")
    done = subprocess.run([tool, *words], capture_output=True, text=True, timeout=HANGS_S, check=False)
    return done.stdout + done.stderr


@pytest.mark.system
def test_systemd_has_nothing_to_say_about_the_units_of_the_machine(tmp_path: Path) -> None:
    units = [place for place in SYSTEM_FILES if place.startswith("systemd/system/")]
    assert analysed("verify", "--man=no", *map(path_of, units)) == ""


@pytest.mark.system
def test_the_service_of_the_machine_is_exposed_as_little_as_said() -> None:
    said = analysed("security", "--offline=true", "--no-pager", path_of(SYSTEM_UNIT))
    exposure = float(said.partition("Overall exposure level for greenrun.service: ")[2].split()[0])
    assert exposure <= 2.5


@pytest.mark.system
def test_what_sets_power_limits_has_one_capability_and_little_else() -> None:
    unit = path_of("systemd/system/greenrun-power-limit@.service")
    said = analysed("security", "--offline=true", "--no-pager", unit)
    assert float(said.partition("Overall exposure level for ")[2].split()[1]) <= 2.0
    assert "CapabilityBoundingSet=CAP_SYS_ADMIN\n" in unit.read_text(encoding="utf-8")


def test_each_file_of_system_mode_has_a_place_below_the_systems_settings() -> None:
    for place, target in SYSTEM_FILES.items():
        assert path_of(place).is_file()
        assert target.is_relative_to("/etc")

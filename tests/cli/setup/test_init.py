"""`greenrun init` writes settings that are good, says what it found and what came, and never overwrites."""

import io
import json
import os
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.config import Config, load_config
from greenrun.core.energy.model import Component, Device
from greenrun.doctor.device_checks import Found
from greenrun.grid.sources import Checked, Coverage
from greenrun.meters import MeterSettings
from tests.cli.conftest import Run

T0 = datetime(2026, 11, 30, tzinfo=UTC)
BOARDS = (
    Device(id="GPU-aaaa", index=0, model="NVIDIA A100", source="nvml", memory_bytes=80 * 2**30, vendor="nvidia"),
    Device(id="GPU-bbbb", index=1, model="NVIDIA A100", source="nvml", memory_bytes=80 * 2**30, vendor="nvidia"),
)
PACKAGE = Device(id="RAPL-x-package-0", index=0, model="CPU package-0", source="rapl", kind=Component.CPU)
NOTHING = Found(refusals=("nvml: No driver.", "amd: No library.", "rapl: No CPU."))


class Machine:
    """What the meters find, what the sources say, and what they were asked."""

    def __init__(self) -> None:
        self.found = Found(devices=BOARDS)
        self.answering: set[str] = set()
        self.asked: list[str] = []
        self.tried: MeterSettings | None = None

    def find_devices(self, settings: MeterSettings) -> Found:
        self.tried = settings
        return self.found

    def ask_each(self, settings: Config, now: datetime) -> list[Checked]:
        self.asked += settings.grid.provider
        return [self._answer(name) for name in settings.grid.provider]

    def _answer(self, name: str) -> Checked:
        if name not in self.answering:
            return Checked(name=name, zone="GB", forecast_problem="it cannot be reached", history_problem="nor this")
        covered = Coverage(start=T0, end=T0 + timedelta(days=2), step=timedelta(minutes=30), slots=96, holes=())
        return Checked(name=name, zone="GB", forecast=covered, history=covered)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine with two GPUs, whose sources do not answer; nobody's systemd."""
    made = Machine()
    monkeypatch.setattr("greenrun.doctor.device_checks.find_devices", made.find_devices)
    monkeypatch.setattr("greenrun.doctor.source_checks.ask_each", made.ask_each)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return made


def usual(tmp_path: Path) -> Path:
    return tmp_path / "config" / "greenrun" / "greenrun.toml"


def test_the_usual_file_is_written_with_gpus_zone_and_source(run: Run, machine: Machine, tmp_path: Path) -> None:
    machine.answering = {"uk", "yearly_mean"}
    ran = run("init", "--zone", "GB", "--yes")
    assert (ran.code, ran.err) == (0, "")
    assert f"wrote {usual(tmp_path)}\n" in ran.out
    assert "zone: GB (Great Britain)\n  uk for GB answers, reaches to 2026-12-02 00:00\n" in ran.out
    assert "GPUs: 2, read by nvml\n  0 NVIDIA A100 80 GiB (GPU-aaaa)\n" in ran.out
    assert "\n  greenrun serve --detach\n" in ran.out
    config = load_config(usual(tmp_path), {})
    assert (config.grid.zone, config.grid.provider, config.grid.history_provider) == (
        "GB",
        ("uk", "yearly_mean"),
        ("uk",),
    )
    assert (config.devices.meter, config.devices.cpu_meter) == (("nvml",), ("none",))
    assert "GPU-bbbb" in usual(tmp_path).read_text(encoding="utf-8")
    assert machine.asked == ["uk", "yearly_mean"]


def test_without_a_network_it_says_so_and_goes_on(run: Run, tmp_path: Path) -> None:
    ran = run("init", "--zone", "DE", "--yes")
    assert ran.code == 0
    assert "energy_charts for GB gives no forecast: it cannot be reached" in ran.out
    assert "is asked again by the daemon" in ran.out
    assert load_config(usual(tmp_path), {}).grid.provider == ("energy_charts", "yearly_mean")


@pytest.mark.parametrize("zone", ["GB", "GB:13", "DE", "DK-DK1", "SE-SE3", "IN", "US-CAL-CISO", "CAISO_NORTH", "none"])
@pytest.mark.parametrize("found", [NOTHING, Found(devices=(*BOARDS, PACKAGE))])
def test_what_is_written_is_good_for_every_kind_of_zone_and_machine(
    run: Run, machine: Machine, tmp_path: Path, zone: str, found: Found
) -> None:
    machine.found = found
    assert run("init", "--zone", zone, "--yes").code == 0
    config = load_config(usual(tmp_path), {})
    has_source = zone not in ("none", "SE-SE3", "US-CAL-CISO", "CAISO_NORTH")
    assert (config.grid.zone, bool(config.grid.provider)) == (zone if has_source else None, has_source)
    expected = (("nvml",), ("rapl",)) if found.devices else (("nvml", "amd", "none"), ("none",))
    assert (config.devices.meter, config.devices.cpu_meter) == expected
    assert max(map(len, usual(tmp_path).read_text(encoding="utf-8").splitlines())) <= 130


@pytest.mark.parametrize(
    ("zone", "key", "kind"),
    [("US-CAL-CISO", "electricity_maps.key", "electricity_maps"), ("SE-SE3", "entsoe.key", "entsoe")],
)
def test_a_zone_whose_sources_need_a_key_is_told_which_and_gets_it_once_the_key_is_there(
    run: Run, tmp_path: Path, zone: str, key: str, kind: str
) -> None:
    first = run("init", "--zone", zone, "--yes", "--json")
    assert (first.code, json.loads(first.out)["needs_key"], json.loads(first.out)["providers"]) == (0, kind, [])
    commented = usual(tmp_path).read_text(encoding="utf-8")
    assert f'#key_file = "{key}"' in commented
    uncommented = "\n".join(line.removeprefix("#") for line in commented.splitlines() if not line.startswith("# "))
    assert tomllib.loads(uncommented)["provider"][kind]["kind"] == kind
    usual(tmp_path).with_name(key).write_text("secret", encoding="utf-8")
    usual(tmp_path).with_name(key).chmod(0o600)
    again = run("init", "--zone", zone, "--yes", "--force", "--json")
    assert (json.loads(again.out)["needs_key"], json.loads(again.out)["providers"]) == (None, [kind])
    assert load_config(usual(tmp_path), {}).grid.zone == zone


def test_imaginary_gpus_are_written_as_such(run: Run, machine: Machine, tmp_path: Path) -> None:
    machine.found = Found(
        devices=tuple(Device(id=f"E-{n}", index=n, model="e", source="emulated", emulated=True) for n in range(3))
    )
    assert run("init", "--zone", "none", "--emulated-gpus", "3", "--yes").code == 0
    devices = load_config(usual(tmp_path), {}).devices
    assert (devices.meter, devices.emulated.gpus) == (("emulated",), 3)
    assert machine.tried is not None
    assert (machine.tried.kinds, machine.tried.emulated.gpus) == (("emulated",), 3)


def test_a_file_that_is_there_stays_and_with_force_is_kept_beside(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    for number, kept in enumerate(["mine.toml.old", "mine.toml.old1"]):
        mine.write_text(f"# {number}\n", encoding="utf-8")
        refused = run("init", "--zone", "GB", "--yes", "--config", "mine.toml")
        assert (refused.code, mine.read_text(encoding="utf-8")) == (2, f"# {number}\n")
        assert "--force replaces it and keeps the old one beside it" in refused.err
        assert run("init", "--zone", "GB", "--yes", "--config", "mine.toml", "--force").code == 0
        assert (tmp_path / kept).read_text(encoding="utf-8") == f"# {number}\n"
        assert load_config(mine, {}).grid.zone == "GB"


def test_all_problems_are_told_at_once_and_nothing_is_done(run: Run, machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("", encoding="utf-8")
    ran = run("init", "--zone", "UK", "--yes", "--config", "there")
    assert (ran.code, ran.out) == (2, "")
    assert "did you mean GB?" in ran.err
    assert "there exists" in ran.err
    assert machine.tried is None
    missing = run("init", "--yes")
    assert missing.code == 2
    assert "--zone: is required: greenrun never guesses where it is" in missing.err
    assert "is a folder" in run("init", "--zone", "GB", "--config", str(tmp_path)).err


def test_case_does_not_matter(run: Run, tmp_path: Path) -> None:
    assert run("init", "--zone", "us-cal-ciso", "--yes", "--json").code == 0
    assert 'zone = "US-CAL-CISO"' in usual(tmp_path).read_text(encoding="utf-8")


def unit(tmp_path: Path) -> Path:
    return tmp_path / "config" / "systemd" / "user" / "greenrun.service"


@pytest.mark.parametrize(("words", "manager", "is_written"), [
    ((), True, True), ((), False, False), (("--unit",), False, True), (("--no-unit",), True, False),
])  # fmt: skip
def test_the_user_unit_is_written_where_systemd_runs_or_it_is_asked_for(
    run: Run, tmp_path: Path, words: Sequence[str], manager: bool, is_written: bool
) -> None:
    if manager:
        (tmp_path / "run" / "systemd").mkdir(parents=True)
        (tmp_path / "run" / "systemd" / "private").touch()
    ran = run("init", "--zone", "GB", "--yes", *words)
    assert (ran.code, unit(tmp_path).exists()) == (0, is_written)
    assert ("systemctl --user enable --now greenrun" in ran.out) == is_written


def test_the_unit_runs_this_greenrun_with_the_settings_that_were_written(run: Run, tmp_path: Path) -> None:
    assert run("init", "--zone", "GB", "--yes", "--unit", "--config", "a b/100%.toml").code == 0
    lines = unit(tmp_path).read_text(encoding="utf-8").splitlines()
    assert f"ExecStart=/usr/bin/env greenrun serve --config {tmp_path}/a\\x20b/100%%.toml" in lines
    path = next(line for line in lines if line.startswith("Environment=PATH="))
    assert (Path(path.removeprefix("Environment=PATH=").split(":")[0]) / "greenrun").exists()
    assert "KillMode=process" in lines


def test_a_unit_of_the_user_s_own_is_left_as_it_is(run: Run, tmp_path: Path) -> None:
    unit(tmp_path).parent.mkdir(parents=True)
    unit(tmp_path).write_text("mine", encoding="utf-8")
    ran = run("init", "--zone", "GB", "--yes", "--unit")
    assert (ran.code, unit(tmp_path).read_text(encoding="utf-8")) == (0, "mine")
    assert "is there and differs, so it was left as it is" in ran.out


def test_a_folder_that_may_not_be_written_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert "you may not write in" in run("init", "--zone", "GB", "--yes", "--config", "file/greenrun.toml").err
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as for any user but root
    ran = run("init", "--zone", "GB", "--yes", "--config", "new/greenrun.toml")
    assert (ran.code, f"you may not write in {tmp_path}" in ran.err, (tmp_path / "new").exists()) == (2, True, False)


def test_the_unit_can_be_had_for_settings_that_are_there(run: Run, machine: Machine, tmp_path: Path) -> None:
    usual(tmp_path).parent.mkdir(parents=True)
    usual(tmp_path).write_text("# mine\n", encoding="utf-8")
    ran = run("init", "--unit")
    assert (ran.code, unit(tmp_path).is_file(), machine.tried) == (0, True, None)
    assert usual(tmp_path).read_text(encoding="utf-8") == "# mine\n"
    assert f"{usual(tmp_path)} was left as it is\nwrote {unit(tmp_path)}\n" in ran.out


class Keyboard(io.StringIO):
    """What a person types at a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_until_the_zone_can_be_and_whether_to_write_the_unit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / "systemd").mkdir(parents=True)
    (tmp_path / "run" / "systemd" / "private").touch()
    monkeypatch.setattr("sys.stdin", Keyboard("atlantis\nuk\ngb\nn\n"))
    ran = run("init")
    assert (ran.code, ran.out.count("unknown zone"), unit(tmp_path).exists()) == (0, 2, False)
    assert load_config(usual(tmp_path), {}).grid.zone == "GB"


def test_a_person_is_asked_nothing_where_it_would_be_in_vain(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual(tmp_path).parent.mkdir(parents=True)
    usual(tmp_path).write_text("# mine\n", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", Keyboard(""))
    ran = run("init")
    assert (ran.code, ran.out, "--force replaces it" in ran.err) == (2, "", True)
    assert run("init", "--unit").code == 0
    assert unit(tmp_path).is_file()

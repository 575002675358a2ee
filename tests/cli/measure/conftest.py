"""Fixtures of the tests of `greenrun measure`."""

from pathlib import Path

import pytest

from greenrun.measuring import measurement
from tests.cli.measure.runs import Settings
from tests.meters.cpu.powercap import FakeZone, zone


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a reading take all the time that it takes on a busy machine."""
    monkeypatch.setattr(measurement, "READING_LIMIT_S", 30.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Write settings that keep everything in the test's folder."""

    def write(text: str) -> Path:
        file = tmp_path / "greenrun.toml"
        file.write_text(f'{text}\n[paths]\nstate = "state"\n[api]\nsocket = "socket"\n', encoding="utf-8")
        return file

    return write


@pytest.fixture
def cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeZone:
    """A package of a CPU, whose counter stands still, as the one meter that there is."""
    monkeypatch.setenv("GREENRUN_DEVICES__POWERCAP", str(tmp_path / "powercap"))
    return zone(tmp_path / "powercap", "intel-rapl:0", "package-0", 1000.0)

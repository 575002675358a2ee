"""The emulated driver: loaded into this process for virtual time, or found by a sampler process in real time."""

from pathlib import Path
from time import monotonic

import pytest

from tests.meters.nvml.driver import Driver, built


@pytest.fixture
def virtual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """The library in this process, in virtual time: whoever asks for it by its name gets this one."""
    driver = Driver(built(), tmp_path, t0_s=1000.0)
    driver.set_time(0)
    driver.show(monkeypatch)
    return driver


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    """The library as a sampler process finds it, in real time."""
    driver = Driver(built(), tmp_path, t0_s=monotonic())
    driver.show(monkeypatch)
    return driver

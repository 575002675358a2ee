"""The CPU's meter beside the GPUs': what is behind shows, and one that cannot be opened is told, never replaced."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.core.energy.model import Component, Device, DeviceHealth, MeterHealth
from greenrun.core.errors import ConfigError, MeterError
from greenrun.meters import EmulatedSettings, MeterSettings, OpenMeter, open_meter
from greenrun.meters.combined import CombinedMeter
from greenrun.meters.none import NoMeter
from tests.meters.cpu.powercap import two_sockets

T0 = datetime(2026, 3, 2, tzinfo=UTC)


@dataclass
class Told(NoMeter):
    """A meter of one device that tells what a test says."""

    name: str
    kind: Component = Component.GPU
    last: datetime | None = T0
    lag: float | None = 0.0
    restarts: int = 0
    refusals: tuple[str, ...] = ()
    closed: list[str] = field(default_factory=list)

    @property
    def last_sample_at(self) -> datetime | None:  # type: ignore[override]
        return self.last

    @property
    def lag_s(self) -> float | None:  # type: ignore[override]
        return self.lag

    def devices(self) -> Sequence[Device]:  # type: ignore[override]
        return [Device(id=self.name, index=0, model="", source=self.name, kind=self.kind)]

    def health(self) -> MeterHealth:
        return MeterHealth(devices=(DeviceHealth(device=self.name, is_up=True),), restarts=self.restarts)

    def close(self) -> None:
        self.closed.append(self.name)


def opened(tmp_path: Path, *cpu_kinds: str, root: str = "powercap", kind: str = "none") -> OpenMeter:
    settings = MeterSettings(
        kinds=(kind,), cpu_kinds=cpu_kinds, powercap=tmp_path / root, emulated=EmulatedSettings(gpus=1)
    )
    return open_meter(settings, runs_dir=tmp_path / "runs", state_dir=tmp_path)


def test_the_meter_that_is_furthest_behind_is_told_of() -> None:
    joined = CombinedMeter((Told("gpu", lag=1.0, restarts=2), Told("cpu", last=T0 - timedelta(minutes=5), lag=300.0)))
    assert (joined.last_sample_at, joined.lag_s, joined.restarts) == (T0 - timedelta(minutes=5), 300.0, 2)
    assert joined.health() == MeterHealth(
        devices=(DeviceHealth(device="gpu", is_up=True), DeviceHealth(device="cpu", is_up=True)),
        restarts=2,
        lag_s=300.0,
    )


def test_until_each_has_told_once_there_is_no_latest_reading() -> None:
    assert CombinedMeter((Told("gpu"), Told("cpu", last=None, lag=None))).last_sample_at is None


def test_a_meter_without_devices_is_not_waited_for() -> None:
    joined = CombinedMeter((NoMeter(), Told("cpu", lag=2.0), Told("pdu", Component.EXTERNAL, last=None, lag=99.0)))
    assert (joined.last_sample_at, joined.lag_s) == (T0, 2.0)
    assert (CombinedMeter((NoMeter(), NoMeter())).last_sample_at, CombinedMeter((NoMeter(),)).lag_s) == (None, None)


def test_refusals_of_all_are_told_and_all_are_closed() -> None:
    closed = list[str]()
    joined = CombinedMeter((Told("gpu", refusals=("a",), closed=closed), Told("cpu", refusals=("b",), closed=closed)))
    joined.close()
    assert (joined.refusals, closed) == (("a", "b"), ["gpu", "cpu"])


@pytest.mark.system
def test_the_cpu_is_read_beside_the_gpus(tmp_path: Path) -> None:
    two_sockets(tmp_path / "powercap")
    meter = opened(tmp_path, "rapl", kind="emulated")
    try:
        kinds = [device.kind for device in meter.devices()]
        assert kinds == [Component.GPU, Component.CPU, Component.DRAM, Component.CPU, Component.DRAM]
        assert len({device.id for device in meter.devices()}) == 5
    finally:
        meter.close()


@pytest.mark.system
def test_a_cpu_that_cannot_be_read_stops_greenrun_and_leaves_no_meter_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = list[OpenMeter]()
    monkeypatch.setattr(NoMeter, "close", lambda meter: closed.append(meter))
    with pytest.raises(MeterError, match=r"No meter of devices.cpu_meter could be opened. rapl: There is no CPU pack"):
        opened(tmp_path, "rapl", root="missing")
    assert len(closed) == 1


@pytest.mark.system
def test_a_cpu_that_may_go_without_a_meter_does_so_and_says_why(tmp_path: Path) -> None:
    meter = opened(tmp_path, "rapl", "none", root="missing")
    assert list(meter.devices()) == []
    assert [refusal[:30] for refusal in meter.refusals] == ["rapl: There is no CPU package "]
    meter.close()


@pytest.mark.parametrize("kinds", [(), ("nvml",), ("rapl", "sundial")])
def test_a_name_that_is_no_meter_of_the_cpu_is_a_mistake_in_the_settings(
    tmp_path: Path, kinds: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError, match=r"devices.cpu_meter.*name one of rapl, none"):
        opened(tmp_path, *kinds)

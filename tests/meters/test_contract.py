"""What every meter promises, whatever is behind it: one suite over all of them."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest

from greenrun.clock import utc_now
from greenrun.engine.ports import Meter
from greenrun.meters import ConstantSettings, ExternalSettings, MeterSettings, open_meter
from tests.meters.amd.bench import gpu, play
from tests.meters.cpu.powercap import two_sockets
from tests.meters.emulation.in_process import EmulatedMeter
from tests.meters.nvml.driver import Driver, board, built, constant
from tests.patience import until

T0 = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Bench:
    """A meter, its clock, and a way to let a little time pass on it."""

    meter: Meter
    now: Callable[[], datetime]
    let_time_pass: Callable[[], None]


def in_process(folder: Path) -> Iterator[Bench]:
    now = [T0]

    def pass_time() -> None:
        now[0] += timedelta(seconds=1)

    yield Bench(EmulatedMeter(2, 60.0, 350.0, lambda _: {}, lambda: now[0]), lambda: now[0], pass_time)


def sampled(kind: str) -> Callable[[Path], Iterator[Bench]]:
    def bench(folder: Path) -> Iterator[Bench]:
        constant = ConstantSettings(gpus=2, watts_idle=30.0, watts_busy=300.0)
        settings = MeterSettings(kinds=(kind,), constant=constant)
        meter = open_meter(settings, runs_dir=folder / "runs", state_dir=folder)
        yield Bench(meter, utc_now, lambda: until_sampled(meter))
        meter.close()

    return bench


def until_sampled(meter: Meter) -> None:
    """Wait for a reading of every device that is not there yet; a meter without devices has none to wait for."""
    known = {device.id: utc_now() for device in meter.devices()}
    until(lambda: not known.keys() - {one.device for one in meter.read(known)}, "every device is read", 5)


def processor(kind: str) -> Callable[[Path], Iterator[Bench]]:
    """The meter of the CPU on a powercap tree in a folder, beside a meter of GPUs."""

    def bench(folder: Path) -> Iterator[Bench]:
        two_sockets(folder / "powercap")
        settings = MeterSettings(kinds=(kind,), cpu_kinds=("rapl",), powercap=folder / "powercap")
        meter = open_meter(settings, runs_dir=folder / "runs", state_dir=folder)
        yield Bench(meter, utc_now, lambda: until_sampled(meter))
        meter.close()

    return bench


def nvidia(folder: Path) -> Iterator[Bench]:
    """The meter of real GPUs on the emulated driver."""
    driver = Driver(built(), folder, t0_s=monotonic())
    driver.play(*board(0, constant(), quantum_ms=1), *board(1, constant(), energy=0))
    with pytest.MonkeyPatch.context() as patch:
        driver.show(patch)
        yield from sampled("nvml")(folder)


def amd(folder: Path) -> Iterator[Bench]:
    """The meter of real GPUs on the emulated library of AMD."""
    with pytest.MonkeyPatch.context() as patch:
        play(patch, folder, gpu(constant()), gpu(constant(), energy=0), t0=monotonic())
        yield from sampled("amd")(folder)


def external(folder: Path) -> Iterator[Bench]:
    """Two meters outside of the drivers, beside one of GPUs; one counts hundredths of a second, the other nothing."""
    uptime = ("/bin/sh", "-c", "cut -d' ' -f1 /proc/uptime")
    meters = (
        ExternalSettings(name="pdu", unit="J", command=uptime, every_s=1.0),
        ExternalSettings(name="bmc", unit="kWh", command=("/bin/echo", "[7]"), value="0", every_s=1.0, index=1),
    )
    settings = MeterSettings(kinds=("emulated",), external=meters)
    meter = open_meter(settings, runs_dir=folder / "runs", state_dir=folder)
    yield Bench(meter, utc_now, lambda: until_sampled(meter))
    meter.close()


BENCHES = [
    pytest.param(in_process, id="emulated-in-process"),
    pytest.param(sampled("emulated"), id="emulated", marks=pytest.mark.system),
    pytest.param(sampled("constant"), id="constant", marks=pytest.mark.system),
    pytest.param(nvidia, id="nvml", marks=pytest.mark.system),
    pytest.param(amd, id="amd", marks=pytest.mark.system),
    pytest.param(external, id="emulated-and-external", marks=pytest.mark.system),
    pytest.param(processor("none"), id="rapl", marks=pytest.mark.system),
    pytest.param(processor("emulated"), id="emulated-and-rapl", marks=pytest.mark.system),
    pytest.param(sampled("none"), id="none"),
]


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    yield from request.param(tmp_path)


class TestMeter:
    """The promises of `ports.Meter`."""

    def test_devices_come_in_index_order_with_names_of_their_own(self, bench: Bench) -> None:
        devices = bench.meter.devices()
        for source in {device.source for device in devices}:
            own = [device.index for device in devices if device.source == source]
            assert own == list(range(len(own)))
        assert len({device.id for device in devices}) == len(devices)

    def test_it_tells_of_its_own_devices_and_of_all_of_them(self, bench: Bench) -> None:
        bench.let_time_pass()
        assert {one.device for one in bench.meter.read({})} == {device.id for device in bench.meter.devices()}

    def test_readings_come_in_time_order_and_each_devices_energy_only_grows(self, bench: Bench) -> None:
        for _ in range(3):
            bench.meter.read({})
            bench.let_time_pass()
        readings = bench.meter.read({})
        assert [one.at for one in readings] == sorted(one.at for one in readings)
        for device in bench.meter.devices():
            own = [one for one in readings if one.device == device.id]
            assert len(own) >= 3
            assert all(a.at < b.at and a.energy_j <= b.energy_j and a.counter == b.counter for a, b in pairwise(own))

    def test_reading_again_tells_the_same_again(self, bench: Bench) -> None:
        bench.let_time_pass()
        first = bench.meter.read({})
        bench.let_time_pass()
        assert list(bench.meter.read({})[: len(first)]) == list(first)

    def test_it_tells_only_what_came_after_the_instant_asked_for(self, bench: Bench) -> None:
        bench.let_time_pass()
        known = {one.device: one.at for one in bench.meter.read({})}
        bench.let_time_pass()
        assert all(one.at > known[one.device] for one in bench.meter.read(known))

    def test_a_reading_can_be_had_of_the_instant_it_is_asked_for(self, bench: Bench) -> None:
        bench.let_time_pass()
        asked_at = bench.now()
        until(lambda: all(at >= asked_at for at in last_told(bench.meter)), "a fresh reading comes", 5)


def last_told(meter: Meter) -> Collection[datetime]:
    """Return the time of each device's last reading."""
    return {one.device: one.at for one in meter.read({})}.values()

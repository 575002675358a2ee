"""What NVIDIA's boards tell beside their energy: asked once a second at most, and nothing is made up."""

import pytest

from greenrun.core.energy.model import Telemetry
from tests.meters.nvml.bench import Bench
from tests.meters.nvml.driver import Driver, board, constant, uuid

LOAD = ["util 0 0 80 30", "temp 0 0 61", "proc 0 4711 1073741824 0 99"]
UNSUPPORTED, NO_FUNCTION, LOST = 3, 13, 15


def test_a_board_tells_what_it_draws_may_draw_does_holds_and_how_warm_it_is(virtual: Driver) -> None:
    virtual.play(*board(0, constant(), limit=650000), *LOAD, *board(1, constant(100)))
    bench = Bench(virtual)
    bench.run(2.5)
    assert bench.backend.telemetry() == {
        uuid(0): Telemetry(
            power_w=300.0, power_limit_w=650.0, utilization=0.8, memory_used_bytes=1 << 30, temperature_c=61.0
        ),
        uuid(1): Telemetry(
            power_w=100.0, power_limit_w=700.0, utilization=0.0, memory_used_bytes=0, temperature_c=35.0
        ),
    }
    assert {(device.vendor, device.mig) for device in bench.backend.devices} == {("nvidia", False)}


@pytest.mark.parametrize("code", [UNSUPPORTED, NO_FUNCTION])
def test_what_a_driver_cannot_tell_is_none_and_never_0(virtual: Driver, code: int) -> None:
    symbols = ("EnforcedPowerLimit", "UtilizationRates", "MemoryInfo", "Temperature")
    virtual.play(*board(0, constant()), *LOAD, *(f"fault 0 nvmlDeviceGet{name} 0 99 {code}" for name in symbols))
    bench = Bench(virtual)
    bench.run(2.5)
    assert bench.backend.telemetry() == {uuid(0): Telemetry(power_w=300.0)}
    assert {reading.utilization for reading in bench.readings} == {None}


def test_a_board_that_is_split_is_told_to_be_and_has_no_utilisation(virtual: Driver) -> None:
    virtual.play(*board(0, constant(), mig=1, slices=3), *LOAD)
    bench = Bench(virtual)
    bench.run(2.5)
    assert (bench.backend.devices[0].mig, bench.backend.telemetry()[uuid(0)].utilization) == (True, None)
    assert {reading.utilization for reading in bench.readings} == {None}


def test_a_reading_has_the_mean_utilisation_since_the_one_before_it(virtual: Driver) -> None:
    """The first has none, as nobody looked before it."""
    virtual.play(*board(0, constant()), "util 0 0 50 0", "util 0 2 100 0", "util 0 3 0 0")
    bench = Bench(virtual)
    bench.run(4.5)
    assert [reading.utilization for reading in bench.readings] == [None, 0.5, 1.0, 0.0, 0.0]


def test_a_step_that_was_not_watched_has_no_utilisation(virtual: Driver) -> None:
    virtual.play(*board(0, constant()), *board(1, constant()), *LOAD, f"fault 0 * 2 6 {LOST}")
    bench = Bench(virtual)
    bench.run(8.5)
    assert [reading.utilization for reading in bench.of(0)] == [None, 0.8, None, 0.8, 0.8]


def test_boards_are_asked_once_a_second_however_often_they_are_read(virtual: Driver) -> None:
    """And a poke that comes between two looks tells of the last one."""
    virtual.play(*board(0, constant(), energy=0), *LOAD)
    bench = Bench(virtual)
    told = []
    for _ in range(50):
        bench.run(bench.second + 0.1)
        told.append(bench.backend.telemetry())
    assert 4 <= sum(bool(each) for each in told) <= 6
    assert {reading.utilization for reading in bench.readings[1:]} == {0.8}


def test_which_processes_run_is_never_asked(virtual: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """On some boards that takes milliseconds, in which nothing else can ask the driver."""
    log = virtual.folder / "calls"
    monkeypatch.setenv("FAKE_NVML_LOG", str(log))
    virtual.play(*board(0, constant()), *LOAD)
    Bench(virtual).run(3.5)
    asked = {line.split()[2] for line in log.read_text().splitlines()}
    assert "nvmlDeviceGetUtilizationRates" in asked
    assert [name for name in asked if "Processes" in name] == []

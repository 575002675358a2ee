"""Who uses a board and whether it is lost: asked every few seconds, and at once where somebody has to know."""

from collections.abc import Mapping

import pytest

from greenrun.core.energy.model import GpuProcess, GpuUse
from tests.meters.nvml.bench import Bench
from tests.meters.nvml.driver import Driver, board, constant, uuid

GIB = 1 << 30
LOST, UNKNOWN, NO_FUNCTION, UNSUPPORTED = 15, 999, 13, 3
COMPUTING = "nvmlDeviceGetComputeRunningProcesses"


def told(bench: Bench, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
    return bench.backend.gpu_uses(is_urgent=is_urgent)


def test_a_board_tells_its_processes_once_each_with_their_memory(virtual: Driver) -> None:
    mine = [f"proc 0 42 {8 * GIB} 0 99", f"proc 0 42 {GIB} 0 99", "proc 0 43 0 5 99"]
    virtual.play(*board(0, constant()), *mine, *board(1, constant()))
    bench = Bench(virtual)
    bench.run(2.5)
    uses = told(bench)
    assert (uses[uuid(0)].processes, uses[uuid(1)].processes) == ((GpuProcess(pid=42, memory_bytes=9 * GIB),), ())
    assert {use.fault for use in uses.values()} == {None}


def test_it_is_asked_every_five_seconds_and_at_once_where_that_is_urgent(virtual: Driver) -> None:
    virtual.play(*board(0, constant()))
    bench = Bench(virtual)
    assert told(bench)
    bench.run(4.5)
    assert not told(bench)
    assert told(bench, is_urgent=True)
    bench.run(9.0)
    assert not told(bench)
    bench.run(9.6)
    assert told(bench)


def test_an_older_driver_is_asked_in_the_older_form(virtual: Driver) -> None:
    virtual.play(*board(0, constant()), f"proc 0 42 {GIB} 0 99", f"fault 0 {COMPUTING}_v3 0 99 {NO_FUNCTION}")
    assert told(Bench(virtual))[uuid(0)].processes == (GpuProcess(pid=42, memory_bytes=GIB),)


def test_a_driver_that_tells_no_processes_is_believed_to_know_none(virtual: Driver) -> None:
    virtual.play(*board(0, constant()), f"fault 0 {COMPUTING}_v3 0 99 {UNSUPPORTED}")
    assert told(Bench(virtual))[uuid(0)] == GpuUse(at=told(Bench(virtual))[uuid(0)].at)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (LOST, "it has fallen off the bus or is not accessible any more"),
        (UNKNOWN, "NVIDIA's driver tells nothing of it"),
    ],
)
def test_a_lost_board_is_told_to_be_lost_until_it_is_back(virtual: Driver, code: int, why: str) -> None:
    virtual.play(*board(0, constant()), *board(1, constant()), f"fault 1 * 5 20 {code}")
    bench = Bench(virtual)
    bench.run(4.0)
    assert told(bench, is_urgent=True)[uuid(1)].fault is None
    bench.run(12.0)
    uses = told(bench)
    assert (uses[uuid(0)].fault, str(uses[uuid(1)].fault).startswith(why)) == (None, True)
    bench.run(22.0)
    assert told(bench, is_urgent=True)[uuid(1)].fault is None


def test_a_board_that_has_no_power_to_tell_is_not_lost(virtual: Driver) -> None:
    silent = ("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage")
    virtual.play(
        *board(0, constant()), *board(1, constant()), *(f"fault 1 {name} 0 99 {UNSUPPORTED}" for name in silent)
    )
    bench = Bench(virtual)
    bench.run(12.0)
    assert told(bench, is_urgent=True)[uuid(1)].fault is None

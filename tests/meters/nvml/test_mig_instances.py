"""MIG instances: devices of their own that are never read, with the board's energy in the board's readings alone."""

import pytest

from greenrun.core.energy.gpu_parts import driver_name, share_of
from greenrun.core.energy.model import boards, gpus
from tests.meters.nvml.bench import Bench
from tests.meters.nvml.driver import Driver, board, constant, uuid

NOT_FOUND = 6


def test_each_instance_is_leased_and_the_board_alone_is_read(virtual: Driver) -> None:
    virtual.play(*board(0, constant(), limit=700000, mig=1, slices=2), *board(1, constant()))
    bench = Bench(virtual)
    bench.run(2.5)
    assert [device.name for device in gpus(bench.backend.devices)] == ["0/mig-0", "0/mig-1", "1"]
    first, second, _ = gpus(bench.backend.devices)
    assert [(part.of_board, share_of(part.id)) for part in (first, second)] == [
        ("1g.10gb", pytest.approx(1 / 7)), ("2g.20gb", pytest.approx(2 / 7)),
    ]  # fmt: skip
    assert driver_name(second.id) == "MIG-00000000-0000-0000-0001-000000000000"
    assert (second.within, second.instance, second.memory_bytes) == (uuid(0), (4, 0), 20 << 30)
    assert second.power_w == pytest.approx(200.0)
    assert [device.id for device in boards(bench.backend.devices)] == [uuid(0), uuid(1)]
    assert {reading.device for reading in bench.readings} == {uuid(0), uuid(1)}


@pytest.mark.parametrize("symbol", ["nvmlDeviceGetAttributes_v2", "nvmlDeviceGetMigDeviceHandleByIndex"])
def test_what_the_driver_does_not_tell_of_is_not_given_out(virtual: Driver, symbol: str) -> None:
    """Neither an instance of unknown size, nor a board in MIG mode, on which no program could run."""
    virtual.play(*board(0, constant(), mig=1, slices=2), *board(1, constant()), f"fault 0 {symbol} 0 99 {NOT_FOUND}")
    bench = Bench(virtual)
    assert [device.name for device in gpus(bench.backend.devices)] == ["1"]


def test_an_instance_that_is_destroyed_is_lost_and_the_others_are_not(virtual: Driver) -> None:
    virtual.play(*board(0, constant(), mig=1, slices=2))
    bench = Bench(virtual)
    first, second = gpus(bench.backend.devices)
    virtual.play(*board(0, constant(), mig=1, slices=1))
    uses = bench.backend.gpu_uses(is_urgent=True)
    assert (uses[first.id].fault, uses[first.id].processes) == (None, ())
    assert uses[second.id].fault == "the driver does not list it any more"
    assert uses[uuid(0)].processes == ()

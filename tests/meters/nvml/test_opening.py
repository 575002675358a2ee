"""Which GPUs the NVML meter finds, and how it says why it cannot."""

import re

import pynvml
import pytest

from greenrun.core.errors import MeterEnded, MeterError
from greenrun.meters.gpu.nvidia import refusal
from tests.meters.nvml.bench import Bench
from tests.meters.nvml.driver import Driver, board, constant, square, uuid

TWO = [*board(0, constant(), name="A_GPU"), *board(1, constant(), limit=400000)]


def test_a_board_is_told_by_uuid_with_its_model_memory_and_limit(virtual: Driver) -> None:
    virtual.play(*TWO)
    first, second = Bench(virtual).backend.devices
    assert (first.id, first.index, first.model, first.source) == (uuid(0), 0, "A GPU", "nvml")
    assert (first.memory_bytes, first.power_w, second.power_w) == (80 * 2**30, 700.0, 400.0)
    assert not first.emulated


@pytest.mark.parametrize("include", [[1], ["1"], [uuid(1)]])
def test_boards_are_chosen_by_uuid_or_index(virtual: Driver, include: list[str | int]) -> None:
    virtual.play(*TWO)
    bench = Bench(virtual, include=include)
    bench.run(1.5)
    assert [device.id for device in bench.backend.devices] == [uuid(1)]
    assert {reading.device for reading in bench.readings} == {uuid(1)}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["init_error 9"], "driver is not loaded; load it"),
        (["init_error 4"], "may not ask NVIDIA's driver; give it access to /dev/nvidiactl"),
        (["init_error 18"], "different versions, as after an update; reload the driver"),
        (["init_error 999"], "cannot be asked .*; see what nvidia-smi says"),
        (["fault -1 nvmlDeviceGetCount_v2 0 99 9"], "driver is not loaded"),
        ([], "NVIDIA's driver has no GPU; see what nvidia-smi says, or choose another meter"),
        ([*TWO, "fault -1 nvmlDeviceGetHandleByIndex_v2 0 99 15"], "None of the 2 GPUs .* can be read"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_a_sentence(virtual: Driver, lines: list[str], said: str) -> None:
    virtual.play(*lines)
    with pytest.raises(MeterError) as refused:
        Bench(virtual)
    assert re.search(said, str(refused.value).replace("fault -1 ", ""))
    assert str(refused.value).endswith(".")


def test_a_machine_without_the_library_is_told_so() -> None:
    told = refusal(pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert "no driver library of NVIDIA's (libnvidia-ml.so.1); install the driver" in str(told)


def test_a_counter_that_may_not_be_read_is_none(virtual: Driver) -> None:
    """Power is then integrated, ten times a second."""
    virtual.play(*board(0, square(30)), "fault 0 nvmlDeviceGetTotalEnergyConsumption 0 99 4")
    bench = Bench(virtual)
    bench.run(20.5)
    assert {reading.quality for reading in bench.readings} == {"integrated"}
    assert bench.used_j() == pytest.approx(350 * 20, rel=0.03)


def test_a_counter_of_a_board_that_is_lost_while_it_is_looked_for_is_there_none_the_less(virtual: Driver) -> None:
    virtual.play(*board(0, constant()), "fault 0 nvmlDeviceGetTotalEnergyConsumption 0 1 15")
    bench = Bench(virtual)
    bench.run(60.5)
    assert bench.used_j() == pytest.approx(300 * 60, rel=0.02)
    assert bench.readings[-1].quality == "measured"


def test_one_lost_board_keeps_no_other_from_being_read_and_calls_for_a_new_process_when_it_is_back(
    virtual: Driver,
) -> None:
    virtual.play(*TWO, "fault 0 * 0 10 15")
    bench = Bench(virtual)
    bench.run(9.5)
    assert {reading.device for reading in bench.readings} == {uuid(1)}
    assert bench.refusals == []
    bench.skip(10.5)
    with pytest.raises(MeterEnded, match="back, so the driver is opened anew"):
        bench.backend.sample()
    bench.open()
    assert len(bench.backend.devices) == 2


def test_when_nothing_can_be_read_the_driver_is_asked_for_a_while_and_then_opened_anew(virtual: Driver) -> None:
    virtual.play(*TWO, "fault -1 * 5 99 15")
    bench = Bench(virtual)
    bench.run(14.5)
    assert set(bench.refusals) == {"None of the 2 GPUs can be read; is the driver being reloaded?"}
    bench.skip(15.5)
    with pytest.raises(MeterEnded, match="No GPU could be read for 11s"):
        bench.backend.sample()

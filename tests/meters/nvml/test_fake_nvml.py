"""The emulated driver library does what real ones do, as unmodified nvidia-ml-py sees it."""

import threading
from typing import Any

import pynvml
import pytest

from tests.meters.nvml.driver import Driver, board, constant, energy_j, square, uuid
from tests.patience import HANGS_S


def handle(driver: Driver, *lines: str, index: int = 0) -> Any:
    """Play a script and return a board's handle."""
    driver.play(*lines)
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByIndex(index)


def test_the_counter_is_the_integral_of_the_power(virtual: Driver) -> None:
    gpu = handle(virtual, *board(0, square(20), base_mj=7))
    for second in (0, 0.5, 1.25, 13.75):
        virtual.set_time(second)
        told_j = (pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) - 7) / 1000
        assert told_j == pytest.approx(energy_j(square(20), 0, second), abs=60)  # it is renewed every tenth of a second


def test_a_reload_starts_the_counter_again_and_a_lost_board_cannot_be_read(virtual: Driver) -> None:
    gpu = handle(virtual, *board(0, constant()), "reset_energy 0 5", "fault 0 * 8 9 15")
    virtual.set_time(7)
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) == 600_000
    virtual.set_time(8)
    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlDeviceGetPowerUsage(gpu)


def test_the_slices_of_a_split_board_tell_its_whole_power(virtual: Driver) -> None:
    gpu = handle(virtual, *board(0, constant(), mig=1, slices=2))
    slices = [pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index) for index in range(2)]
    assert pynvml.nvmlDeviceGetCount() == 1
    assert pynvml.nvmlDeviceGetMigMode(gpu) == [1, 1]
    assert [pynvml.nvmlDeviceGetPowerUsage(each) for each in slices] == [300_000, 300_000]
    assert len({pynvml.nvmlDeviceGetUUID(each) for each in (gpu, *slices)}) == 3
    with pytest.raises(pynvml.NVMLError_NotFound):
        pynvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 2)


def test_processes_memory_and_limits_are_those_of_the_script(virtual: Driver) -> None:
    gpu = handle(virtual, *board(0, constant(), mem=1000, limit=400000, min=100000, max=500000), "proc 0 77 300 0 9")
    (process,) = pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)
    assert (process.pid, process.usedGpuMemory) == (77, 300)
    assert pynvml.nvmlDeviceGetMemoryInfo(gpu).free == 700
    assert pynvml.nvmlDeviceGetPowerManagementLimitConstraints(gpu) == [100_000, 500_000]
    pynvml.nvmlDeviceSetPowerManagementLimit(gpu, 200_000)
    assert pynvml.nvmlDeviceGetPowerUsage(gpu) == 200_000


def test_a_call_that_hangs_lets_others_go_on(virtual: Driver) -> None:
    gpu = handle(virtual, *board(0, constant()), "hang 0 nvmlDeviceGetPowerUsage 5 6")
    virtual.set_time(5.5)
    answered = threading.Event()

    def ask() -> None:
        pynvml.nvmlDeviceGetPowerUsage(gpu)
        answered.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert not answered.wait(0.2)
    assert pynvml.nvmlDeviceGetUUID(gpu) == uuid(0)
    virtual.set_time(6)
    thread.join(HANGS_S)
    assert answered.is_set()

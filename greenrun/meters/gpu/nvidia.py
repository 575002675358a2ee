"""NVIDIA's library (NVML): a board's energy counter, power and telemetry, and its errors as sentences."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import pynvml

from greenrun.core.energy.gpu_parts import driver_name, instance_of
from greenrun.core.energy.model import Device, GpuProcess, GpuUse, Telemetry
from greenrun.core.energy.power_limit import LimitFaultKind, LimitReading
from greenrun.core.errors import MeterError
from greenrun.meters.gpu.accumulator import HIGHEST_W
from greenrun.meters.gpu.driver import PowerLimitError

KIND, MAKER, SMI = "nvml", "NVIDIA", "nvidia-smi"

_ASK_SMI = f"see what {SMI} says, then start greenrun again"
_WHY = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "This machine has no driver library of NVIDIA's (libnvidia-ml.so.1); install "
    "the driver, or choose another meter.",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "NVIDIA's driver is not loaded; load it until nvidia-smi answers, or choose "
    "another meter.",
    pynvml.NVML_ERROR_NO_PERMISSION: "This user may not ask NVIDIA's driver; give it access to /dev/nvidiactl and "
    "/dev/nvidia0 and so on.",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "NVIDIA's library and the driver that is loaded are of different "
    "versions, as after an update; reload the driver or restart the machine.",
}
# A handle is invalid after its driver was reloaded; a board that returns needs a new one.
_GONE = {
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
}


_LOST = {  # what is said of a board with which nothing can be done
    pynvml.NVML_ERROR_GPU_IS_LOST: "it has fallen off the bus or is not accessible any more",
    pynvml.NVML_ERROR_RESET_REQUIRED: "it has to be reset",
    pynvml.NVML_ERROR_NOT_FOUND: "the driver does not list it any more",
}
_UNSUPPORTED = (LimitFaultKind.UNSUPPORTED, "NVIDIA's driver keeps no power limit for this GPU that could be set")
_LIMIT_WHY = {
    pynvml.NVML_ERROR_NO_PERMISSION: (
        LimitFaultKind.NO_RIGHTS, "NVIDIA's driver lets only root, with CAP_SYS_ADMIN, set power limits",
    ),
    pynvml.NVML_ERROR_NOT_SUPPORTED: _UNSUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: _UNSUPPORTED,
}  # fmt: skip
T = TypeVar("T")


@dataclass(slots=True)
class Nvidia:
    """A board by its UUID; `limit_w` is its maximum power, `counts` whether it has an energy counter."""

    device: Device
    limit_w: float
    counts: bool
    handle: Any  # None while the board is lost
    fault: str | None = None
    parts: tuple[Device, ...] | None = None

    def counter_j(self) -> float | None:
        """Return its energy counter in J; None if it has none, or cannot be read now."""
        energy_mj = self._ask(pynvml.nvmlDeviceGetTotalEnergyConsumption) if self.counts else None
        return None if energy_mj is None else energy_mj / 1000

    def power_w(self) -> float | None:
        """Return its power in W; None if it cannot be read now."""
        power_mw = self._ask(pynvml.nvmlDeviceGetPowerUsage)
        return None if power_mw is None else power_mw / 1000

    def telemetry(self, power_w: float | None) -> Telemetry:
        """Return its telemetry, including the power just read; None for values it does not report."""
        limit_mw = self._ask(pynvml.nvmlDeviceGetEnforcedPowerLimit)
        used = self._ask(pynvml.nvmlDeviceGetUtilizationRates)
        memory = self._ask(pynvml.nvmlDeviceGetMemoryInfo)
        return Telemetry(
            power_w=power_w or None,  # a running board draws something
            power_limit_w=None if limit_mw is None else limit_mw / 1000,
            utilization=None if used is None else used.gpu / 100,
            memory_used_bytes=None if memory is None else memory.used,
            temperature_c=self._ask(_temperature_c),
        )

    def processes(self) -> tuple[GpuProcess, ...] | None:
        """Return the processes that compute on it, in whatever part of it; None if the driver does not tell."""
        computing = self._ask(_computing)
        drawing = (
            {row.pid for row in self._ask(pynvml.nvmlDeviceGetGraphicsRunningProcesses_v3) or ()} if computing else ()
        )
        return None if computing is None else tuple(_processes(computing, drawing))

    def part_use(self, part: Device, at: datetime) -> GpuUse:
        """Return who uses one of its MIG instances; one that was destroyed is lost until greenrun is started again."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(driver_name(part.id))
        except pynvml.NVMLError as exc:
            gone = _LOST[pynvml.NVML_ERROR_NOT_FOUND]
            return GpuUse(at=at, fault=gone if exc.value == pynvml.NVML_ERROR_NOT_FOUND else None)
        computing = _known(_computing, handle)
        return GpuUse(at=at, processes=None if computing is None else tuple(_processes(computing, ())))

    def _ask(self, question: Callable[[Any], T]) -> T | None:
        try:
            self.handle = self.handle or self._found_again()
            answer = question(self.handle)
        except pynvml.NVMLError as exc:
            self.fault = _LOST.get(exc.value, self.fault)
            if exc.value in _GONE:
                self.handle = None
            return None
        self.fault = None
        return answer

    def _found_again(self) -> Any:
        try:
            return pynvml.nvmlDeviceGetHandleByUUID(self.device.id)
        except pynvml.NVMLError_Uninitialized:
            pynvml.nvmlInit()
            return pynvml.nvmlDeviceGetHandleByUUID(self.device.id)


def open_driver() -> str:
    """Open the library and return the driver's version; raise MeterError if it cannot be used."""
    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError as exc:
        raise refusal(exc) from exc


def refusal(exc: pynvml.NVMLError) -> MeterError:
    """Return an error of the library as a sentence for the user."""
    return MeterError(_WHY.get(exc.value, f"NVIDIA's driver cannot be asked ({exc}); {_ASK_SMI}."))


def board_count() -> int:
    """Return how many boards the driver knows, including unreadable ones; raise MeterError."""
    try:
        return int(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError as exc:
        raise refusal(exc) from exc


def board_at(index: int) -> Nvidia | None:
    """Return the board at an index; None if it is lost. A board split by MIG is still one board, with parts."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid, name = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
    except pynvml.NVMLError:
        return None
    memory = _known(pynvml.nvmlDeviceGetMemoryInfo, handle)
    bounds_mw = _known(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle)
    limit_mw = _known(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    mig = _known(pynvml.nvmlDeviceGetMigMode, handle)  # as it is now, and as it will be after a reset
    device = Device(
        id=uuid,
        index=index,
        model=name,
        source="nvml",
        memory_bytes=memory.total if memory else None,
        power_w=limit_mw / 1000 if limit_mw else None,
        vendor="nvidia",
        mig=bool(mig and mig[0]),
        pci=_pci(handle),
    )
    highest_w = max(bounds_mw[1] if bounds_mw else 0, limit_mw or 0) / 1000 or HIGHEST_W
    board = Nvidia(device, highest_w, _counts(handle), handle)
    board.parts = tuple(_instances(handle, device)) if device.mig and _most_instances(handle) else None
    return board


def _most_instances(handle: Any) -> int:
    """Return how many MIG instances a board may have, which is how many compute slices it has."""
    return int(_known(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0)


def _instances(handle: Any, board: Device) -> Iterator[Device]:
    """Yield the MIG instances of a board, those alone that the driver tells all of that a lease takes."""
    most = _most_instances(handle)
    for number in range(most):
        one = _known(partial(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, index=number), handle)
        if one is None:
            continue
        uuid, told = _known(pynvml.nvmlDeviceGetUUID, one), _known(pynvml.nvmlDeviceGetAttributes_v2, one)
        if uuid is None or told is None:
            continue
        numbers = [
            _known(ask, one) for ask in (pynvml.nvmlDeviceGetGpuInstanceId, pynvml.nvmlDeviceGetComputeInstanceId)
        ]
        yield instance_of(
            board,
            str(uuid),
            number=number,
            profile=_profile(one, told),
            slices=(told.computeInstanceSliceCount, most),
            memory_bytes=told.memorySizeMB << 20,
            instance=None if None in numbers else (int(numbers[0]), int(numbers[1])),
        )


def _profile(handle: Any, told: Any) -> str:
    """Return what NVIDIA calls a kind of instance, as `1g.10gb`: the end of its name, or made of its size."""
    named = re.search(r"MIG (\S+)$", str(_known(pynvml.nvmlDeviceGetName, handle) or ""))
    if named:
        return named[1]
    own, whole = told.computeInstanceSliceCount, told.gpuInstanceSliceCount
    part = f"{own}c." if own < whole else ""
    return f"{part}{whole}g.{round(told.memorySizeMB / 1024)}gb"


def _pci(handle: Any) -> str | None:
    told = _known(pynvml.nvmlDeviceGetPciInfo, handle)
    return None if told is None else str(told.busId).lower() or None


def power_limit(device: str) -> LimitReading:
    """Return the power limit of a board, its bounds and its default; raise PowerLimitError."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(device)
        least_mw, most_mw = pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle)
        return LimitReading(
            limit_w=pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000,
            least_w=least_mw / 1000,
            most_w=most_mw / 1000,
            default_w=pynvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1000,
        )
    except pynvml.NVMLError as exc:
        raise _limit_refusal(exc) from exc


def set_power_limit(device: str, limit_w: float) -> None:
    """Set the power limit of a board; raise PowerLimitError.

    By the first form of the call: nvidia-ml-py does not look at what the second one returns.
    """
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(device)
        pynvml.nvmlDeviceSetPowerManagementLimit(handle, round(limit_w * 1000))
    except pynvml.NVMLError as exc:
        raise _limit_refusal(exc) from exc


def _limit_refusal(exc: pynvml.NVMLError) -> PowerLimitError:
    kind, why = _LIMIT_WHY.get(exc.value, (LimitFaultKind.UNREACHABLE, f"NVIDIA's driver answers: {exc}"))
    return PowerLimitError(kind, why)


def _temperature_c(handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))


def _computing(handle: Any) -> Any:
    """Return the processes that compute on a board; drivers before 510 know an older form of the list."""
    try:
        return pynvml.nvmlDeviceGetComputeRunningProcesses_v3(handle)
    except pynvml.NVMLError_FunctionNotFound:
        return pynvml.nvmlDeviceGetComputeRunningProcesses_v2(handle)


def _processes(computing: Iterable[Any], drawing: Collection[int]) -> Iterator[GpuProcess]:
    """Yield each process once, with the memory that it has in all parts of the board; None where that is not told."""
    by_pid: dict[int, list[int | None]] = {}
    for row in computing:
        by_pid.setdefault(row.pid, []).append(row.usedGpuMemory)
    for pid, sizes in by_pid.items():
        known = [size for size in sizes if size is not None]
        memory_bytes = sum(known) if len(known) == len(sizes) else None
        yield GpuProcess(pid=pid, memory_bytes=memory_bytes, is_graphics=pid in drawing)


def _counts(handle: Any) -> bool:
    """Whether a board has an energy counter: those before Volta and virtual ones have none."""
    try:
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as exc:
        return exc.value in _GONE  # a board that is lost now may still have one
    return True


def _known(question: Callable[[Any], Any], handle: Any) -> Any:
    try:
        return question(handle)
    except pynvml.NVMLError:
        return None

"""AMD's library (amdsmi): a GPU's energy counter, power and telemetry, and its errors as sentences.

A card of two dies, or a GPU split into partitions, is several GPUs to programs but has one counter, that of the first.
The others report 0, which is no energy, so they are never read, and their model names the GPU that counts for them.
"""

import importlib
import io
import re
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from greenrun.core.energy.model import Device, GpuProcess, GpuUse, Telemetry
from greenrun.core.energy.power_limit import LimitFaultKind, LimitReading
from greenrun.core.errors import MeterError
from greenrun.meters.gpu.accumulator import HIGHEST_W
from greenrun.meters.gpu.driver import PowerLimitError

UNKNOWN_W = 0xFFFF  # means "not known", as the text N/A does
UW_AT_LEAST = 100_000  # limits are in µW, in some releases in W; no value is valid in both
MIB = 2**20
KFD_PROCESSES = (
    "/sys/class/kfd/kfd/proc"  # has a folder for each process that computes; the library lists all others too
)
_UUID = re.compile(r"GPU-[0-9a-f]{16}")
_POWERS = ("socket_power", "current_socket_power", "average_socket_power")  # each is missing on some model or release
_ASK_SMI = "see what amd-smi says, then start greenrun again"
_WHY = {
    "NO_PERM": "This user may not ask AMD's driver; add it to the groups render and video.",
    "DRIVER_NOT_LOADED": "AMD's driver (amdgpu) is not loaded; load it until amd-smi answers, or choose another meter.",
}


@dataclass(slots=True)
class Amd:
    """A GPU; `limit_w` is its maximum power, `counts` whether it has a working energy counter."""

    device: Device
    limit_w: float
    counts: bool
    is_silent: bool  # its energy is counted by another one
    library: Any
    handle: Any
    fault: str | None = None  # the library has no error of its own for a card that is lost

    def counter_j(self) -> float | None:
        """Return its energy counter in J; None if it has none, or cannot be read now.

        0 is no value: a card that is on has used something.
        """
        answer = {} if self.is_silent or not self.counts else self._ask(self.library.amdsmi_get_energy_count)
        counted = answer.get("energy_accumulator", answer.get("power"))  # its name until ROCm 6.0
        energy_j = _number(counted) * _number(answer.get("counter_resolution")) / 1e6
        return energy_j or None

    def power_w(self) -> float | None:
        """Return its power in W; None if it cannot be read now, or is 0."""
        answer = {} if self.is_silent else self._ask(self.library.amdsmi_get_power_info)
        powers_w = (_number(answer.get(name)) for name in _POWERS)
        return next((power_w for power_w in powers_w if 0 < power_w < UNKNOWN_W), None)

    def telemetry(self, power_w: float | None) -> Telemetry:
        """Return its telemetry, including the power just read; None for values it does not report."""
        busy = self._ask(self.library.amdsmi_get_gpu_activity).get("gfx_activity")
        used = self._ask(self.library.amdsmi_get_gpu_vram_usage).get("vram_used")
        return Telemetry(
            power_w=power_w,
            power_limit_w=_limit_w(self._ask(self.library.amdsmi_get_power_cap_info), "power_cap"),
            utilization=min(1.0, busy / 100) if isinstance(busy, int | float) else None,
            memory_used_bytes=used * MIB if isinstance(used, int) else None,
            temperature_c=self._temperature_c(),
        )

    @property
    def parts(self) -> None:
        """None: what AMD divides is told as GPUs of their own."""
        return None

    def part_use(self, part: Device, at: datetime) -> GpuUse:
        """Return nothing: there are no parts."""
        return GpuUse(at=at)

    def processes(self) -> tuple[GpuProcess, ...] | None:
        """Return the processes that have memory of it; None if the library does not tell."""
        listed = _answer(self.library, getattr(self.library, "amdsmi_get_gpu_process_list", None), self.handle)
        if listed is None:
            return None
        found = [_process(row) for row in map(self._process_info, listed)]
        return tuple(process for process in found if process)

    def _process_info(self, row: Any) -> Mapping[str, Any]:
        """Return what is known of a process in the list, which until ROCm 6.0 holds handles."""
        if isinstance(row, Mapping):
            return row
        return _answer(self.library, getattr(self.library, "amdsmi_get_gpu_process_info", None), self.handle, row) or {}

    def _temperature_c(self) -> float | None:
        """Return the edge temperature, or the hotspot's if the edge has no sensor."""
        kinds, now = self.library.AmdSmiTemperatureType, self.library.AmdSmiTemperatureMetric.CURRENT
        for place in (kinds.EDGE, kinds.HOTSPOT):
            degrees = _answer(self.library, self.library.amdsmi_get_temp_metric, self.handle, place, now)
            if _number(degrees) > 0:
                return float(degrees)
        return None

    def _ask(self, question: Callable[[Any], Any]) -> Mapping[str, Any]:
        """Return the answer, empty on an error; a handle of a reloaded driver fails until a new process opens it."""
        return _answer(self.library, question, self.handle) or {}


@dataclass(slots=True)
class AmdDriver:
    """AMD's driver, as `driver.Driver` wants it. `load` returns the module `amdsmi`, which comes with ROCm."""

    KIND = "amd"
    MAKER = "AMD"
    SMI = "amd-smi"

    load: Callable[[], Any] = lambda: importlib.import_module("amdsmi")
    _library: Any = None
    _handles: list[Any] = field(default_factory=list)

    def open_driver(self) -> str:
        """Load and open the library and return the driver's version; raise MeterError if it cannot be used."""
        self._library = self._loaded()
        try:
            self._library.amdsmi_init()
            handles = self._library.amdsmi_get_processor_handles()
        except self._library.AmdSmiException as exc:
            raise refusal(exc) from exc
        self._handles = sorted(handles, key=self._place)
        info = _answer(self._library, self._library.amdsmi_get_gpu_driver_info, handles[0]) if handles else None
        return str((info or {}).get("driver_version", "unknown"))

    def board_count(self) -> int:
        """Return how many GPUs the driver knows, including unreadable ones."""
        return len(self._handles)

    def board_at(self, index: int) -> Amd | None:
        """Return the GPU at an index; None if it is lost."""
        found = self._alone(index)
        if found is None or not self._is_part(found):
            return found
        whose = next((one for at in range(index - 1, -1, -1) if (one := self._whole(at, found.device.model))), None)
        if whose is None:
            return found
        model = f"{found.device.model} (its energy is in that of {whose.device.id})"
        return replace(found, device=replace(found.device, model=model, within=whose.device.id), is_silent=True)

    def power_limit(self, device: str) -> LimitReading:
        """Return the power limit of a GPU, its bounds and its default; raise PowerLimitError."""
        caps = self._limits(self._limited(device).handle)
        told = [_limit_w(caps, name) for name in ("power_cap", "min_power_cap", "max_power_cap", "default_power_cap")]
        limit_w, least_w, most_w, default_w = told
        if limit_w is None or most_w is None:
            raise PowerLimitError(LimitFaultKind.UNSUPPORTED, "AMD's driver tells no power limit of this GPU")
        # 0 as the least is no bound: below a tenth a GPU does nothing but wait
        return LimitReading(
            limit_w=limit_w, least_w=least_w or most_w / 10, most_w=most_w, default_w=default_w or most_w
        )

    def set_power_limit(self, device: str, limit_w: float) -> None:
        """Set the power limit of a GPU; raise PowerLimitError."""
        handle, setter = self._limited(device).handle, getattr(self._library, "amdsmi_set_power_cap", None)
        is_in_uw = _number(self._limits(handle).get("power_cap")) >= UW_AT_LEAST
        if setter is None:
            raise PowerLimitError(LimitFaultKind.UNSUPPORTED, "AMD's library has no call that sets power limits")
        try:
            setter(handle, 0, round(limit_w * (1e6 if is_in_uw else 1)))
        except self._library.AmdSmiException as exc:
            raise _limit_refusal(exc) from exc

    def _limited(self, device: str) -> Amd:
        """Return the GPU of this id that has a limit of its own; raise PowerLimitError."""
        found = next(
            (one for at in range(self.board_count()) if (one := self.board_at(at)) and one.device.id == device), None
        )
        if found is None:
            raise PowerLimitError(LimitFaultKind.UNREACHABLE, "AMD's driver does not list this GPU")
        if found.device.within:
            raise PowerLimitError(LimitFaultKind.UNSUPPORTED, f"its power limit is that of {found.device.within}")
        return found

    def _limits(self, handle: Any) -> Mapping[str, Any]:
        try:
            told: Mapping[str, Any] = self._library.amdsmi_get_power_cap_info(handle)
        except self._library.AmdSmiException as exc:
            raise _limit_refusal(exc) from exc
        return told

    def _whole(self, index: int, model: str) -> Amd | None:
        found = self._alone(index)
        return found if found and found.device.model == model and not self._is_part(found) else None

    def _is_part(self, found: Amd) -> bool:
        """Whether it is a partition other than the first, or a die without values of its own."""
        partition = (
            _answer(self._library, getattr(self._library, "amdsmi_get_gpu_kfd_info", None), found.handle)
        ) or {}
        return _number(partition.get("current_partition_id")) > 0 or (
            found.counter_j() is None and found.power_w() is None
        )

    def _alone(self, index: int) -> Amd | None:
        library, handle = self._library, self._handles[index]
        asic = _answer(library, library.amdsmi_get_gpu_asic_info, handle)
        name = self._name(handle, asic or {})
        if asic is None or name is None:
            return None
        caps = _answer(library, library.amdsmi_get_power_cap_info, handle) or {}
        limit_w, highest_w = _limit_w(caps, "power_cap"), _limit_w(caps, "max_power_cap")
        memory = (_answer(library, library.amdsmi_get_gpu_vram_usage, handle) or {}).get("vram_total")
        device = Device(
            id=name,
            index=index,
            model=str(asic.get("market_name", "AMD GPU")),
            source=self.KIND,
            memory_bytes=memory * MIB if isinstance(memory, int) and memory else None,
            power_w=limit_w,
            vendor="amd",
            pci=_answer(library, getattr(library, "amdsmi_get_gpu_device_bdf", None), handle),
        )
        found = Amd(device, max(highest_w or 0.0, limit_w or 0.0) or HIGHEST_W, True, False, library, handle)
        return replace(found, counts=found.counter_j() is not None)

    def _name(self, handle: Any, asic: Mapping[str, Any]) -> str | None:
        """Return the UUID that ROCR_VISIBLE_DEVICES takes, derived from the serial number with older libraries.

        A GPU that has neither is identified by the library's own UUID, and made visible by its index.
        """
        uuid = str(self._enumerated(handle).get("hip_uuid", "")).strip()
        serial = f"GPU-{str(asic.get('asic_serial', '')).lower().removeprefix('0x'):0>16}"
        for name in (uuid.replace("GPU-", "").lower(), serial.removeprefix("GPU-")):
            if _UUID.fullmatch(f"GPU-{name}") and int(name, 16):
                return f"GPU-{name}"
        own = _answer(self._library, self._library.amdsmi_get_gpu_device_uuid, handle)
        return None if own is None else str(own)

    def _place(self, handle: Any) -> float:
        """Return its index in programs; infinite, for the library's order, if unknown."""
        index = self._enumerated(handle).get("hip_id")
        return index if isinstance(index, int) else float("inf")

    def _enumerated(self, handle: Any) -> Mapping[str, Any]:
        return _answer(self._library, getattr(self._library, "amdsmi_get_gpu_enumeration_info", None), handle) or {}

    def _loaded(self) -> Any:
        try:
            with redirect_stdout(
                io.StringIO()
            ):  # it prints warnings to the pipe on which a sampler reports to its parent
                return self.load()
        except (ImportError, KeyError, OSError, AttributeError) as exc:  # KeyError: the wrapper alone, without ROCm
            raise MeterError(
                f"AMD's library cannot be loaded ({type(exc).__name__}: {exc}); install amd-smi-lib of ROCm and its "
                "Python package amdsmi, of one release, or choose another meter."
            ) from exc


def refusal(exc: Exception) -> MeterError:
    """Return an error of the library as a sentence for the user."""
    text = " ".join(str(exc).split())
    known = (sentence for name, sentence in _WHY.items() if name in text)
    return MeterError(next(known, f"AMD's driver cannot be asked ({text}); {_ASK_SMI}."))


def _limit_refusal(exc: Exception) -> PowerLimitError:
    text = " ".join(str(exc).split())
    if "NO_PERM" in text:
        return PowerLimitError(LimitFaultKind.NO_RIGHTS, "AMD's driver lets only root set power limits")
    if "NOT_SUPPORTED" in text:
        return PowerLimitError(
            LimitFaultKind.UNSUPPORTED, "AMD's driver keeps no power limit for this GPU that could be set"
        )
    return PowerLimitError(LimitFaultKind.UNREACHABLE, f"AMD's driver answers: {text}")


def _answer(library: Any, question: Callable[..., Any] | None, *arguments: Any) -> Any:
    try:
        return None if question is None else question(*arguments)
    except library.AmdSmiException:
        return None


def _process(told: Mapping[str, Any]) -> GpuProcess | None:
    """Return a process of the library's list; None for one that has no memory of the GPU, or no pid."""
    row = told.get("process_info", told)
    pid, usage = row.get("pid"), row.get("memory_usage") or {}
    sizes = [size for size in (usage.get("vram_mem"), row.get("mem")) if isinstance(size, int)]
    if not isinstance(pid, int) or pid <= 0 or sizes[:1] == [0]:
        return None
    computes = Path(KFD_PROCESSES, str(pid)).exists() or not Path(KFD_PROCESSES).exists()
    return GpuProcess(pid=pid, memory_bytes=sizes[0] if sizes else None, is_graphics=not computes)


def _number(value: object) -> float:
    """Return a number; 0 for anything else, which callers treat as missing."""
    return float(value) if isinstance(value, int | float) else 0.0


def _limit_w(caps: Mapping[str, Any], name: str) -> float | None:
    cap = _number(caps.get(name))
    return (cap / 1e6 if cap >= UW_AT_LEAST else cap) or None

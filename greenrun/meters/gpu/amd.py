"""AMD's library (amdsmi): a GPU's energy counter, power and telemetry, and its errors as sentences.

A card of two dies, or a GPU split into partitions, is several GPUs to programs and one to its counter, which is that of
the first. The others say 0 of themselves: that is no energy, so they are never read, and their model says whose it is.
"""

import importlib
import io
import re
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any

from greenrun.core.energy.model import Device, Telemetry
from greenrun.core.errors import MeterError
from greenrun.meters.gpu.accumulator import HIGHEST_W

HIGHEST_TOLD_W = 0xFFFF  # stands for "not known", as the text N/A does
UW_AT_LEAST = 100_000  # limits are in µW, in W from some releases; none is between the two
MIB = 2**20
_UUID = re.compile(r"GPU-[0-9a-f]{16}")
_POWERS = ("socket_power", "current_socket_power", "average_socket_power")  # each is missing on some model or release
_ASK_SMI = "see what amd-smi says, then start greenrun again"
_WHY = {
    "NO_PERM": "This user may not ask AMD's driver; add it to the groups render and video.",
    "DRIVER_NOT_LOADED": "AMD's driver (amdgpu) is not loaded; load it until amd-smi answers, or choose another meter.",
}


@dataclass(slots=True)
class Amd:
    """A GPU; `limit_w` is what it never draws more than, `counts` whether it has an energy counter that counts."""

    device: Device
    limit_w: float
    counts: bool
    is_silent: bool  # its energy is in another one's
    library: Any
    handle: Any

    def counter_j(self) -> float | None:
        """Return its energy counter in J; None when it has none, or cannot be asked now.

        One that says 0 has not counted: a card that is on has used something.
        """
        told = {} if self.is_silent or not self.counts else self._ask(self.library.amdsmi_get_energy_count)
        counted = told.get("energy_accumulator", told.get("power"))  # its name until ROCm 6.0
        energy_j = _number(counted) * _number(told.get("counter_resolution")) / 1e6
        return energy_j or None

    def power_w(self) -> float | None:
        """Return what it draws in W; None when it cannot be asked now, or says 0."""
        told = {} if self.is_silent else self._ask(self.library.amdsmi_get_power_info)
        powers_w = (_number(told.get(name)) for name in _POWERS)
        return next((power_w for power_w in powers_w if 0 < power_w < HIGHEST_TOLD_W), None)

    def telemetry(self, power_w: float | None) -> Telemetry:
        """Return what it says of itself now, beside the power that was just read; None for what it does not say."""
        busy = self._ask(self.library.amdsmi_get_gpu_activity).get("gfx_activity")
        used = self._ask(self.library.amdsmi_get_gpu_vram_usage).get("vram_used")
        return Telemetry(
            power_w=power_w,
            power_limit_w=_limit_w(self._ask(self.library.amdsmi_get_power_cap_info), "power_cap"),
            utilization=min(1.0, busy / 100) if isinstance(busy, int | float) else None,
            memory_used_bytes=used * MIB if isinstance(used, int) else None,
            temperature_c=self._temperature_c(),
        )

    def _temperature_c(self) -> float | None:
        """Return the edge's temperature, or that of the hottest place where the edge has no sensor."""
        kinds, now = self.library.AmdSmiTemperatureType, self.library.AmdSmiTemperatureMetric.CURRENT
        for place in (kinds.EDGE, kinds.HOTSPOT):
            told = _told(self.library, self.library.amdsmi_get_temp_metric, self.handle, place, now)
            if _number(told) > 0:
                return float(told)
        return None

    def _ask(self, question: Callable[[Any], Any]) -> Mapping[str, Any]:
        """Return what is told; a handle that ended with its driver tells nothing, until a new process opens that."""
        return _told(self.library, question, self.handle) or {}


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
        """Load and open the library and return the driver's version; raise MeterError when it cannot be asked."""
        self._library = self._loaded()
        try:
            self._library.amdsmi_init()
            handles = self._library.amdsmi_get_processor_handles()
        except self._library.AmdSmiException as exc:
            raise refusal(exc) from exc
        self._handles = sorted(handles, key=self._place)
        told = _told(self._library, self._library.amdsmi_get_gpu_driver_info, handles[0]) if handles else None
        return str((told or {}).get("driver_version", "unknown"))

    def board_count(self) -> int:
        """Return how many GPUs the driver knows, those that cannot be read included."""
        return len(self._handles)

    def board_at(self, index: int) -> Amd | None:
        """Return the GPU at an index; None when it is lost."""
        found = self._alone(index)
        if found is None or not self._is_part(found):
            return found
        whose = next((one for at in range(index - 1, -1, -1) if (one := self._whole(at, found.device.model))), None)
        if whose is None:
            return found
        model = f"{found.device.model} (its energy is in that of {whose.device.id})"
        return replace(found, device=replace(found.device, model=model, within=whose.device.id), is_silent=True)

    def _whole(self, index: int, model: str) -> Amd | None:
        found = self._alone(index)
        return found if found and found.device.model == model and not self._is_part(found) else None

    def _is_part(self, found: Amd) -> bool:
        """Whether it is a partition but the first one, or a die that says nothing of itself."""
        partition = (_told(self._library, getattr(self._library, "amdsmi_get_gpu_kfd_info", None), found.handle)) or {}
        return _number(partition.get("current_partition_id")) > 0 or (
            found.counter_j() is None and found.power_w() is None
        )

    def _alone(self, index: int) -> Amd | None:
        library, handle = self._library, self._handles[index]
        told = _told(library, library.amdsmi_get_gpu_asic_info, handle)
        name = self._name(handle, told or {})
        if told is None or name is None:
            return None
        caps = _told(library, library.amdsmi_get_power_cap_info, handle) or {}
        limit_w, highest_w = _limit_w(caps, "power_cap"), _limit_w(caps, "max_power_cap")
        memory = (_told(library, library.amdsmi_get_gpu_vram_usage, handle) or {}).get("vram_total")
        device = Device(
            id=name,
            index=index,
            model=str(told.get("market_name", "AMD GPU")),
            source=self.KIND,
            memory_bytes=memory * MIB if isinstance(memory, int) and memory else None,
            power_w=limit_w,
            vendor="amd",
        )
        found = Amd(device, max(highest_w or 0.0, limit_w or 0.0) or HIGHEST_W, True, False, library, handle)
        return replace(found, counts=found.counter_j() is not None)

    def _name(self, handle: Any, asic: Mapping[str, Any]) -> str | None:
        """Return the UUID that ROCR_VISIBLE_DEVICES takes, made of the serial number where the library is older.

        A GPU that has neither is told by what the library calls its UUID, and made visible by its index.
        """
        uuid = str(self._enumerated(handle).get("hip_uuid", "")).strip()
        serial = f"GPU-{str(asic.get('asic_serial', '')).lower().removeprefix('0x'):0>16}"
        for name in (uuid.replace("GPU-", "").lower(), serial.removeprefix("GPU-")):
            if _UUID.fullmatch(f"GPU-{name}") and int(name, 16):
                return f"GPU-{name}"
        told = _told(self._library, self._library.amdsmi_get_gpu_device_uuid, handle)
        return None if told is None else str(told)

    def _place(self, handle: Any) -> float:
        """Where programs count it; the order of the library where it does not say."""
        told = self._enumerated(handle).get("hip_id")
        return told if isinstance(told, int) else float("inf")

    def _enumerated(self, handle: Any) -> Mapping[str, Any]:
        return _told(self._library, getattr(self._library, "amdsmi_get_gpu_enumeration_info", None), handle) or {}

    def _loaded(self) -> Any:
        try:
            with redirect_stdout(io.StringIO()):  # it prints what it misses, where a sampler talks to its parent
                return self.load()
        except (ImportError, KeyError, OSError, AttributeError) as exc:  # KeyError: the wrapper alone, without ROCm
            raise MeterError(
                f"AMD's library cannot be loaded ({type(exc).__name__}: {exc}); install amd-smi-lib of ROCm and its "
                "Python package amdsmi, of one release, or choose another meter."
            ) from exc


def refusal(exc: Exception) -> MeterError:
    """Return what an error of the library means to the user."""
    text = " ".join(str(exc).split())
    known = (sentence for name, sentence in _WHY.items() if name in text)
    return MeterError(next(known, f"AMD's driver cannot be asked ({text}); {_ASK_SMI}."))


def _told(library: Any, question: Callable[..., Any] | None, *arguments: Any) -> Any:
    try:
        return None if question is None else question(*arguments)
    except library.AmdSmiException:
        return None


def _number(value: object) -> float:
    """Return a number that was told; 0 for anything else, which says nothing of a card that is on."""
    return float(value) if isinstance(value, int | float) else 0.0


def _limit_w(caps: Mapping[str, Any], name: str) -> float | None:
    cap = _number(caps.get(name))
    return (cap / 1e6 if cap >= UW_AT_LEAST else cap) or None

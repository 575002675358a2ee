"""The meters that a sampler process can own, by their names in the settings."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Protocol

from greenrun.clock import utc_now
from greenrun.core.energy.gpu_parts import board_of
from greenrun.core.energy.model import Device, GpuUse, Reading, Telemetry
from greenrun.core.errors import MeterError
from greenrun.meters.emulation.counters import counters_in
from greenrun.meters.emulation.emulated_limits import EmulatedLimits
from greenrun.meters.emulation.power_model import CONSTANT, EMULATED, EmulatedKind, Watts, WattsBackend
from greenrun.meters.host import host_tag
from greenrun.meters.run_folders import RunFolders
from greenrun.meters.settings import MeterSettings


class Backend(Protocol):
    """Reads the devices of one source. A call may hang with its driver, which is why it runs in a sampler process."""

    devices: tuple[Device, ...]

    def sample(self) -> Sequence[Reading] | None:
        """Return the new readings since the last sample, in time order; None means "retry soon". Raise MeterError.

        Raise MeterEnded if this process has to be replaced.
        """

    def troubles(self) -> Mapping[str, Mapping[str, int]]:
        """Return each device's reading errors so far: their number by cause, including causes with none."""

    def gpu_uses(self, *, is_urgent: bool) -> Mapping[str, GpuUse]:
        """Return who uses the GPUs where it is time to ask for that, which `is_urgent` says it is."""

    def telemetry(self) -> Mapping[str, Telemetry]:
        """Return the devices' telemetry that is new since the last call, at most once a second."""


Open = Callable[[MeterSettings, Path, Path], Backend]


def open_emulated(settings: MeterSettings, runs_dir: Path, state_dir: Path) -> Backend:
    """Open the emulated GPUs; raise MeterError if none of them is included."""
    given = settings.emulated
    watts = Watts(idle=given.watts_idle, busy=given.watts_busy)
    return _open_watts(EMULATED, given.gpus, watts, settings.include, runs_dir, state_dir, mig=given.mig)


def open_constant(settings: MeterSettings, runs_dir: Path, state_dir: Path) -> Backend:
    """Open GPUs of a configured draw; raise MeterError if none is configured: it is never guessed."""
    given = settings.constant
    if given is None:
        raise MeterError("The constant meter has no watts to go by; set gpus, watts_idle and watts_busy for it.")
    watts = Watts(idle=given.watts_idle, busy=given.watts_busy)
    return _open_watts(CONSTANT, given.gpus, watts, settings.include, runs_dir, state_dir)


def open_nvml(settings: MeterSettings, runs_dir: Path, state_dir: Path) -> Backend:
    """Open NVIDIA's driver; raise MeterError if it cannot be used, or lacks an included GPU."""
    from greenrun.meters.gpu.gpu_backend import GpuBackend  # only this meter needs NVIDIA's library

    backend = GpuBackend(lambda devices: included(devices, settings.include), state_dir)
    backend.keep_integrating()
    return backend


def open_amd(settings: MeterSettings, runs_dir: Path, state_dir: Path) -> Backend:
    """Open AMD's driver; raise MeterError if it cannot be used, or lacks an included GPU."""
    from greenrun.meters.gpu.amd import AmdDriver  # only this meter needs it
    from greenrun.meters.gpu.gpu_backend import GpuBackend

    backend = GpuBackend(lambda devices: included(devices, settings.include), state_dir, driver=AmdDriver())
    backend.keep_integrating()
    return backend


def open_rapl(settings: MeterSettings, runs_dir: Path, state_dir: Path) -> Backend:
    """Open the counters of the CPU's packages and memory; raise MeterError if this user cannot read them."""
    from greenrun.meters.cpu.cpu_time import CpuClock  # only this meter needs it
    from greenrun.meters.cpu.rapl import RaplBackend

    return RaplBackend(settings.powercap, state_dir, CpuClock(runs_dir))


def open_external(settings: MeterSettings, runs_dir: Path, state_dir: Path) -> Backend:
    """Open the first of the external meters, even if it does not answer yet."""
    from greenrun.meters.cpu.cpu_time import CpuClock  # only this meter needs it
    from greenrun.meters.external.external import ExternalBackend

    backend = ExternalBackend(settings.external[0], state_dir, cpu=CpuClock(runs_dir))
    backend.keep_asking()
    return backend


BACKENDS: Mapping[str, Open] = {
    "nvml": open_nvml,
    "amd": open_amd,
    "emulated": open_emulated,
    "constant": open_constant,
    "rapl": open_rapl,
    "external": open_external,
}


def included(devices: Sequence[Device], include: Sequence[str | int]) -> list[Device]:
    """Return the devices named by id or index (all if none is named); raise MeterError for a missing one."""
    if not devices:
        raise MeterError("The meter has no devices; give it some, or choose the meter none.")
    names = [{board_of(device.id), device.id, str(device.index)} for device in devices]
    missing = [wanted for wanted in include if not any(str(wanted) in each for each in names)]
    if missing:
        there = ", ".join(f"{device.name} ({device.id})" for device in devices)
        raise MeterError(f"The meter has no device {missing[0]}; name one of {there}, or leave include empty for all.")
    wanted = {str(one) for one in include}
    return [device for device, each in zip(devices, names, strict=True) if not wanted or wanted & each]


def _open_watts(
    kind: EmulatedKind,
    gpus: int,
    watts: Watts,
    include: Sequence[str | int],
    runs_dir: Path,
    state_dir: Path,
    *,
    mig: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Backend:
    devices = included(kind.devices(host_tag(), gpus, watts, mig), include)
    counters = counters_in(state_dir, kind.name)
    limits = EmulatedLimits(state_dir).since if kind.emulated else dict
    return WattsBackend(
        devices, kind.quality, watts, RunFolders(runs_dir), utc_now, counters, clock=monotonic, limits=limits
    )

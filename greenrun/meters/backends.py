"""The meters that a sampler process can own, by the name that the settings give them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from greenrun.clock import utc_now
from greenrun.core.energy import Device, Reading
from greenrun.core.errors import MeterError
from greenrun.meters import constant, emulated
from greenrun.meters.counters import counters_in
from greenrun.meters.host import host_tag
from greenrun.meters.runfolders import RunFolders
from greenrun.meters.settings import MeterSettings
from greenrun.meters.watts import Kind, Watts, WattsBackend


class Backend(Protocol):
    """Reads the devices of one source. A call may hang with its driver: that is what the sampler process is for."""

    devices: tuple[Device, ...]

    def sample(self) -> Sequence[Reading] | None:
        """Return what is new since the last sample, in time order; None says "ask again soon"; raise MeterError."""


Open = Callable[[MeterSettings, Path, Path], Backend]


def open_emulated(settings: MeterSettings, runs_dir: Path, state_dir: Path) -> Backend:
    """Open the emulated GPUs; raise MeterError when none of them is included."""
    given = settings.emulated
    watts = Watts(idle=given.watts_idle, busy=given.watts_busy)
    return _open_watts(emulated.KIND, given.gpus, watts, settings.include, runs_dir, state_dir)


def open_constant(settings: MeterSettings, runs_dir: Path, state_dir: Path) -> Backend:
    """Open GPUs of a configured draw; raise MeterError when no draw is configured: it is never guessed."""
    given = settings.constant
    if given is None:
        raise MeterError("The constant meter has no watts to go by; set gpus, watts_idle and watts_busy for it.")
    watts = Watts(idle=given.watts_idle, busy=given.watts_busy)
    return _open_watts(constant.KIND, given.gpus, watts, settings.include, runs_dir, state_dir)


BACKENDS: Mapping[str, Open] = {"emulated": open_emulated, "constant": open_constant}


def _open_watts(
    kind: Kind, gpus: int, watts: Watts, include: Sequence[str | int], runs_dir: Path, state_dir: Path
) -> Backend:
    devices = included(kind.devices(host_tag(), gpus, watts), include)
    counters = counters_in(state_dir, kind.name, utc_now())
    return WattsBackend(devices, kind.quality, watts, RunFolders(runs_dir), utc_now, counters)


def included(devices: Sequence[Device], include: Sequence[str | int]) -> list[Device]:
    """Return the devices named by id or index (all when nothing is named); raise MeterError when one is not there."""
    if not devices:
        raise MeterError("The meter has no devices; give it some, or choose the meter none.")
    names = [{device.id, str(device.index)} for device in devices]
    missing = [wanted for wanted in include if not any(str(wanted) in each for each in names)]
    if missing:
        there = ", ".join(f"{device.index} ({device.id})" for device in devices)
        raise MeterError(f"The meter has no device {missing[0]}; name one of {there}, or leave include empty for all.")
    wanted = {str(one) for one in include}
    return [device for device, each in zip(devices, names, strict=True) if not wanted or wanted & each]

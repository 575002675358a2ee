"""Emulated GPUs: real counters of imaginary watts, so that all of greenrun runs where there is no GPU."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import uuid4

from greenrun.core.energy.model import Device, Reading
from greenrun.meters.emulation.power_model import EMULATED, Counters, Load, Watts, WattsBackend
from greenrun.meters.host import host_tag
from greenrun.meters.recent_readings import RecentReadings


class EmulatedMeter:
    """Emulated GPUs read in this process, on the clock `now`; the sampler reads the same ones in its own process.

    `load` returns which runs held which GPU when. Counters start at 0 J with the first reading.
    """

    def __init__(
        self, gpus: int, watts_idle: float, watts_busy: float, load: Load, now: Callable[[], datetime]
    ) -> None:
        watts = Watts(idle=watts_idle, busy=watts_busy)
        devices = EMULATED.devices(host_tag(), gpus, watts)
        self._backend = WattsBackend(
            devices, EMULATED.quality, watts, load, now, Counters(name=f"emulated/{uuid4().hex}")
        )
        self._history = RecentReadings()

    def devices(self) -> Sequence[Device]:
        """Return the GPUs in index order."""
        return self._backend.devices

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        """Return the readings after `since[device]`, the last one of now, in time order."""
        self._history.add(self._backend.sample() or ())
        return self._history.since(since)

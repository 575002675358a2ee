"""Combine several meters into one, so that CPU and GPUs are read together, each by a process of its own."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from greenrun.core.energy.model import BOOKED, Device, GpuUse, MeterHealth, Reading

if TYPE_CHECKING:
    from greenrun.meters import OpenMeter


class CombinedMeter:
    """The devices and readings of all its meters, in their order. As thread-safe as they are."""

    def __init__(self, meters: Sequence["OpenMeter"]) -> None:
        self._meters = tuple(meters)
        self.refusals = tuple(refusal for meter in self._meters for refusal in meter.refusals)

    @property
    def restarts(self) -> int:
        """How many samplers had to be replaced."""
        return sum(meter.restarts for meter in self._meters)

    @property
    def last_sample_at(self) -> datetime | None:
        """The time of the latest reading of the meter that lags most, None before its first.

        Meters whose energy is not booked are queried rarely, so they do not count.
        """
        times = [meter.last_sample_at for meter in self._booked()]
        known = [at for at in times if at is not None]
        return min(known) if known and len(known) == len(times) else None

    @property
    def lag_s(self) -> float | None:
        """Seconds since the last reading arrived, of the meter that lags most; None before the first."""
        return max((meter.lag_s for meter in self._booked() if meter.lag_s is not None), default=None)

    def _booked(self) -> list["OpenMeter"]:
        return [meter for meter in self._meters if any(device.kind in BOOKED for device in meter.devices())]

    def devices(self) -> Sequence[Device]:
        """Return the devices of each meter in turn, in index order."""
        return [device for meter in self._meters for device in meter.devices()]

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        """Return the readings after `since[device]`, in time order; may wait for each meter in turn."""
        return sorted((one for meter in self._meters for one in meter.read(since)), key=lambda reading: reading.at)

    def health(self) -> MeterHealth:
        """Return the health of the devices, from memory."""
        devices = tuple(device for meter in self._meters for device in meter.health().devices)
        return MeterHealth(devices=devices, restarts=self.restarts, lag_s=self.lag_s)

    def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
        """Return what was last told of who uses each GPU, and now if it `is_urgent`; may wait for each meter."""
        return {device: use for meter in self._meters for device, use in meter.gpu_uses(is_urgent=is_urgent).items()}

    def close(self) -> None:
        """Close every meter; idempotent."""
        for meter in self._meters:
            meter.close()

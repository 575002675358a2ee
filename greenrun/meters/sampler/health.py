"""Track the health of each device of a meter across restarts of its sampler process."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from greenrun.core.energy.model import Device, DeviceHealth, Reading, Telemetry
from greenrun.meters.gpu.accumulator import GAP_S

UP_S = 5.0  # a device that was not read for longer is down
TELEMETRY_S = 10.0  # ... and what it told beside its energy is not known any more after this


class HealthTracker:
    """Keeps count for the devices of a meter. Not safe for use by several threads at once."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._devices = [device.id for device in devices]
        self._heard: dict[str, tuple[datetime, float]] = {}
        self._gap_s = dict.fromkeys(self._devices, 0.0)
        self._telemetry: dict[str, tuple[Telemetry, float]] = {}
        self._before: dict[str, Counter[str]] = {device: Counter() for device in self._devices}  # of ended processes
        self._present: Mapping[str, Mapping[str, int]] = {}

    def hear(self, readings: Sequence[Reading], now_s: float) -> None:
        """Note that readings came at `now_s` of the monotonic clock."""
        for reading in readings:
            at, heard_s = self._heard.get(reading.device, (reading.at, now_s))
            pause_s = min(now_s - heard_s, (reading.at - at).total_seconds())  # the wall clock may have been set
            if pause_s > GAP_S:
                self._gap_s[reading.device] += pause_s
            self._heard[reading.device] = reading.at, now_s

    def note(self, telemetry: Mapping[str, Telemetry], now_s: float) -> None:
        """Note what devices told beside their energy at `now_s` of the monotonic clock."""
        self._telemetry |= {device: (told, now_s) for device, told in telemetry.items() if device in self._before}

    def count(self, troubles: Mapping[str, Mapping[str, int]]) -> None:
        """Note what the present process has counted so far."""
        self._present = {device: counts for device, counts in troubles.items() if device in self._before}

    def begin_anew(self) -> None:
        """Note that another process counts from 0 on."""
        for device, counts in self._present.items():
            self._before[device].update(counts)
        self._present = {}

    def devices(self, now_s: float) -> tuple[DeviceHealth, ...]:
        """Return how the devices do at `now_s` of the monotonic clock."""
        return tuple(self._device(device, now_s) for device in self._devices)

    def _device(self, device: str, now_s: float) -> DeviceHealth:
        _, heard_s = self._heard.get(device, (None, None))
        telemetry, told_s = self._telemetry.get(device, (Telemetry(), now_s))
        troubles = dict(self._before[device])
        for cause, count in self._present.get(device, {}).items():
            troubles[cause] = troubles.get(cause, 0) + count
        return DeviceHealth(
            device=device,
            is_up=heard_s is not None and now_s - heard_s <= UP_S,
            gap_s=self._gap_s[device],
            troubles=troubles,
            telemetry=telemetry if now_s - told_s <= TELEMETRY_S else Telemetry(),
        )

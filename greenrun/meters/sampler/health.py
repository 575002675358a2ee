"""Track the health of each device of a meter across restarts of its sampler process."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from greenrun.core.energy.model import Device, DeviceHealth, Reading, Telemetry
from greenrun.meters.gpu.accumulator import GAP_S

UP_S = 5.0  # a device without a reading for longer is down
TELEMETRY_S = 10.0  # ... and its telemetry is stale after this


class HealthTracker:
    """The health counters of a meter's devices. Not thread-safe."""

    def __init__(self, devices: Sequence[Device], now_s: float) -> None:
        """Track these from the monotonic time `now_s` on."""
        self._devices: list[str] = []
        self._since_s: dict[str, float] = {}
        self._heard: dict[str, tuple[datetime, float]] = {}
        self._gap_s: dict[str, float] = {}
        self._telemetry: dict[str, tuple[Telemetry, float]] = {}
        self._before: dict[str, Counter[str]] = {}  # of ended processes
        self.add(devices, now_s)
        self._present: Mapping[str, Mapping[str, int]] = {}

    def add(self, devices: Sequence[Device], now_s: float) -> None:
        """Track these as well, in this order."""
        self._devices = [device.id for device in devices]
        for device in self._devices:
            self._since_s.setdefault(device, now_s)
            self._gap_s.setdefault(device, 0.0)
            self._before.setdefault(device, Counter())

    def hear(self, readings: Sequence[Reading], now_s: float) -> None:
        """Note readings that arrived at the monotonic time `now_s`."""
        for reading in readings:
            at, heard_s = self._heard.get(reading.device, (reading.at, now_s))
            pause_s = min(now_s - heard_s, (reading.at - at).total_seconds())  # the wall clock may have been set
            if pause_s > GAP_S:
                self._gap_s[reading.device] += pause_s
            self._heard[reading.device] = reading.at, now_s

    def note(self, telemetry: Mapping[str, Telemetry], now_s: float) -> None:
        """Note the telemetry of devices at the monotonic time `now_s`."""
        self._telemetry |= {device: (values, now_s) for device, values in telemetry.items() if device in self._before}

    def count(self, troubles: Mapping[str, Mapping[str, int]]) -> None:
        """Note the error counts of the present process so far."""
        self._present = {device: counts for device, counts in troubles.items() if device in self._before}

    def start_new_process(self) -> None:
        """Note that a new process counts from 0."""
        for device, counts in self._present.items():
            self._before[device].update(counts)
        self._present = {}

    def devices(self, now_s: float) -> tuple[DeviceHealth, ...]:
        """Return the health of the devices at the monotonic time `now_s`."""
        return tuple(self._device(device, now_s) for device in self._devices)

    def _device(self, device: str, now_s: float) -> DeviceHealth:
        _, heard_s = self._heard.get(device, (None, None))
        telemetry, noted_s = self._telemetry.get(device, (Telemetry(), now_s))
        troubles = dict(self._before[device])
        for cause, count in self._present.get(device, {}).items():
            troubles[cause] = troubles.get(cause, 0) + count
        return DeviceHealth(
            device=device,
            is_up=heard_s is not None and now_s - heard_s <= UP_S,
            gap_s=self._gap_s[device] if heard_s is not None else self._never_read_s(device, now_s),
            was_read=heard_s is not None,
            troubles=troubles,
            telemetry=telemetry if now_s - noted_s <= TELEMETRY_S else Telemetry(),
        )

    def _never_read_s(self, device: str, now_s: float) -> float:
        """Return for how long a device has not been read that never was; what was told stays, should it be read yet."""
        silent_s = now_s - self._since_s[device]
        if silent_s > UP_S:
            self._gap_s[device] = silent_s
        return self._gap_s[device]

"""Keep the readings of the last minutes, so that the engine can read them again until they are booked."""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from greenrun.core.energy.model import Reading

READINGS_KEPT = 1200  # per device: ten minutes at one a second, and as many again for pokes and changes of load
SET_BACK = timedelta(seconds=1)  # a reading that much before the last one means that the clock was set back


class RecentReadings:
    """A bounded record of readings per device, oldest dropped first. Not thread-safe."""

    def __init__(self) -> None:
        self._readings: dict[str, deque[Reading]] = {}

    def add(self, readings: Iterable[Reading]) -> None:
        """Keep readings; drop those not later than their device's last one.

        A reading more than SET_BACK before the last one replaces all that are kept: the clock was set back, and times
        before and after that are not comparable.
        """
        for reading in readings:
            kept = self._readings.setdefault(reading.device, deque(maxlen=READINGS_KEPT))
            if kept and reading.at < kept[-1].at - SET_BACK:
                kept.clear()
            if not kept or reading.at > kept[-1].at:
                kept.append(reading)

    def since(self, since: Mapping[str, datetime]) -> list[Reading]:
        """Return each device's readings after `since[device]` (all kept ones if missing), in time order."""
        found = [
            reading
            for device, kept in self._readings.items()
            for reading in kept
            if device not in since or reading.at > since[device]
        ]
        return sorted(found, key=lambda reading: reading.at)

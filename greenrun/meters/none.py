"""No meter: jobs run, and their energy is unknown, never zero."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from greenrun.core.energy.model import Device, GpuUse, MeterHealth, Reading


class NoMeter:
    """A meter without devices."""

    def __init__(self, refusals: Sequence[str] = ()) -> None:
        self.refusals = tuple(refusals)
        self.restarts = 0

    @property
    def last_sample_at(self) -> datetime | None:
        """None: nothing is sampled."""
        return None

    @property
    def lag_s(self) -> float | None:
        """None: nothing can lag."""
        return None

    def devices(self) -> Sequence[Device]:
        """Return none."""
        return ()

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        """Return none."""
        return ()

    def health(self) -> MeterHealth:
        """Return the health of no devices."""
        return MeterHealth()

    def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
        """Return nothing: there are no GPUs."""
        return {}

    def close(self) -> None:
        """Do nothing: nothing was opened."""

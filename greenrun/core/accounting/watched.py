"""For how much of a period the books know each device, and what of it they lack so far or can still change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from greenrun.core.energy.model import Component, Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedTime:
    """From when to when a device is in the books of a period, and the seconds of that which its slices fill.

    Of `gap_s` of these nobody read it: a counter bridges that time, or its energy is not known.
    """

    device: str
    component: Component
    since: datetime
    until: datetime
    seconds: float
    gap_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Up to where each device is booked by now, and the slices of a period that wait for their measured intensity."""

    marks: Mapping[str, Mark] = field(default_factory=dict)
    unsettled_slices: int = 0
    unsettled_j: float = 0.0

    def booked_until(self) -> datetime | None:
        """Return up to when anything is booked."""
        return max((mark.at for mark in self.marks.values()), default=None)

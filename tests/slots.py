"""Slots for tests, from their starts and values."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from greenrun.core.carbon.intensity import Kind, Slot


def slots_of(starts: Sequence[datetime], values: Sequence[float], step: timedelta, kind: Kind) -> list[Slot]:
    """Slots of one length from their starts and values, in g/kWh."""
    return [Slot(start, start + step, value, kind) for start, value in zip(starts, values, strict=True)]

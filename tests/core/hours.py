"""Builders for what is known of a grid: a made-up zone with a daily and weekly course, hour by hour."""

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np

from greenrun.core.carbon.intensity import Kind, Series
from tests.core.build import GRID, T0

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def course(at: datetime) -> float:
    """A day with a clean noon, and cleaner on Sundays."""
    return 300.0 + 100.0 * float(np.cos(at.hour / 12 * np.pi)) - (50.0 if at.weekday() == 6 else 0.0)


def hourly(
    start: datetime,
    hours: int,
    value: Callable[[datetime], float] = course,
    kind: Kind = Kind.MEASURED,
    *,
    step: timedelta = HOUR,
) -> Series:
    """Slots of `step` from `start` over so many hours, each with the value of its start, in g/kWh."""
    starts = [start + number * step for number in range(int(hours * HOUR / step))]
    starts_s = np.array([at.timestamp() for at in starts])
    values = np.array([value(at) for at in starts], dtype=np.float64)
    return Series(GRID, starts_s, starts_s + step.total_seconds(), values, (kind,) * len(starts))


def measured_days(days: float, value: Callable[[datetime], float] = course) -> Series:
    """Measured values of the days before T0, which is a Monday at midnight."""
    return hourly(T0 - days * DAY, int(days * 24), value)


def told(hours: int, value: Callable[[datetime], float] = course, start: datetime = T0) -> Series:
    """A forecast of the hours after `start`."""
    return hourly(start, hours, value, Kind.FORECAST)


def seconds(*moments: datetime) -> np.ndarray:
    """Instants as epoch seconds, shape (n,)."""
    return np.array([moment.timestamp() for moment in moments])

"""How clean the grid is now and soon, from the active forecast, for cards and charts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from greenrun.core.carbon.fallback import ActiveForecast
from greenrun.core.carbon.intensity import FallbackLevel, Series
from greenrun.core.formatting import compared_text, intensity_text

AHEAD = timedelta(hours=48)
WINDOW = timedelta(hours=4)  # as long a window as forecasts are judged by
_SHORTER = tuple(timedelta(minutes=minutes) for minutes in (120, 60, 30, 10, 5, 1))  # where a forecast ends sooner
_DAY = timedelta(hours=24)
_STEP = timedelta(minutes=30)
_MOST_STEPS = 600
_HOUR = timedelta(hours=1)
LEVELS = {
    FallbackLevel.FRESH: "fresh forecast",
    FallbackLevel.STALE: "stale forecast",
    FallbackLevel.CLIMATOLOGY: "estimate from past days",
    FallbackLevel.STATIC: "yearly mean",
    FallbackLevel.NONE: "no forecast",
}

Step = tuple[datetime, datetime, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class GridNow:
    """The intensity now and the cleanest window of the next day, and how far both can be trusted (`level`, `why`).

    The window is `best_window` long: shorter than usual where the forecast is.
    """

    zone: str | None
    level: str
    is_fresh: bool
    why: str
    signal: str = "average"
    provider: str | None = None
    now_g_per_kwh: float | None = None
    best_start: datetime | None = None
    best_window: timedelta = WINDOW
    best_g_per_kwh: float | None = None
    best_text: str = ""
    steps: Sequence[Step] = ()

    @property
    def is_short(self) -> bool:
        """Whether the forecast ends before a window of the usual length does."""
        return self.best_window < WINDOW

    @property
    def text(self) -> str:
        """The intensity now, with its signal where that is not the average."""
        return intensity_text(self.now_g_per_kwh, self.signal)

    @property
    def quantity(self) -> str:
        """What is told of the grid: `carbon intensity`, `marginal carbon intensity`."""
        return "carbon intensity" if self.signal == "average" else f"{self.signal} carbon intensity"


def grid_now(zone: str | None, active: ActiveForecast | None, now: datetime) -> GridNow:
    """Return what the active forecast says from now on."""
    if active is None or active.forecast is None:
        why = active.why if active else "no zone is set"
        return GridNow(zone=zone, level=LEVELS[FallbackLevel.NONE], is_fresh=False, why=why)
    series = active.forecast.series
    current = series.at(now)
    start, best, window = _cleanest(series, now)
    return GridNow(
        zone=zone,
        level=LEVELS[active.fallback_level],
        is_fresh=active.fallback_level is FallbackLevel.FRESH,
        why=active.why,
        signal=series.id.signal.value,
        provider=series.id.provider,
        now_g_per_kwh=current,
        best_start=start,
        best_window=window,
        best_g_per_kwh=best,
        best_text="" if best is None or not current else compared_text(best, current),
        steps=steps_between(series, now, now + AHEAD),
    )


def _cleanest(series: Series, now: datetime) -> tuple[datetime | None, float | None, timedelta]:
    """Return when the cleanest window of the next day begins, its mean, and how long it is; None where none is covered.

    The windows begin at a whole minute, so that they seldom change, unless the forecast begins within this one.
    """
    minute = now.replace(second=0, microsecond=0)
    first = now if series.at(minute) is None else minute
    for window in (WINDOW, *_SHORTER):
        step = min(_STEP, window)
        starts = [first + place * step for place in range(int(_DAY / step) + 1)]
        means = series.means(np.array([start.timestamp() for start in starts]), window.total_seconds())
        covered = [(float(mean), start) for mean, start in zip(means, starts, strict=True) if np.isfinite(mean)]
        if covered:
            best, start = min(covered)
            return start, best, window
    return None, None, WINDOW


def steps_between(series: Series, start: datetime, end: datetime) -> list[Step]:
    """Return the slots that touch `[start, end)`; a hole between two is a hole."""
    found = [slot for slot in series if slot.end > start and slot.start < end]
    return [(slot.start, slot.end, slot.intensity_g_per_kwh) for slot in found[:_MOST_STEPS]]


def hourly(steps: Sequence[Step]) -> list[Step]:
    """Return the time-weighted means of whole hours, for a table: sources have up to 12 steps in one."""
    sums: dict[datetime, list[float]] = {}
    for start, end, value in steps:
        while start < end:
            hour = start.replace(minute=0, second=0, microsecond=0)
            until = min(end, hour + _HOUR)
            row = sums.setdefault(hour, [0.0, 0.0])
            row[0] += value * (until - start).total_seconds()
            row[1] += (until - start).total_seconds()
            start = until
    return [(hour, hour + _HOUR, total / length_s) for hour, (total, length_s) in sums.items()]

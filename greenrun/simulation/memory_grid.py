"""What a simulation's store keeps of the grid: recent forecasts, and the latest revision of what was measured."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from greenrun.core.carbon.climatology import DAY_S
from greenrun.core.carbon.intensity import Floats, Forecast, Kind, Series, SeriesId

FORECASTS_KEPT = timedelta(days=60)  # long enough to learn how good forecasts are, and no more than that


@dataclass(slots=True)
class _Measured:
    """Slots in time order, and when each was fetched last; arrays of shape (n,)."""

    starts_s: Floats = field(default_factory=lambda: np.zeros(0))
    ends_s: Floats = field(default_factory=lambda: np.zeros(0))
    values: Floats = field(default_factory=lambda: np.zeros(0))
    fetched_s: Floats = field(default_factory=lambda: np.zeros(0))

    def add(self, series: Series, fetched_s: float) -> int:
        """Put slots in the place of those they cover; return how many were new or had another value."""
        first = int(np.searchsorted(self.ends_s, series.starts_s[0], side="right"))
        last = int(np.searchsorted(self.starts_s, series.ends_s[-1]))
        own = (self.starts_s, self.ends_s, self.values)
        known = set(zip(*(column[first:last].tolist() for column in own), strict=True))
        rows = zip(series.starts_s.tolist(), series.ends_s.tolist(), series.values.tolist(), strict=True)
        new = sum(row not in known for row in rows)
        given = (series.starts_s, series.ends_s, series.values, np.full(len(series), fetched_s))
        old = (*own, self.fetched_s)
        self.starts_s, self.ends_s, self.values, self.fetched_s = (
            np.concatenate([before[:first], now, before[last:]]) for before, now in zip(old, given, strict=True)
        )
        return new


class GridMemory:
    """`greenrun.engine.ports.GridStore` in memory: the latest revision of what was measured, and recent forecasts."""

    def __init__(self) -> None:
        self._forecasts: deque[Forecast] = deque()
        self._measured: dict[SeriesId, _Measured] = {}

    def save_forecast(self, forecast: Forecast) -> bool:
        """Keep a forecast as issued; False when it says just what the last one of its series said."""
        last = self._forecasts[-1] if self._forecasts else None
        if last is not None and last.issued_at == forecast.issued_at and _same(last.series, forecast.series):
            self._forecasts[-1] = forecast
            return False
        self._forecasts.append(forecast)
        while self._forecasts[0].fetched_at < forecast.fetched_at - FORECASTS_KEPT:
            self._forecasts.popleft()
        return True

    def forecasts(self, zone: str, since: datetime) -> list[Forecast]:
        """Return the forecasts fetched at or after `since`, and the last one before it, oldest first."""
        own = [kept for kept in self._forecasts if kept.series.id.zone == zone]
        before = [kept for kept in own if kept.fetched_at < since][-1:]
        return [*before, *(kept for kept in own if kept.fetched_at >= since)]

    def issues(self, zone: str, since: datetime, every: timedelta) -> list[Forecast]:
        """Return the forecasts of a zone that were fetched since, the first of each series in every `every`."""
        first: dict[tuple[SeriesId, float], Forecast] = {}
        for kept in self._forecasts:
            if kept.series.id.zone == zone and kept.fetched_at >= since:
                first.setdefault((kept.series.id, kept.fetched_at.timestamp() // every.total_seconds()), kept)
        return list(first.values())

    def measured(self, zone: str, start: datetime, end: datetime, *, without: Collection[str] = ()) -> Series | None:
        """Return what `intensities` does, of that series of the zone which covers most of it; None when it has none.

        Series that end a day before the one that reaches furthest are out of use, as are those of sources in `without`.
        """
        known = {key: kept for key, kept in self._measured.items() if key.zone == zone and key.provider not in without}
        reach = {key: kept.ends_s[-1] for key, kept in known.items() if len(kept.ends_s)}
        furthest_first = sorted(reach, key=lambda key: reach[key], reverse=True)
        lately = [key for key in furthest_first if reach[key] > reach[furthest_first[0]] - DAY_S]
        told = [self.intensities(key, start, end) for key in lately]
        return max(told, key=lambda series: float((series.ends_s - series.starts_s).sum()), default=None)

    def save_intensities(self, series: Series, *, fetched_at: datetime) -> int:
        """Keep measured values, the latest in place of earlier ones; return how many were new."""
        if not len(series):
            return 0
        return self._measured.setdefault(series.id, _Measured()).add(series, fetched_at.timestamp())

    def intensities(
        self, series_id: SeriesId, start: datetime, end: datetime, *, final_after: timedelta | None = None
    ) -> Series:
        """Return the measured slots that touch `[start, end)`; with `final_after` only those known that long after."""
        kept = self._measured.get(series_id, _Measured())
        first = int(np.searchsorted(kept.ends_s, start.timestamp(), side="right"))
        last = max(first, int(np.searchsorted(kept.starts_s, end.timestamp())))
        keep = np.arange(first, last)
        if final_after is not None:
            keep = keep[kept.fetched_s[keep] >= kept.ends_s[keep] + final_after.total_seconds()]
        kinds = (Kind.MEASURED,) * len(keep)
        return Series(series_id, kept.starts_s[keep], kept.ends_s[keep], kept.values[keep], kinds)


def _same(one: Series, other: Series) -> bool:
    return one.id == other.id and all(
        np.array_equal(ours, theirs)
        for ours, theirs in zip(
            (one.starts_s, one.ends_s, one.values), (other.starts_s, other.ends_s, other.values), strict=True
        )
    )

"""Verify past forecasts of each zone and count their errors, hourly, since it takes a second."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from greenrun.core.carbon.calibration import ISSUE_EVERY, MEMORY
from greenrun.core.carbon.intensity import Forecast, Series, SeriesId
from greenrun.core.carbon.verification import HORIZONS_H, HOUR_S, OLD_H, ForecastScores, absolute_errors, verify
from greenrun.core.histogram import FORECAST_ERROR, CounterKey, added

JUDGED_UNTIL = "greenrun_grid_forecast_judged_until_timestamp_seconds"  # stored with the counts, not exported
LATEST = timedelta(days=14)  # an hour measured later than this after its end is no longer counted
ISSUED_EVERY = timedelta(hours=1)  # forecasts issued closer together are nearly the same


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesScores:
    """The forecast scores of one series, at each lead time and over the day ahead."""

    series: SeriesId
    leads: tuple[ForecastScores, ...]


class ForecastStore(Protocol):
    """The forecasts and measured values in the store."""

    def issues(self, zone: str, since: datetime, every: timedelta) -> Sequence[Forecast]:
        """Return the forecasts of a zone as they were first fetched, the first of each series in every `every`."""

    def measured(self, zone: str, start: datetime, end: datetime, *, without: Collection[str] = ()) -> Series | None:
        """Return the measured slots of the zone's series that covers most of `[start, end)`."""


class Counters(Protocol):
    """The counters that persist over restarts."""

    def counters(self) -> Mapping[CounterKey, float]:
        """Return them by metric name and sorted labels."""

    def add_counts(self, amounts: Mapping[CounterKey, float]) -> None:
        """Add non-negative amounts, all or nothing."""


class QualityStore(Protocol):
    """The part of the store that verification needs; each call raises StoreError."""

    @property
    def grid(self) -> ForecastStore: ...

    @property
    def books(self) -> Counters: ...


class ForecastQuality:
    """The quality of every stored series of forecasts of some zones."""

    def __init__(self, store: QualityStore, zones: Sequence[str], without: Collection[str] = ()) -> None:
        self._store = store
        self.zones = tuple(zones)
        self._without = without
        self.judged_at: datetime | None = None
        self.latest: Sequence[SeriesScores] = ()

    def refresh(self, now: datetime) -> None:
        """Verify all series again, of each zone the one with the newest forecast first; raise StoreError."""
        self.latest = [row for zone in self.zones for row in self._judged(zone, now)]
        self.judged_at = now
        for zone in self.zones:
            self._count_errors(zone, now)

    def _judged(self, zone: str, now: datetime) -> Iterator[SeriesScores]:
        issues = self._store.grid.issues(zone, now - MEMORY, ISSUE_EVERY)
        measured = self._store.grid.measured(zone, now - MEMORY, now, without=self._without)
        for key in dict.fromkeys(issue.series.id for issue in reversed(issues)):
            yield SeriesScores(series=key, leads=verify([row for row in issues if row.series.id == key], measured, now))

    def _count_errors(self, zone: str, now: datetime) -> None:
        """Count the errors of the hours measured since they were last counted.

        The end of the counted hours is a counter too, updated in the same transaction, so each hour is counted once,
        whenever the daemon ends. Hours that were still unmeasured when later ones were counted are never counted.
        """
        done: CounterKey = (JUDGED_UNTIL, (("grid_zone", zone),))
        before_s = self._store.books.counters().get(done, 0.0)
        start_s = max(before_s, _full_hour_s(now - LATEST))
        measured = self._store.grid.measured(zone, datetime.fromtimestamp(start_s, UTC), now, without=self._without)
        end_s = _full_hour_s(min(now, measured.end)) if measured and measured.end else start_s
        if measured is None or end_s <= start_s:
            return
        first = datetime.fromtimestamp(start_s, UTC) - timedelta(hours=max(HORIZONS_H) + OLD_H)
        found = absolute_errors(self._store.grid.issues(zone, first, ISSUED_EVERY), measured, start_s, end_s)
        amounts: defaultdict[CounterKey, float] = defaultdict(float, {done: end_s - before_s})
        for horizon_h, errors in found.items():
            labels = (("grid_zone", zone), ("horizon", f"{horizon_h}h"), ("signal", measured.id.signal_text))
            for key, amount in (row for error in errors for row in added({FORECAST_ERROR: error}, labels).items()):
                amounts[key] += float(amount)
        self._store.books.add_counts(amounts)


def _full_hour_s(at: datetime) -> float:
    return at.timestamp() // HOUR_S * HOUR_S

"""A source with a past that the tests make up, and what backfills a store from it."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from greenrun.core.carbon.intensity import Accounting, Basis, Forecast, Kind, Series, SeriesId, Slot
from greenrun.core.errors import ProviderRefused
from greenrun.engine.polling import RequestCounts
from greenrun.grid.backfill import Backfill, Retention
from greenrun.grid.sources import OpenProviders, Sources
from greenrun.providers import Provider
from greenrun.providers.settings import ProviderSettings
from greenrun.store import Store

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LIVE = SeriesId(provider="live", zone="GB", accounting=Accounting.CONSUMPTION, basis=Basis.LIFECYCLE)


def hours(start: datetime, end: datetime, kind: Kind = Kind.MEASURED) -> list[Slot]:
    """Slots of an hour in `[start, end)`, each with a value of its own."""
    starts = [start + index * HOUR for index in range(int((end - start) / HOUR))]
    return [Slot(at, at + HOUR, 100.0 + at.hour, kind) for at in starts]


@dataclass
class Past:
    """A provider that has measured every hour since `since`, less `holes`; `fault` is raised instead where set."""

    name: str = "live"
    since: datetime = NOW - 400 * DAY
    holes: frozenset[datetime] = frozenset()
    fault: Exception | None = None
    label: str = "made up"
    attribution: str = "Source: nobody"
    refresh_every: timedelta = HOUR
    settle_after: timedelta = DAY
    zones: dict[str, str] = field(default_factory=lambda: {"GB": "Great Britain"})
    web: Any = None
    asked: list[tuple[str, datetime, datetime]] = field(default_factory=list)

    def series_id(self, zone: str) -> SeriesId:
        """Where its numbers come from."""
        return SeriesId(provider=self.name, zone=zone, accounting=LIVE.accounting, basis=LIVE.basis)

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """It has none."""
        raise ProviderRefused(f"{self.name} has no forecasts; name another provider")

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Tell the past."""
        self.asked.append((zone, start, end))
        if self.fault:
            raise self.fault
        known = [slot for slot in hours(max(start, self.since), min(end, now)) if slot.start not in self.holes]
        return Series.of(self.series_id(zone), known)


@dataclass
class Backfilled:
    """A backfill over a store and some sources; `news` counts how often it brought any."""

    store: Store
    histories: tuple[Provider, ...] = ()
    zone: str | None = "GB"
    settings: dict[str, ProviderSettings] = field(default_factory=dict)
    kept: timedelta = 400 * DAY
    news: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        counts = RequestCounts(requests=self.requests, failures=self.failures)
        named = (self.zone, self.settings, OpenProviders(histories=self.histories))
        retention = Retention(forecasts=self.kept, measured=self.kept)
        self.backfill = Backfill(self.store.grid, *named, retention, self.news.append, counts)
        self.sources = Sources(self.store.grid, *named, counts)

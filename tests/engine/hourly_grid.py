"""A zone whose sources tell made-up hours, and the levels of the ladder that it stands on."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from greenrun.core.carbon.fallback import StalenessRules
from greenrun.core.carbon.intensity import FallbackLevel, Forecast, Kind, Series, SeriesId
from greenrun.core.errors import ProviderError, ProviderRefused, ProviderUnavailable
from greenrun.engine.zone import GridZone, ZoneSettings
from greenrun.store import Store
from tests.core.hours import DAY, HOUR, course
from tests.slots import slots_of
from tests.world import T0

AGEING = StalenessRules(stale_after=2 * HOUR)
MEAN = 333.0


@dataclass
class Source:
    """A source that tells hours up to `reach` ahead, and what was measured since `since`, of the zones it serves."""

    name: str = "uk"
    zones: tuple[str, ...] = ("GB", "DE")
    since: datetime = T0 - 30 * DAY
    reach: timedelta = 48 * HOUR
    fallback_level: FallbackLevel = FallbackLevel.FRESH
    trouble: ProviderError | None = None
    frozen_at: datetime | None = None
    asked: list[tuple[str, datetime, datetime]] = field(default_factory=list)

    refresh_every = HOUR
    settle_after = timedelta(0)

    def forecast(self, zone: str, now: datetime) -> Forecast:
        self._refuse(zone)
        begin = self._hour(now)
        end = self._hour(self.frozen_at or now) + self.reach
        if end <= begin:
            raise ProviderUnavailable("the source has nothing from now on")
        kind = Kind.ESTIMATED if self.fallback_level is FallbackLevel.STATIC else Kind.FORECAST
        return Forecast(series=self._series(zone, begin, end, kind), fetched_at=now, fallback_level=self.fallback_level)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        self.asked.append((zone, start, end))
        self._refuse(zone)
        begin, end = self._hour(max(start, self.since)), min(self._hour(end), self._hour(now))
        return self._series(zone, begin, end, Kind.MEASURED)

    def _refuse(self, zone: str) -> None:
        if zone not in self.zones:
            raise ProviderRefused(f"{self.name} serves {', '.join(self.zones)} and not {zone}")
        if self.trouble is not None:
            raise self.trouble

    def _series(self, zone: str, begin: datetime, end: datetime, kind: Kind) -> Series:
        starts = [begin + index * HOUR for index in range(max(0, (end - begin) // HOUR))]
        values = [MEAN if self.fallback_level is FallbackLevel.STATIC else course(start) for start in starts]
        return Series.of(SeriesId(provider=self.name, zone=zone), slots_of(starts, values, HOUR, kind))

    def _hour(self, at: datetime) -> datetime:
        return at.replace(minute=0, second=0, microsecond=0)


def learning(days: int) -> ZoneSettings:
    """A zone whose normal hours are learned from the last days, and whose forecasts become stale."""
    return ZoneSettings(climatology_days=days, staleness=AGEING)


def a_grid(store: Store, *sources: Source, history: Source | None = None, days: int = 28, zone: str = "GB") -> GridZone:
    """The grid of a daemon that has just started."""
    return GridZone(store, zone, sources, [history or sources[0]], learning(days))


def levels(grid: GridZone, start: datetime, hours: int, *, asks: bool = True) -> list[str]:
    """The levels from hour to hour, a new one named when it comes."""
    seen: list[str] = []
    for hour in range(hours):
        now = start + hour * HOUR
        if asks:
            grid.apply_update(grid.fetch(now))
        grid.update_active_forecast(now)
        if not seen or seen[-1] != grid.active_forecast.fallback_level.value:
            seen.append(grid.active_forecast.fallback_level.value)
    return seen

"""Keep at hand how good the forecasts of a zone were: judged now and then, since it takes a second."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from greenrun.core.intensity import SeriesId
from greenrun.core.learning import ISSUE_EVERY, MEMORY
from greenrun.core.quality import Quality, judge
from greenrun.ports import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How good the forecasts of one series were, at each lead time and over the day ahead."""

    series: SeriesId
    leads: tuple[Quality, ...]


class ForecastQuality:
    """The quality of every series of forecasts that the store has of some zones."""

    def __init__(self, store: Store, zones: Sequence[str]) -> None:
        self._store = store
        self.zones = tuple(zones)
        self.judged_at: datetime | None = None
        self.latest: Sequence[Judged] = ()

    def refresh(self, now: datetime) -> None:
        """Judge anew, of each zone that series first whose last forecast is the newest; raise StoreError."""
        self.latest = [row for zone in self.zones for row in self._judged(zone, now)]
        self.judged_at = now

    def _judged(self, zone: str, now: datetime) -> Iterator[Judged]:
        issues = self._store.issues(zone, now - MEMORY, ISSUE_EVERY)
        measured = self._store.measured(zone, now - MEMORY, now)
        for key in dict.fromkeys(issue.series.id for issue in reversed(issues)):
            yield Judged(series=key, leads=judge([row for row in issues if row.series.id == key], measured, now))

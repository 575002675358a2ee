"""Fetch what one more kWh emitted, where a source reports that beside the average, for the energy that waits for it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenrun.core.carbon.intensity import Series
from greenrun.engine.intensities import ReportedIntensities
from greenrun.engine.polling import ProviderPolling
from greenrun.engine.ports import IntensityWriter, SettlementStore
from greenrun.engine.settlement import LookBack

FIRST = timedelta(hours=1)  # how much the first question asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalUpdate:
    """What a source answered, and whether it was asked for all that may still wait."""

    series: Series
    looked_back: bool


class MarginalPolling:
    """Brings a zone's marginal intensities into the store; energy is priced with them, jobs are never planned by them.

    `names` are the sources of marginal intensities in the settings.
    """

    def __init__(
        self,
        grid: IntensityWriter,
        books: SettlementStore,
        polling: ProviderPolling,
        intensities: ReportedIntensities,
        names: Collection[str],
    ) -> None:
        self._grid = grid
        self._polling = polling
        self._intensities = intensities
        self._look_back = LookBack(books, intensities.stage)
        self.names = frozenset(names)
        self._until: datetime | None = None

    def fetch(self, now: datetime, only: Collection[str] | None = None) -> MarginalUpdate | None:
        """Ask for news, and from time to time for all that may still price something; changes nothing."""
        if self._intensities.settle_after is None or (only is not None and self.names.isdisjoint(only)):
            return None
        looks_back = self._look_back.is_due(now)
        start = self._until or now - FIRST
        series = self._polling.history(self._look_back.start(start, now) if looks_back else start, now, now, only)
        return None if series is None else MarginalUpdate(series=series, looked_back=looks_back)

    def take(self, update: MarginalUpdate, now: datetime) -> None:
        """Keep what was fetched, so that energy is priced with it."""
        self._grid.save_intensities(update.series, fetched_at=now)
        self._intensities.add(update.series.id)
        self._until = update.series.end or self._until
        if update.looked_back:
            self._look_back.note(now)

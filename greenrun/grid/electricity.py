"""Keep electricity prices in the store: fetch the days that are missing."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import structlog

from greenrun.core.accounting.step_function import Steps
from greenrun.core.errors import ProviderError

if TYPE_CHECKING:
    from greenrun.grid.day_ahead import DayAhead

log = structlog.get_logger("greenrun.grid.electricity")

BACK = timedelta(days=31)  # how far back missing prices are fetched; earlier reports lack them and say so
AHEAD = timedelta(days=2)  # the next day's prices are published in the afternoon


class PriceStore(Protocol):
    """The part of the store that prices need."""

    def electricity_prices(self, source: str, start: datetime, end: datetime) -> Steps:
        """Return the prices per kWh that overlap `[start, end)`."""

    def save_electricity_prices(self, source: str, prices: Steps, currency: str, *, fetched_at: datetime) -> None:
        """Store these prices, replacing the source's earlier ones for the same time."""


class DayAheadPrices:
    """The prices of one bidding zone, fetched where the store has none."""

    refresh_every = timedelta(hours=1)

    def __init__(self, source: "DayAhead", store: PriceStore) -> None:
        self.currency, self.attribution, self.web = source.currency, source.attribution, source.web
        self._source = source
        self._store = store
        self._failing = False

    def kept(self, start: datetime, end: datetime) -> Steps:
        """Return the stored prices per kWh that overlap `[start, end)`; raise StoreError."""
        return self._store.electricity_prices(self._source.source, start, end)

    def refresh(self, now: datetime) -> None:
        """Fetch the prices missing since `BACK` ago; a failure is logged once. Raise StoreError."""
        start, end = now - BACK, now + AHEAD
        missing = self.kept(start, end).first_hole(start, end)
        if missing is None:
            return
        try:
            prices = self._source.prices(missing, end)
        except ProviderError as exc:
            if not self._failing:
                log.warning("no prices of electricity, costs lack what is missing", error=str(exc))
            self._failing = True
            return
        self._failing = False
        self._store.save_electricity_prices(self._source.source, prices, self._source.currency, fetched_at=now)

"""Keep what electricity costs: ask the market for the days that are missing, and remember what it said."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import structlog

from greenrun.core.accounting.step_function import Steps
from greenrun.core.errors import ProviderError

if TYPE_CHECKING:
    from greenrun.grid.day_ahead import DayAhead

log = structlog.get_logger("greenrun.grid.electricity")

BACK = timedelta(days=31)  # so far back is asked for what is missing; earlier reports lack it, and say so
AHEAD = timedelta(days=2)  # the next day's prices come in the afternoon


class PriceStore(Protocol):
    """What is needed of the store."""

    def electricity_prices(self, source: str, start: datetime, end: datetime) -> Steps:
        """Return the prices per kWh that touch `[start, end)`."""

    def save_electricity_prices(self, source: str, prices: Steps, currency: str, *, fetched_at: datetime) -> None:
        """Keep these prices in place of what the source said of the same time before."""


class DayAheadPrices:
    """The prices of one bidding zone, asked for where the store has none."""

    refresh_every = timedelta(hours=1)

    def __init__(self, source: "DayAhead", store: PriceStore) -> None:
        self.currency, self.attribution, self.web = source.currency, source.attribution, source.web
        self._source = source
        self._store = store
        self._failing = False

    def kept(self, start: datetime, end: datetime) -> Steps:
        """Return the prices per kWh that touch `[start, end)`, as far as they were told; raise StoreError."""
        return self._store.electricity_prices(self._source.source, start, end)

    def refresh(self, now: datetime) -> None:
        """Ask for what is missing from `BACK` ago on; a failure is logged once, and costs lack it; raise StoreError."""
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

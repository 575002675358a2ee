"""Ask what one more kWh emitted, where a source tells that beside the average, for the energy that waits for it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenrun.core.carbon.intensity import Series
from greenrun.core.energy.ledger import Stage
from greenrun.engine.bookkeeping import Bookkeeping
from greenrun.engine.polling import ProviderPolling, RequestCounts
from greenrun.engine.ports import HistoryProvider, Store

LOOK_BACK = timedelta(days=14)  # how far back values are asked for on behalf of energy that still waits for them
LOOK_BACK_EVERY = timedelta(hours=1)  # ... and how often, to have values confirmed or holes filled
FIRST = timedelta(hours=1)  # how much the first question asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginalUpdate:
    """What a source answered, and whether it was asked for all that may still wait."""

    series: Series
    looked_back: bool


class MarginalIntensities:
    """The flow of a zone's marginal values into the store and the books; planned with are they never."""

    def __init__(
        self,
        store: Store,
        books: Bookkeeping | None,
        zone: str | None,
        sources: Sequence[HistoryProvider],
        tally: RequestCounts,
    ) -> None:
        self._store = store
        self._books = books
        self._asking = ProviderPolling(zone, (), sources if books is not None else (), tally)
        self.names = frozenset(source.name for source in sources)
        self._until: datetime | None = None
        self._looked_back_at: datetime | None = None

    @property
    def settle_after(self) -> timedelta | None:
        """How long past its slot's end a value is final; None without a source."""
        return self._asking.settle_after

    def fetch(self, now: datetime, only: Collection[str] | None = None) -> MarginalUpdate | None:
        """Ask for news, and from time to time for all that may still price something; changes nothing."""
        if self.settle_after is None or (only is not None and self.names.isdisjoint(only)):
            return None
        last = self._looked_back_at
        looks_back = last is None or not last <= now < last + LOOK_BACK_EVERY
        start = self._until or now - FIRST
        if looks_back:
            oldest = self._store.unsettled(now, after=now - LOOK_BACK, limit=1, stage=Stage.MARGINAL)
            start = min([start, *(max(piece.start, now - LOOK_BACK) for _, piece, _ in oldest)])
        series = self._asking.history(start, now, now, only)
        return None if series is None else MarginalUpdate(series=series, looked_back=looks_back)

    def take(self, told: MarginalUpdate, now: datetime) -> None:
        """Keep what was told, and have energy priced with it."""
        self._store.save_intensities(told.series, fetched_at=now)
        if self._books is not None:
            self._books.learn_marginal(told.series.id)
        self._until = told.series.end or self._until
        self._looked_back_at = now if told.looked_back else self._looked_back_at

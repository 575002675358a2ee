"""Price slices once more when what was measured is final: with the average, and where there is a source, marginally."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from greenrun.core.carbon.intensity import Series, SeriesId
from greenrun.core.energy.ledger import UNPRICED, Priced, Stage, price
from greenrun.core.energy.model import Slice
from greenrun.engine.ports import Store

AGAIN_AFTER = timedelta(minutes=1)
SETTLE_AT_ONCE = 5000


class Settlement:
    """One of the prices that slices wait for, each at its own pace."""

    def __init__(self, store: Store, stage: Stage) -> None:
        self._store = store
        self._stage = stage
        self._measured: list[SeriesId] = []  # by source, the one learned last at the end
        self._passed_over: datetime | None = None
        self._in_vain_at: datetime | None = None

    def learn(self, series_id: SeriesId) -> None:
        """Name a series of measured values; it comes before those named earlier."""
        self._measured = [*(known for known in self._measured if known != series_id), series_id]
        self._in_vain_at = None

    def settle(self, settle_after: timedelta, now: datetime) -> int:
        """Book the price, once, of slices whose measured intensity is final by now; return how many.

        Where none of those that are due has one, they are not all read again at once: there may be days of them.
        """
        if self._in_vain_at is not None and self._in_vain_at <= now < self._in_vain_at + AGAIN_AFTER:
            return 0
        due = now - settle_after
        rows = self._store.unsettled(due, after=self._passed_over, limit=SETTLE_AT_ONCE, stage=self._stage)
        if not rows:
            self._passed_over = None
            return 0
        measured = self.measured_over([piece for _, piece, _ in rows], final_after=settle_after)
        prices = {slice_id: price_first(piece, measured, pue) for slice_id, piece, pue in rows}
        known = {slice_id: priced for slice_id, priced in prices.items() if priced is not UNPRICED}
        if known:
            self._store.settle(known, now=now, stage=self._stage)
        self._in_vain_at = now if not known and len(rows) < SETTLE_AT_ONCE else None
        # A hole in the measured values must not keep the slices behind it from being settled: look past it in turn.
        self._passed_over = rows[-1][1].end if len(rows) == SETTLE_AT_ONCE else None
        return len(known)

    def measured_over(self, pieces: Sequence[Slice], final_after: timedelta | None = None) -> list[Series]:
        """Return what was measured over these slices, by each source, the one learned last at the beginning."""
        if not pieces:
            return []
        start, end = min(piece.start for piece in pieces), max(piece.end for piece in pieces)
        sources = reversed(self._measured)
        return [self._store.intensities(source, start, end, final_after=final_after) for source in sources]


def price_first(piece: Slice, known: Iterable[Series], pue: float) -> Priced:
    """Price with the first series that wholly covers the slice; different ones are never spliced."""
    prices = (price(piece, series, pue) for series in known)
    return next((priced for priced in prices if priced is not UNPRICED), UNPRICED)

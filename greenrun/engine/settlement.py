"""Price slices once more when intensities are final: by the measured average, and marginally where that is reported."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from greenrun.core.carbon.intensity import Series
from greenrun.core.energy.ledger import UNPRICED, Priced, Stage, price
from greenrun.core.energy.model import Slice
from greenrun.engine.intensities import ReportedIntensities
from greenrun.engine.ports import SettlementStore

AGAIN_AFTER = timedelta(minutes=1)
SETTLE_AT_ONCE = 5000
LOOK_BACK = timedelta(days=14)  # how far back intensities are asked for on behalf of energy that is not settled yet
LOOK_BACK_EVERY = timedelta(hours=1)  # ... and how often, to have values confirmed or holes filled


class Settlement:
    """Books one of the prices that slices wait for, at its own pace."""

    def __init__(self, books: SettlementStore, intensities: ReportedIntensities) -> None:
        self._books = books
        self._intensities = intensities
        self.latest: Sequence[datetime] = ()  # when the slices began that the last call settled
        self._passed_over: datetime | None = None
        self._fruitless_at: datetime | None = None
        self._fruitless_reports = 0  # the number of reports at that time

    def settle(self, now: datetime) -> int:
        """Book the price, once, of slices whose intensity is final by now; return how many.

        Where none of those that are due has one, they are read again only after a while or a report: there may be days
        of them.
        """
        self.latest = ()
        settle_after = self._intensities.settle_after
        if settle_after is None or self._is_fruitless(now):
            return 0
        stage = self._intensities.stage
        rows = self._books.unsettled(now - settle_after, after=self._passed_over, limit=SETTLE_AT_ONCE, stage=stage)
        if not rows:
            self._passed_over = None
            return 0
        known = intensities_over([row.slice for row in rows], self._intensities, final_after=settle_after)
        prices = {row.id: price_first(row.slice, known, row.pue) for row in rows}
        new = {slice_id: priced for slice_id, priced in prices.items() if priced is not UNPRICED}
        if new:
            self._books.settle(new, now=now, stage=stage)
            self.latest = [row.slice.start for row in rows if row.id in new]
        self._fruitless_at = now if not new and len(rows) < SETTLE_AT_ONCE else None
        self._fruitless_reports = self._intensities.reports
        # A hole in the measured values must not keep the slices behind it from being settled: look past it in turn.
        self._passed_over = rows[-1].slice.end if len(rows) == SETTLE_AT_ONCE else None
        return len(new)

    def _is_fruitless(self, now: datetime) -> bool:
        if self._fruitless_at is None or self._intensities.reports > self._fruitless_reports:
            return False
        return self._fruitless_at <= now < self._fruitless_at + AGAIN_AFTER


class LookBack:
    """From time to time, the question for intensities begins where the oldest energy does that waits for this stage."""

    def __init__(self, books: SettlementStore, stage: Stage) -> None:
        self._books = books
        self._stage = stage
        self._last: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether it is time to look back; at once where the clock was set back."""
        return self._last is None or not self._last <= now < self._last + LOOK_BACK_EVERY

    def start(self, start: datetime, now: datetime) -> datetime:
        """Return from when on to ask instead of from `start` on: earlier where energy waits, by LOOK_BACK at most."""
        earliest = now - LOOK_BACK
        oldest = self._books.unsettled(now, after=earliest, limit=1, stage=self._stage)
        return min([start, *(max(row.slice.start, earliest) for row in oldest)])

    def note(self, now: datetime) -> None:
        """Note that a question that looked back was answered."""
        self._last = now


def intensities_over(
    pieces: Sequence[Slice], intensities: ReportedIntensities, final_after: timedelta | None = None
) -> list[Series]:
    """Return what was reported over these slices, the series reported last first."""
    if not pieces:
        return []
    start, end = min(piece.start for piece in pieces), max(piece.end for piece in pieces)
    return intensities.between(start, end, final_after=final_after)


def price_first(piece: Slice, known: Iterable[Series], pue: float) -> Priced:
    """Price with the first series that wholly covers the slice; different ones are never spliced."""
    prices = (price(piece, series, pue) for series in known)
    return next((priced for priced in prices if priced is not UNPRICED), UNPRICED)

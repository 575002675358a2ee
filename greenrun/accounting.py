"""Keep the books: readings become slices of one run or of none, priced when booked and once more when settled."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from greenrun.core.energy import Hold, Mark, Reading, Slice
from greenrun.core.intensity import Forecast, Series, SeriesId
from greenrun.core.job import Run
from greenrun.core.ledger import UNPRICED, Entry, price
from greenrun.core.slicing import cut
from greenrun.core.status import Phase, RunStatus
from greenrun.ports import Meter, Store

GRID = timedelta(minutes=1)  # slices are cut on this grid (UTC), besides at slot edges and at the ends of runs
OUTAGE_GRID = timedelta(hours=1)  # ... and on this one across a long outage, which has no detail to keep
LONG_OUTAGE = timedelta(hours=2)
SETTLE_AT_ONCE = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A live run and what its executor has just said of it."""

    run: Run
    status: RunStatus


class Books:
    """Books energy and prices it. Call `account` after polling the executor, so that a run's last joule is booked."""

    def __init__(self, store: Store, meter: Meter, *, pue: float = 1.0) -> None:
        self._store = store
        self._meter = meter
        self._pue = pue
        self._known: Series | None = None
        self._measured: SeriesId | None = None
        self._passed_over: datetime | None = None

    def learn(self, forecast: Forecast) -> None:
        """Take in a forecast: from its first slot on it is the best that is known; earlier slots stay as they were."""
        if self._known is None or self._known.id != forecast.series.id:
            self._known = forecast.series
            return
        self._known = self._known.followed_by(forecast.series)

    def learn_measured(self, series_id: SeriesId) -> None:
        """Name the series of measured values; it comes before any forecast."""
        self._measured = series_id

    def account(self, observed: Sequence[Observed], now: datetime) -> None:
        """Book every device's energy up to the last instant at which it is known whose it was."""
        marks = self._store.marks()
        readings = _by_device(self._meter.read({device: mark.at for device, mark in marks.items()}))
        if not readings:
            return
        oldest = min((mark.at for mark in marks.values()), default=now)
        holds = _holds(self._store.holds(oldest), observed)
        pieces: list[Slice] = []
        moved: list[Mark] = []
        for device, rows in readings.items():
            slices, mark = self._cut(marks.get(device), rows, holds, _known_through(device, observed, now))
            pieces += slices
            if mark is not None and mark != marks.get(device):
                moved.append(mark)
        if pieces or moved:
            self._store.append_slices(self._priced(pieces), moved, now=now)
        self._forget(min((mark.at for mark in (*marks.values(), *moved)), default=now))

    def settle(self, settle_after: timedelta, now: datetime) -> None:
        """Book the settled price, once, of slices whose measured intensity is final by now."""
        rows = self._store.unsettled(now - settle_after, after=self._passed_over, limit=SETTLE_AT_ONCE)
        if not rows:
            self._passed_over = None
            return
        measured = self._measured_over([piece for _, piece in rows])
        prices = {slice_id: price(piece, measured, self._pue) for slice_id, piece in rows}
        known = {slice_id: priced for slice_id, priced in prices.items() if priced is not UNPRICED}
        if known:
            self._store.settle(known, now=now)
        # A hole in the measured values must not keep the slices behind it from being settled: look past it in turn.
        self._passed_over = rows[-1][1].end if len(rows) == SETTLE_AT_ONCE and not known else None

    def _cut(
        self, mark: Mark | None, rows: Sequence[Reading], holds: Sequence[Hold], through: datetime
    ) -> tuple[list[Slice], Mark | None]:
        start = mark.at if mark else rows[0].at
        own = [hold for hold in holds if hold.device == rows[0].device]
        return cut(mark, rows, own, self._edges(start, through), through)

    def _edges(self, start: datetime, end: datetime) -> list[datetime]:
        step = OUTAGE_GRID if end - start > LONG_OUTAGE else GRID
        first = datetime.fromtimestamp((start.timestamp() // step.total_seconds() + 1) * step.total_seconds(), UTC)
        count = max(0, -((first - end) // step))
        grid = [first + index * step for index in range(count)]
        return sorted({*grid, *(self._known.edges(start, end + GRID) if self._known else ())})

    def _priced(self, pieces: Sequence[Slice]) -> list[Entry]:
        """Price with the measured intensity where it is known already, else with the forecast of that time."""
        measured = self._measured_over(pieces)
        entries = []
        for piece in pieces:
            booked = price(piece, measured, self._pue)
            if booked is UNPRICED:
                booked = price(piece, self._known, self._pue)
            entries.append(Entry(slice=piece, pue=self._pue, booked=booked))
        return entries

    def _measured_over(self, pieces: Sequence[Slice]) -> Series | None:
        if self._measured is None or not pieces:
            return None
        start, end = min(piece.start for piece in pieces), max(piece.end for piece in pieces)
        return self._store.intensities(self._measured, start, end)

    def _forget(self, before: datetime) -> None:
        if self._known is not None and self._known.end is not None:
            self._known = self._known.between(before, max(before, self._known.end))


def _by_device(readings: Sequence[Reading]) -> Mapping[str, list[Reading]]:
    rows: dict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        rows[reading.device].append(reading)
    return rows


def _holds(booked: Sequence[Run], observed: Sequence[Observed]) -> list[Hold]:
    """Every hold that may own energy not yet booked: the store's runs, completed by what was just observed."""
    seen = {row.run.id: row for row in observed}
    runs = {run.id: run for run in (*booked, *(row.run for row in observed))}
    holds = []
    for run in runs.values():
        status = seen[run.id].status if run.id in seen else None
        start = run.started_at or (status.started_at if status else None)
        end = run.ended_at or (status.ended_at if status else None)
        if start is not None and (end is None or end > start):
            holds += [Hold(run_id=run.id, device=device, start=start, end=end) for device in run.devices]
    return holds


def _known_through(device: str, observed: Sequence[Observed], now: datetime) -> datetime:
    """The last instant up to which it is known who held the device."""
    through = now
    for row in observed:
        if device not in row.run.devices:
            continue
        if row.status.phase is Phase.RUNNING and row.status.started_at is not None:
            continue
        if row.status.ended_at is not None:
            through = max(through, row.status.ended_at)
        else:  # not started as far as is known, or out of reach: nothing after the claim can be told yet
            through = min(through, row.run.started_at or row.run.claimed_at)
    return through

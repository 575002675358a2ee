"""Keep the books: readings become slices of one run or of none, priced when booked and once more when settled."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from greenrun.core.energy import Component, Hold, Mark, Quality, Reading, Slice
from greenrun.core.holding import Observed as Observed
from greenrun.core.holding import exclusive, holder, holds_of, known_through
from greenrun.core.intensity import Forecast, Series, SeriesId
from greenrun.core.job import Run
from greenrun.core.ledger import UNPRICED, Entry, Priced, price
from greenrun.core.slicing import cut
from greenrun.ports import Meter, Store

log = structlog.get_logger("greenrun.accounting")

GRID = timedelta(minutes=1)  # slices are cut on this grid (UTC), besides at slot edges and at the ends of runs
OUTAGE_GRID = timedelta(hours=1)  # ... and on this one across a long outage, which has no detail to keep
LONG_OUTAGE = timedelta(hours=2)
SETTLE_AT_ONCE = 5000
AHEAD = timedelta(minutes=1)  # a mark further ahead of now than this tells that the clock was set back
LOST = timedelta(seconds=1)  # the length of the unknown slice that stands for all that was used around that
KNOWN_FOR = timedelta(days=2)  # how long the slots of past forecasts are kept for energy that is not booked yet


class Books:
    """Books energy and prices it. Call `account` after polling the executor, so that a run's last joule is booked.

    `failures` counts what could not be booked as it should, by cause. `latest` are the slices that the last call booked,
    and `idle_w` what each device drew, in watts, when nobody held it last.
    """

    def __init__(self, store: Store, meter: Meter, *, pue: float = 1.0) -> None:
        self._store = store
        self._meter = meter
        self._pue = pue
        self._known: dict[SeriesId, Series] = {}  # by source, the one learned last at the end
        self._measured: list[SeriesId] = []  # likewise
        self._passed_over: datetime | None = None
        self._in_vain_at: datetime | None = None
        self._told: set[str] = set()
        self.failures: Counter[str] = Counter()
        self.latest: Sequence[Slice] = ()
        self.idle_w: Mapping[str, float] = {}

    def learn(self, forecast: Forecast) -> None:
        """Take in a forecast: from its first slot on it is the best that is known; earlier slots stay as they were."""
        series = forecast.series
        known = self._known.pop(series.id, None)
        self._known[series.id] = known.followed_by(series) if known else series
        self._forget(forecast.fetched_at - KNOWN_FOR)

    def learn_measured(self, series_id: SeriesId) -> None:
        """Name the series of measured values; it comes before any forecast, and before those named earlier."""
        self._measured = [*(known for known in self._measured if known != series_id), series_id]
        self._in_vain_at = None

    def account(self, observed: Sequence[Observed], now: datetime) -> None:
        """Book every device's energy up to the last instant at which it is known whose it was."""
        self.latest = ()
        marks = self._store.marks()
        self.idle_w = {device: mark.idle_w for device, mark in marks.items() if mark.idle_w is not None}
        sound = {device: mark for device, mark in marks.items() if mark.at <= now + AHEAD}
        readings = _by_device(self._meter.read({device: mark.at for device, mark in sound.items()}), now + AHEAD)
        if not readings:
            return
        starts = {device: sound[device].at if device in sound else rows[0].at for device, rows in readings.items()}
        runs = self._store.holds(min(starts.values()))
        holds = holds_of(runs, observed)
        components = {device.id: device.kind for device in self._meter.devices()}
        pieces: list[Slice] = []
        moved: list[Mark] = []
        for device, rows in readings.items():
            mark, kind = marks.get(device), components.get(device, Component.GPU)
            if mark is None or device in sound:
                slices, new = self._cut(mark, rows, holds.get(device, ()), known_through(device, observed, now), kind)
            else:
                slices, new = self._start_anew(mark, rows[0], runs, holder(device, observed), kind)
            pieces += slices
            moved += [new] if new is not None and new != mark else []
        if moved:
            self._store.append_slices(self._priced(pieces), moved, now=now)
            self.latest = pieces
        self._forget(min((mark.at for mark in (*marks.values(), *moved)), default=now))

    def settle(self, settle_after: timedelta, now: datetime) -> None:
        """Book the settled price, once, of slices whose measured intensity is final by now.

        Where none of those that are due has one, they are not all read again at once: there may be days of them.
        """
        if self._in_vain_at is not None and self._in_vain_at <= now < self._in_vain_at + GRID:
            return
        rows = self._store.unsettled(now - settle_after, after=self._passed_over, limit=SETTLE_AT_ONCE)
        if not rows:
            self._passed_over = None
            return
        measured = self._measured_over([piece for _, piece, _ in rows], final_after=settle_after)
        prices = {slice_id: _price(piece, measured, pue) for slice_id, piece, pue in rows}
        known = {slice_id: priced for slice_id, priced in prices.items() if priced is not UNPRICED}
        if known:
            self._store.settle(known, now=now)
        self._in_vain_at = now if not known and len(rows) < SETTLE_AT_ONCE else None
        # A hole in the measured values must not keep the slices behind it from being settled: look past it in turn.
        self._passed_over = rows[-1][1].end if len(rows) == SETTLE_AT_ONCE and not known else None

    def _cut(
        self, mark: Mark | None, rows: Sequence[Reading], holds: Sequence[Hold], through: datetime, component: Component
    ) -> tuple[list[Slice], Mark | None]:
        """Cut one device's readings; what fails for it waits in its counter, and the others do not wait for it."""
        device, start = rows[0].device, mark.at if mark else rows[0].at
        own = [hold for hold in holds if mark is None or hold.run_id >= mark.since_run]
        clear = exclusive(own)
        if clear != sorted(own, key=lambda hold: hold.run_id):
            self._tell("overlap", device, "runs overlap, so the clock was set back; each ends where the next begins")
        try:
            cuttings = cut(mark, rows, clear, self._edges(start, through), through, component=component)
        except ValueError as exc:
            self._tell("cut", device, "a device's energy is not booked now, that of the others is", error=str(exc))
            return [], None
        return cuttings

    def _start_anew(
        self, mark: Mark, first: Reading, runs: Sequence[Run], holder: int | None, component: Component
    ) -> tuple[list[Slice], Mark | None]:
        """Go on from the first reading after the clock was set back; the holder's energy over that is not known."""
        self.failures["clock"] += 1
        log.warning(
            "the clock was set back, so what was used meanwhile stays unknown and booking goes on from here",
            device=mark.device, booked_until=mark.at.isoformat(), at=first.at.isoformat(),
        )  # fmt: skip
        lost = Slice(
            device=mark.device, component=component, run_id=holder, start=mark.at, end=mark.at + LOST,
            energy_j=None, quality=Quality.UNKNOWN,
        )  # fmt: skip
        ended = [run.id for run in runs if run.ended_at is not None and mark.device in run.devices]
        _, new = cut(None, [first], [], [], first.at)
        return [lost], new and replace(new, since_run=max([mark.since_run, *(run_id + 1 for run_id in ended)]))

    def _tell(self, cause: str, device: str, what: str, **more: str) -> None:
        """Count a failure, and log it once for each device."""
        self.failures[cause] += 1
        if f"{cause} {device}" not in self._told:
            log.warning(what, device=device, **more)
        self._told.add(f"{cause} {device}")

    def _edges(self, start: datetime, end: datetime) -> list[datetime]:
        step = OUTAGE_GRID if end - start > LONG_OUTAGE else GRID
        first = datetime.fromtimestamp((start.timestamp() // step.total_seconds() + 1) * step.total_seconds(), UTC)
        count = max(0, -((first - end) // step))
        slots = [edge for series in self._known.values() for edge in series.edges(start, end + GRID)]
        return sorted({*(first + index * step for index in range(count)), *slots})

    def _priced(self, pieces: Sequence[Slice]) -> list[Entry]:
        """Price with the measured intensity where it is known already, else with the forecast of that time."""
        known = [*self._measured_over(pieces), *reversed(self._known.values())]
        return [Entry(slice=piece, pue=self._pue, booked=_price(piece, known, self._pue)) for piece in pieces]

    def _measured_over(self, pieces: Sequence[Slice], final_after: timedelta | None = None) -> list[Series]:
        """Return what was measured over these slices, by each source, the one learned last at the beginning."""
        if not pieces:
            return []
        start, end = min(piece.start for piece in pieces), max(piece.end for piece in pieces)
        sources = reversed(self._measured)
        return [self._store.intensities(source, start, end, final_after=final_after) for source in sources]

    def _forget(self, before: datetime) -> None:
        """Drop the slots that ended by then, which nothing is priced with any more."""
        kept = {source: series.between(before, series.end or before) for source, series in self._known.items()}
        self._known = {source: series for source, series in kept.items() if len(series)}


def _price(piece: Slice, known: Iterable[Series], pue: float) -> Priced:
    """Price with the first series that wholly covers the slice; different ones are never spliced."""
    prices = (price(piece, series, pue) for series in known)
    return next((priced for priced in prices if priced is not UNPRICED), UNPRICED)


def _by_device(readings: Sequence[Reading], until: datetime) -> Mapping[str, list[Reading]]:
    """Return the readings of each device; those after `until` are of a time before the clock was set back."""
    rows: dict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        if reading.at <= until:
            rows[reading.device].append(reading)
    return rows

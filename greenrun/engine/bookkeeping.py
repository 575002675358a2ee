"""Keep the books: readings become slices of one run or of none, priced when booked and once more when settled."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from greenrun.core.energy.gpu_parts import board_of
from greenrun.core.energy.ledger import Entry, Stage
from greenrun.core.energy.merging import MERGE_AFTER, WITHIN
from greenrun.core.energy.model import BOOKED, Component, Device, Hold, Mark, Quality, Reading, Slice
from greenrun.core.energy.slicing import ABSURD_W, cut, external_energy
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.occupancy import (
    Observed,
    exclusive,
    held_in_parts,
    holder,
    holds_of,
    known_through,
    shared_through,
    users_of,
)
from greenrun.core.jobs.runs.status import Phase
from greenrun.engine.baselines import BaselineComparison
from greenrun.engine.intensities import CarbonIntensities
from greenrun.engine.ports import BaselineStore, BookStore, IntensityReader, Meter
from greenrun.engine.settlement import Settlement, intensities_over, price_first

log = structlog.get_logger("greenrun.engine.bookkeeping")

SLICE_STEP = timedelta(minutes=1)  # slices are cut at these instants (UTC), at slot edges and at the ends of runs
OUTAGE_SLICE_STEP = timedelta(hours=1)  # ... and on this one across a long outage, which has no detail to keep
LONG_OUTAGE = timedelta(hours=2)
MERGE_AT_ONCE = 200  # slices: some hundredths of a second
MERGE_AGAIN_AFTER = timedelta(hours=6)  # until the next round: what many steps add in one go fills whole pages
AHEAD = timedelta(minutes=1)  # a mark further ahead of now than this tells that the clock was set back
OVER_LIMIT = 1.25  # a board may exceed its limit by so much for a moment
BEFORE_IT_RAN = timedelta(seconds=2)  # a run that ended so long before it was seen alive ended by another clock
FORGOTTEN = timedelta(days=1)  # by then, the last joule of such a run is booked
LOST = timedelta(seconds=1)  # the length of the unknown slice that stands for all that was used around that


class BookkeepingStore(Protocol):
    """The books, the baselines, and the intensities that both are priced with."""

    @property
    def books(self) -> BookStore: ...

    @property
    def baselines(self) -> BaselineStore: ...

    @property
    def grid(self) -> IntensityReader: ...


class Bookkeeping:
    """Books energy and prices it. Call `account` after polling the executor, so that a run's last joule is booked.

    `failures` counts what could not be booked as it should, by cause. `latest` are the slices the last call booked,
    and `idle_w` what each device drew, in watts, when nobody held it last.
    """

    def __init__(
        self,
        store: BookkeepingStore,
        meter: Meter,
        intensities: CarbonIntensities,
        *,
        pue: float = 1.0,
        merge_within: timedelta = WITHIN,
        slice_step: timedelta = SLICE_STEP,
    ) -> None:
        self._slice_step = slice_step
        self._books = store.books
        self._meter = meter
        self._intensities = intensities
        self._pue = pue
        self._merge_within = merge_within
        self._settlement = Settlement(store.books, intensities.measured)
        self._marginal = Settlement(store.books, intensities.marginal)
        self._baselines = BaselineComparison(store.baselines, store.grid)
        self._merged_at: datetime | None = None  # when the last round of merging was over
        self._told: set[str] = set()
        self._alive: dict[int, datetime] = {}  # when each run was last seen alive
        self._seen_ending: dict[int, datetime] = {}  # of runs that ended before that, by a clock that was set since
        self._undated: set[int] = set()  # the runs that were dated by another clock: what they used is not known
        self.failures: Counter[str] = Counter()
        self.latest: Sequence[Slice] = ()
        self._changed: set[datetime] = set()
        self.idle_w: Mapping[str, float] = {}

    def account(self, observed: Sequence[Observed], now: datetime) -> None:
        """Book every device's energy up to the last instant at which it is known whose it was."""
        self.latest = ()
        observed = self._by_this_clock(observed, now)
        marks = self._books.marks()
        self.idle_w = {device: mark.idle_w for device, mark in marks.items() if mark.idle_w is not None}
        sound = {device: mark for device, mark in marks.items() if mark.at <= now + AHEAD}
        readings = _by_device(self._meter.read({device: mark.at for device, mark in sound.items()}), now + AHEAD)
        devices = {device.id: device for device in self._meter.devices()}
        components = {device: known.kind for device, known in devices.items()}
        for unmanaged in [device.id for device in devices.values() if not device.booked]:
            readings.pop(unmanaged, None)
        self._account_beside(marks, readings, [name for name, kind in components.items() if kind not in BOOKED])
        if not readings:
            return
        starts = {device: sound[device].at if device in sound else rows[0].at for device, rows in readings.items()}
        runs = [self._ended_by_this_clock(run) for run in self._books.holds(min(starts.values()))]
        owners = _Owners(runs, observed, now)
        pieces: list[Slice] = []
        moved: list[Mark] = []
        for device, rows in readings.items():
            mark, kind = marks.get(device), components.get(device, Component.GPU)
            if mark is None or device in sound:
                slices, new = self._cut(mark, rows, owners, kind, devices.get(device))
            else:
                slices, new = self._start_anew(mark, rows[0], owners, kind)
            pieces += slices
            moved += [new] if new is not None and new != mark else []
        pieces = [_unknown(piece) if piece.run_id in self._undated else piece for piece in pieces]
        if moved:
            is_marginal = self._intensities.marginal.settle_after is not None
            waits_for = [Stage.SETTLED, *([Stage.MARGINAL] if is_marginal else [])]
            self._books.append_slices(self._priced(pieces), moved, now=now, waits_for=waits_for)
            self.latest = pieces
            self._changed.update(hour_of(piece.start) for piece in pieces)
        self._intensities.forget(min((mark.at for mark in (*marks.values(), *moved)), default=now))

    def take_changed_hours(self) -> set[datetime]:
        """Return in which hours of UTC slices began that were booked or settled since the last call."""
        found, self._changed = self._changed, set()
        return found

    def settle(self, now: datetime) -> None:
        """Book, once, what is final by now: settled prices, marginal ones, and what an earlier start had emitted.

        Of what is final and old, some slices are merged.
        """
        settled = self._settlement.settle(now)
        self._changed.update(map(hour_of, self._settlement.latest))
        settle_after = self._intensities.measured.settle_after
        if settle_after is not None:
            self._baselines.compare(settle_after, now, is_news=settled > 0)
        self._marginal.settle(now)
        if self._merged_at is None or not self._merged_at <= now < self._merged_at + MERGE_AGAIN_AFTER:
            goes_on = self._books.merge(now - MERGE_AFTER, limit=MERGE_AT_ONCE, step=self._merge_within)
            self._merged_at = None if goes_on else now

    def _by_this_clock(self, observed: Sequence[Observed], now: datetime) -> list[Observed]:
        """Let a run that ended before it was last seen alive end now: the clock was set, and holds follow this one."""
        self._undated |= {row.run.id for row in observed if row.status.is_undated}
        for row in observed:
            run_id, ended_at = row.run.id, row.status.ended_at
            if ended_at is None:
                self._alive |= {run_id: now} if row.status.phase is Phase.RUNNING else {}
            elif ended_at < self._alive.pop(run_id, ended_at) - BEFORE_IT_RAN:
                self._seen_ending[run_id] = now
        self._seen_ending = {run_id: at for run_id, at in self._seen_ending.items() if abs(now - at) < FORGOTTEN}
        return [self._observed_by_this_clock(row) for row in observed]

    def _observed_by_this_clock(self, row: Observed) -> Observed:
        ended_at = self._seen_ending.get(row.run.id)
        return replace(row, status=replace(row.status, ended_at=ended_at)) if ended_at else row

    def _ended_by_this_clock(self, run: Run) -> Run:
        ended_at = self._seen_ending.get(run.id)
        return replace(run, ended_at=ended_at) if ended_at else run

    def _account_beside(
        self, marks: Mapping[str, Mark], readings: dict[str, list[Reading]], devices: Sequence[str]
    ) -> None:
        """Take out of the readings those of meters that count what the books hold already, and count them apart."""
        there = [device for device in devices if device in readings]
        counted = {device: external_energy(marks.get(device), readings.pop(device)) for device in there}
        moved = [mark for _, mark in counted.values() if mark is not None]
        if moved:
            self._books.count_beside({device: energy_j for device, (energy_j, _) in counted.items()}, moved)

    def _cut(
        self,
        mark: Mark | None,
        rows: Sequence[Reading],
        owners: "_Owners",
        component: Component,
        known: Device | None,
    ) -> tuple[list[Slice], Mark | None]:
        """Cut one device's readings; what fails for it waits in its counter, and the others do not wait for it."""
        device, start, since_run = rows[0].device, mark.at if mark else rows[0].at, mark.since_run if mark else 0
        is_shared = component is not Component.GPU
        through = owners.through(device, is_shared=is_shared)
        users = owners.users(device) if is_shared else {}
        own = [] if is_shared else owners.holds(device, since_run)
        in_parts = owners.in_parts(device)
        clear = own if in_parts else exclusive(own)
        if not in_parts and clear != sorted(own, key=lambda hold: hold.run_id):
            self._tell("overlap", device, "runs overlap, so the clock was set back; each ends where the next begins")
        try:
            return cut(
                mark,
                rows,
                clear,
                self._edges(start, through),
                through,
                component=component,
                users=users,
                highest_w=highest_w(known),
                in_parts=in_parts,
            )
        except ValueError as exc:
            self._tell("cut", device, "a device's energy is not booked now, that of the others is", error=str(exc))
            return [], None

    def _start_anew(
        self, mark: Mark, first: Reading, owners: "_Owners", component: Component
    ) -> tuple[list[Slice], Mark | None]:
        """Go on from the first reading after the clock was set back; the holder's energy over that is not known."""
        self.failures["clock"] += 1
        log.warning(
            "the clock was set back, so what was used meanwhile stays unknown and booking goes on from here",
            device=mark.device, booked_until=mark.at.isoformat(), at=first.at.isoformat(),
        )  # fmt: skip
        lost = Slice(
            device=mark.device, component=component, run_id=owners.holder(mark.device),
            start=mark.at, end=mark.at + LOST, energy_j=None, quality=Quality.UNKNOWN,
        )  # fmt: skip
        _, new = cut(None, [first], [], [], first.at)
        return [lost], new and replace(new, since_run=max(mark.since_run, owners.last_ended(mark.device) + 1))

    def _tell(self, cause: str, device: str, what: str, **more: str) -> None:
        """Count a failure, and log it once for each device."""
        self.failures[cause] += 1
        if f"{cause} {device}" not in self._told:
            log.warning(what, device=device, **more)
        self._told.add(f"{cause} {device}")

    def _edges(self, start: datetime, end: datetime) -> list[datetime]:
        step = OUTAGE_SLICE_STEP if end - start > LONG_OUTAGE else self._slice_step
        first = datetime.fromtimestamp((start.timestamp() // step.total_seconds() + 1) * step.total_seconds(), UTC)
        count = max(0, -((first - end) // step))
        slots = [edge for series in self._intensities.forecasts() for edge in series.edges(start, end + SLICE_STEP)]
        return sorted({*(first + index * step for index in range(count)), *slots})

    def _priced(self, pieces: Sequence[Slice]) -> list[Entry]:
        """Price with the measured intensity where it is known already, else with the forecast of that time."""
        known = [*intensities_over(pieces, self._intensities.measured), *self._intensities.forecasts()]
        return [Entry(slice=piece, pue=self._pue, booked=price_first(piece, known, self._pue)) for piece in pieces]


class _Owners:
    """Who may have used what since the marks: `runs` are those in the store, `observed` those that live."""

    def __init__(self, runs: Sequence[Run], observed: Sequence[Observed], now: datetime) -> None:
        self._runs, self._observed, self._now = runs, observed, now
        self._holds, self._in_parts = holds_of(runs, observed), held_in_parts(runs, observed)

    def in_parts(self, device: str) -> bool:
        """Tell whether runs have held parts of a device, so that several may have held it at once."""
        return device in self._in_parts

    def holds(self, device: str, since_run: int) -> list[Hold]:
        """Return the holds of a device, which one run has at a time unless they are of its parts."""
        return [hold for hold in self._holds.get(device, ()) if hold.run_id >= since_run]

    def users(self, device: str) -> Mapping[str, Hold]:
        """Return the runs that may have used a device that all do, by label."""
        return users_of(device, self._runs, self._observed)

    def through(self, device: str, *, is_shared: bool) -> datetime:
        """Return the last instant up to which it is known who used it."""
        if is_shared:
            return shared_through(self._observed, self._now)
        return known_through(device, self._observed, self._now)

    def holder(self, device: str) -> int | None:
        """Return the run that has the device now."""
        return holder(device, self._observed)

    def last_ended(self, device: str) -> int:
        """Return the last run that had held the device and has ended, 0 for none."""
        ended = [run for run in self._runs if run.ended_at is not None and device in map(board_of, run.devices)]
        return max((run.id for run in ended), default=0)


def hour_of(at: datetime) -> datetime:
    """Return the beginning of an instant's hour, in UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _unknown(piece: Slice) -> Slice:
    return replace(piece, energy_j=None, quality=Quality.UNKNOWN, busy_s=None, split_j=0.0)


def highest_w(device: Device | None) -> float:
    """Return the power in watts that a device never exceeds: a quarter above its limit where it tells that."""
    if device is None or device.kind is not Component.GPU or not device.power_w:
        return ABSURD_W
    return OVER_LIMIT * device.power_w


def _by_device(readings: Sequence[Reading], until: datetime) -> dict[str, list[Reading]]:
    """Return the readings of each device; those after `until` are of a time before the clock was set back."""
    rows: dict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        if reading.at <= until:
            rows[reading.device].append(reading)
    return rows

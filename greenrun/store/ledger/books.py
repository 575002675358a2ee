"""The books: slices of energy, their booked and settled prices, the marks and the counters."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import fsum, isclose

from sqlalchemy import Integer, bindparam, delete, func, insert, or_, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from greenrun.core.budgets.charges import ChargedHour
from greenrun.core.carbon.intensity import SeriesId
from greenrun.core.energy.ledger import UNPRICED, Entry, Priced, Stage, Total, UnsettledSlice
from greenrun.core.energy.merging import WITHIN
from greenrun.core.energy.model import Mark, Quality, Slice
from greenrun.core.errors import InputProblem, InvalidInput, StoreError
from greenrun.core.histogram import CounterKey
from greenrun.core.jobs.job import Run
from greenrun.store.columns import among, among_listed, listed
from greenrun.store.database import Database
from greenrun.store.grid import series_ids, series_key
from greenrun.store.ledger import counters
from greenrun.store.ledger.baselines import compared_g
from greenrun.store.ledger.booked_time import LONGEST_SLICE
from greenrun.store.ledger.charged_hours import charged_hours
from greenrun.store.ledger.counters import count, counters_of
from greenrun.store.ledger.merged_slices import WAITING, SliceMerger, slice_columns, slice_of
from greenrun.store.ledger.slice_prices import price_of, price_values
from greenrun.store.ledger.totals import RunningTotals, totals_of
from greenrun.store.runs import runs_of
from greenrun.store.tables import JOBS, MARKS, RUNS, SLICES

# Made once, since they are asked at every tick: to make a statement takes as long as to carry it out.
_MARKS = select(MARKS)
_HOLDS = select(RUNS).where(
    or_(RUNS.c.ended_at.is_(None), RUNS.c.ended_at >= bindparam("since")), RUNS.c.started_at.is_not(None)
)
_ENTRIES = (
    select(SLICES, RUNS.c.job_id, JOBS.c.project)
    .select_from(SLICES.outerjoin(RUNS).outerjoin(JOBS))
    .where(among_listed(SLICES.c.id))
    .order_by(SLICES.c.started_at, SLICES.c.id)
)
_UNSETTLED = {
    stage: select(SLICES)
    .join(waiting)
    .where(waiting.c.ended_at <= bindparam("before"), waiting.c.ended_at > bindparam("after"))
    .order_by(waiting.c.ended_at, waiting.c.slice_id)
    .limit(bindparam("most", type_=Integer))
    for stage, waiting in WAITING.items()
}
_MERGED_SINCE = InputProblem(field="cursor", message="slices before it have been merged since: begin again without it")
_EVER = datetime.min.replace(tzinfo=UTC)


class BookRepository:
    """Keeps the books; `counters` are the totals that outlive restarts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._running = RunningTotals(database)
        self._merger = SliceMerger(database)

    def marks(self) -> Mapping[str, Mark]:
        """Return how far each device's energy is booked."""
        with self._database.read() as session:
            return {row.device: Mark(**row._mapping) for row in session.execute(_MARKS)}

    def append_slices(
        self,
        entries: Sequence[Entry],
        marks: Sequence[Mark],
        *,
        now: datetime,
        waits_for: Collection[Stage] = (Stage.SETTLED,),
    ) -> None:
        """Book slices with the price known now, move the marks and count the totals, all or nothing.

        A device's slices must follow one another from its mark on, else StoreError: energy is never booked twice.
        """
        with self._database.write() as session:
            _check_order(session, entries, marks)
            if entries:
                ids = _insert_slices(session, entries, waits_for, now)
                added = _entries(session, ids)
                count(session, counters.booked(added))
            _upsert_marks(session, marks)

    def count_beside(self, energy_j: Mapping[str, float], marks: Sequence[Mark]) -> None:
        """Count what meters outside the books counted, in J by device, and move their marks, all or nothing."""
        with self._database.write() as session:
            count(session, counters.beside(energy_j))
            _upsert_marks(session, marks)

    def holds(self, since: datetime) -> Sequence[Run]:
        """Return every run that had started and was live at or after `since`: whose energy may still be booked."""
        with self._database.read() as session:
            return runs_of(session, _HOLDS, {"since": since})

    def unsettled(
        self,
        before: datetime,
        *,
        after: datetime | None = None,
        limit: int = 5000,
        stage: Stage = Stage.SETTLED,
    ) -> Sequence[UnsettledSlice]:
        """Return the slices that ended after `after` and by `before` and are not settled, oldest first."""
        asked = {"before": before, "after": after or _EVER, "most": limit}
        with self._database.read() as session:
            rows = session.execute(_UNSETTLED[stage], asked)
            return [UnsettledSlice(row.id, slice_of(row), row.pue) for row in rows]

    def settle(self, prices: Mapping[int, Priced], *, now: datetime, stage: Stage = Stage.SETTLED) -> int:
        """Book the settled (or marginal) price of each slice id once; return how many were new."""
        slice_id = WAITING[stage].c.slice_id
        with self._database.write() as session:
            waiting = session.scalars(select(slice_id).where(among(slice_id, prices))).all()
            if not waiting:
                return 0
            _put_prices(session, {key: prices[key] for key in waiting}, stage, now)
            session.execute(delete(WAITING[stage]).where(among(slice_id, waiting)))
            entries = _entries(session, waiting)
            is_marginal = stage is Stage.MARGINAL
            count(session, counters.marginal(entries, prices) if is_marginal else counters.settled(entries))
        return len(waiting)

    def charged_hours(self, start: datetime, end: datetime) -> Sequence[ChargedHour]:
        """Return what the slices of each account that began in `[start, end)` add up to by the hour."""
        with self._database.read() as session:
            return charged_hours(session, start, end)

    def merge(self, before: datetime, *, limit: int = 200, step: timedelta = WITHIN) -> bool:
        """Merge slices that began in whole steps before this and cannot change any more, every sum staying what it was.

        It sees some `limit` of them in one short transaction; return whether to go on: False once a round is over.
        """
        with self._running.afresh():  # the new slices would be added to those that they were made of
            return self._merger.merge(before, limit, step)

    def run_totals(self, run_ids: Sequence[int]) -> Mapping[int, Total]:
        """Return each run's energy and emissions as the books have them now.

        A run whose time is not all in slices has an UNKNOWN total: the energy that is booked, and no emissions, nor
        any that were avoided.
        """
        with self._database.read() as session:
            totals, compared = totals_of(session, run_ids), compared_g(session, run_ids)
        for run_id, (earlier_g, avoided_g) in compared.items():
            if totals[run_id].quality is not Quality.UNKNOWN:
                totals[run_id] = replace(totals[run_id], baseline_g=earlier_g, avoided_g=avoided_g)
        return totals

    def running_totals(self, run_ids: Sequence[int]) -> Mapping[int, Total]:
        """Return what `run_totals` does but for what is settled, quickly for runs that were asked for before."""
        return self._running.of(run_ids)

    def entries(self, *, job_id: int | None = None, limit: int = 1000, before: int | None = None) -> Sequence[Entry]:
        """Return ledger entries in time order, the latest `limit` of them, or of those before the entry of this id.

        Raise InvalidInput where that entry is gone: with others it was merged into one that may have been told in part.
        """
        query = select(SLICES.c.id).order_by(SLICES.c.started_at.desc(), SLICES.c.id.desc()).limit(limit)
        if job_id is not None:
            query = query.where(SLICES.c.run_id.in_(select(RUNS.c.id).where(RUNS.c.job_id == job_id)))
        with self._database.read() as session:
            if before is not None:
                began = session.scalar(select(SLICES.c.started_at).where(SLICES.c.id == before))
                if began is None:
                    raise InvalidInput("This page of the ledger is gone.", [_MERGED_SINCE])
                query = query.where(tuple_(SLICES.c.started_at, SLICES.c.id) < (began, before))
            return _entries(session, session.scalars(query).all())

    def slices_since(self, since: datetime) -> Sequence[Slice]:
        """Return the slices that ended after this, also one over an outage that began before."""
        query = select(SLICES).where(SLICES.c.started_at >= since - LONGEST_SLICE, SLICES.c.ended_at > since)
        with self._database.read() as session:
            return [slice_of(row) for row in session.execute(query)]

    def counters(self) -> Mapping[CounterKey, float]:
        """Return the persisted monotonic totals by metric name and sorted labels."""
        with self._database.read() as session:
            return counters_of(session)

    def add_counts(self, amounts: Mapping[CounterKey, float]) -> None:
        """Add amounts, none of them negative, to the persisted totals, all or nothing."""
        with self._database.write() as session:
            count(session, amounts)


def _check_order(session: Session, entries: Sequence[Entry], marks: Sequence[Mark]) -> None:
    moved = {mark.device for mark in marks}
    booked = {row.device: row.at for row in session.execute(select(MARKS.c.device, MARKS.c.at))}
    parts: defaultdict[tuple[str, datetime, datetime], list[Slice]] = defaultdict(list)
    for entry in entries:
        parts[entry.slice.device, entry.slice.start, entry.slice.end].append(entry.slice)
    for device, start, end in sorted(parts):
        is_next = booked.get(device, start) == start and _is_whole(parts[device, start, end])
        if device in moved and not is_next:
            raise StoreError(
                f"{device} is booked up to {booked.get(device, start).isoformat()}, so its slice from "
                f"{start.isoformat()} is refused and nothing was stored: two daemons may use this file; stop one"
            )
        booked[device] = end


def _is_whole(parts: Sequence[Slice]) -> bool:
    """Whether the slices of one device and time are each another run's, and together no more and no less than all."""
    return len({piece.run_id for piece in parts}) == len(parts) and isclose(fsum(piece.share for piece in parts), 1.0)


def _insert_slices(
    session: Session, entries: Sequence[Entry], waits_for: Collection[Stage], now: datetime
) -> list[int]:
    """Insert and return their ids; these are given here, where nobody else can write, which saves asking for each."""
    first = (session.scalar(select(func.max(SLICES.c.id))) or 0) + 1
    ids = list(range(first, first + len(entries)))
    keys = _series_keys(session, [entry.booked for entry in entries])
    rows = [
        slice_columns(key, entry.slice, entry.pue)
        | price_values(Stage.BOOKED, now, entry.booked, keys.get(entry.booked.series))
        for key, entry in zip(ids, entries, strict=True)
    ]
    session.execute(insert(SLICES), rows)
    waiting = [{"slice_id": key, "ended_at": entry.slice.end} for key, entry in zip(ids, entries, strict=True)]
    for stage in waits_for:
        session.execute(insert(WAITING[stage]), waiting)
    return ids


def _put_prices(session: Session, prices: Mapping[int, Priced], stage: Stage, now: datetime) -> None:
    """Put a price into each of these slices, which have none of that stage."""
    keys = _series_keys(session, prices.values())
    rows = [{"key": key, **price_values(stage, now, each, keys.get(each.series))} for key, each in prices.items()]
    session.connection().execute(update(SLICES).where(SLICES.c.id == bindparam("key")), rows)


def _series_keys(session: Session, prices: Iterable[Priced]) -> dict[SeriesId | None, int]:
    series = {price.series for price in prices if price.series is not None}
    return {each: series_key(session, each) for each in series}


def _upsert_marks(session: Session, marks: Sequence[Mark]) -> None:
    columns = [column.name for column in MARKS.columns]
    statement = upsert(MARKS)
    changed = {name: statement.excluded[name] for name in columns if name != "device"}
    moved = statement.on_conflict_do_update(index_elements=[MARKS.c.device], set_=changed)
    if marks:
        session.execute(moved, [{name: getattr(mark, name) for name in columns} for mark in marks])


def _entries(session: Session, slice_ids: Sequence[int]) -> list[Entry]:
    """Return the entries of these slices in time order, with their job and project."""
    series = series_ids(session)
    return [
        Entry(
            slice=slice_of(row),
            pue=row.pue,
            booked=price_of(row, Stage.BOOKED, series) or UNPRICED,
            settled=price_of(row, Stage.SETTLED, series),
            id=row.id,
            job_id=row.job_id,
            project=row.project,
        )
        for row in session.execute(_ENTRIES, listed(slice_ids)).all()
    ]

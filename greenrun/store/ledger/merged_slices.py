"""Keeps the books small: slices that nothing can change any more are merged, a few in each short transaction."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, exists, func, insert, literal_column, select, update
from sqlalchemy.orm import Session

from greenrun.core.carbon.intensity import SeriesId
from greenrun.core.energy.ledger import Stage
from greenrun.core.energy.merging import AGED_AFTER, WITHIN_QUARTERS, SettledSlice, groups, merged
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.grid import series_ids
from greenrun.store.ledger.slice_prices import PRICES, price_of, price_values
from greenrun.store.tables import BASELINES, RUNS, SLICES, UNSETTLED, UNSETTLED_MARGINAL

PASSED_OVER = 100  # runs that may be found not to be ready in one transaction
UNMERGED: ColumnElement[bool] = literal_column("slices.merged = 0")  # a parameter would keep SQLite from its index
WAITING = {Stage.SETTLED: UNSETTLED, Stage.MARGINAL: UNSETTLED_MARGINAL}  # the slices that wait for such a price
_NO_PRICES = {name: None for columns in PRICES.values() for name in columns.names}  # rows of one statement are alike
EARLIEST = datetime.min.replace(tzinfo=UTC)

_Place = tuple[int | None, datetime]  # the run (None: nobody's slices) and the start that comes next


class SliceMerger:
    """Goes round through what is not merged yet: first what nobody held, then run by run.

    Where it is, it knows only by heart. Which slices are merged is in the books, so after a crash a new round begins.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._next: _Place = (None, EARLIEST)

    def merge(self, before: datetime, limit: int, step: timedelta) -> bool:
        """Merge, among some `limit` slices, those that began in whole steps before this; return whether to go on.

        False once a round is over; what could not be merged by then is looked at again in the next one.
        """
        end, aged_end = (_step_end(at, step) - step for at in (before, before - AGED_AFTER))
        with self._database.read() as session:
            if session.scalar(select(SLICES.c.id).where(UNMERGED).limit(1)) is None:
                return False
        seen = passed_over = 0
        with self._database.write() as session:
            place: _Place | None = self._next
            while place is not None and seen < limit and passed_over < PASSED_OVER:
                run_id, after = place
                is_ready = run_id is None or _is_ready(session, run_id, end)
                rows = _window(session, run_id, after, end if is_ready else aged_end, limit, step)
                seen += len(rows)
                passed_over += not rows
                _merge(session, rows, step, aged_end, is_ready=is_ready)
                place = (run_id, _step_end(rows[-1].started_at, step)) if rows else _next_run(session, run_id)
        self._next = place or (None, EARLIEST)
        return place is not None


def _next_run(session: Session, run_id: int | None) -> _Place | None:
    after = SLICES.c.run_id > run_id if run_id is not None else SLICES.c.run_id.is_not(None)
    found = session.scalar(select(func.min(SLICES.c.run_id)).where(UNMERGED, after))
    return None if found is None else (found, EARLIEST)


def _is_ready(session: Session, run_id: int, end: datetime) -> bool:
    """Whether a run has ended and has been compared with its baseline: until then its minutes are needed."""
    compared = select(BASELINES.c.run_id).join(RUNS, RUNS.c.id == BASELINES.c.run_id)
    query = compared.where(BASELINES.c.run_id == run_id, BASELINES.c.at.is_not(None), RUNS.c.ended_at < end)
    return session.scalar(query) is not None


def _window(
    session: Session, run_id: int | None, after: datetime, end: datetime, limit: int, step: timedelta
) -> Sequence[Row[Any]]:
    """Return slices in the order of time, of whole steps: up to `limit`, but one step at least."""
    waits = (exists().where(table.c.slice_id == SLICES.c.id).label(stage) for stage, table in WAITING.items())
    mine = SLICES.c.run_id == run_id if run_id is not None else SLICES.c.run_id.is_(None)
    query = select(SLICES, *waits).where(UNMERGED, mine).order_by(SLICES.c.started_at, SLICES.c.id)
    rows = session.execute(query.where(SLICES.c.started_at >= after, SLICES.c.started_at < end).limit(limit + 1)).all()
    if len(rows) <= limit:
        return rows
    first, last = _step_end(rows[0].started_at, step), _step_end(rows[-1].started_at, step)
    if first == last:
        return session.execute(query.where(SLICES.c.started_at >= after, SLICES.c.started_at < first)).all()
    return [row for row in rows if _step_end(row.started_at, step) < last]


def _step_end(instant: datetime, step: timedelta) -> datetime:
    step_s = step.total_seconds()
    return datetime.fromtimestamp((instant.timestamp() // step_s + 1) * step_s, UTC)


def _merge(session: Session, rows: Sequence[Row[Any]], step: timedelta, aged_end: datetime, *, is_ready: bool) -> None:
    """Merge those of these slices whose whole step is priced for good, and by quarters of an hour those that are old.

    Of a run that is not `is_ready`, none is priced for good. What waits for a price goes on waiting for it.
    """
    still_open = {_step_end(row.started_at, step) for row in rows if not is_ready or _waits(row)}
    closed = [row for row in rows if _step_end(row.started_at, step) not in still_open]
    _merge_alike(session, closed, step)
    aged: dict[tuple[Stage, ...], list[Row[Any]]] = {}
    for row in rows:
        if row.started_at < aged_end and _step_end(row.started_at, step) in still_open:
            aged.setdefault(_waits(row), []).append(row)
    for waits, alike in aged.items():
        _merge_alike(session, alike, min(step, WITHIN_QUARTERS), waits)


def _waits(row: Row[Any]) -> tuple[Stage, ...]:
    """Return the prices that a slice waits for."""
    return tuple(stage for stage in WAITING if getattr(row, stage))


def _merge_alike(session: Session, rows: Sequence[Row[Any]], step: timedelta, waits: Sequence[Stage] = ()) -> None:
    """Merge slices that wait for the same prices."""
    series = series_ids(session)
    found = groups([_settled(row, series) for row in rows], step)
    several = [group for group in found if len(group) > 1]
    parts = [part.id for group in several for part in group]
    for stage in waits:
        session.execute(delete(WAITING[stage]).where(among(WAITING[stage].c.slice_id, parts)))
    session.execute(delete(SLICES).where(among(SLICES.c.id, parts)))
    rows_by_id = {row.id: row for row in rows}
    _add(session, [(merged(group), rows_by_id[group[-1].id]) for group in several], series, waits)
    alone = [group[0].id for group in found if len(group) == 1]
    session.execute(update(SLICES).where(among(SLICES.c.id, alone)).values(merged=True))


def _settled(row: Row[Any], series: Mapping[int, SeriesId]) -> SettledSlice:
    prices = {stage: price for stage in Stage if (price := price_of(row, stage, series))}
    return SettledSlice(id=row.id, slice=slice_of(row), pue=row.pue, prices=prices, peak_w=row.peak_w)


def _add(
    session: Session,
    made: Sequence[tuple[SettledSlice, Row[Any]]],
    series: Mapping[int, SeriesId],
    waits: Sequence[Stage],
) -> None:
    """Add what slices have become, each with its last part, by which it was priced last.

    Their ids are new: left in their places, few would fill pages that once held many.
    """
    first = (session.scalar(select(func.max(SLICES.c.id))) or 0) + 1
    keys: dict[SeriesId | None, int] = {each: key for key, each in series.items()}
    rows = []
    for key, (each, last) in enumerate(made, start=first):
        row = {"merged": True, "peak_w": each.peak_w, **slice_columns(key, each.slice, each.pue), **_NO_PRICES}
        for stage, price in each.prices.items():
            row |= price_values(stage, getattr(last, PRICES[stage].names[0]), price, keys.get(price.series))
        rows.append(row)
    if rows:
        session.connection().execute(insert(SLICES), rows)
        for stage in waits:
            waiting = [{"slice_id": row["id"], "ended_at": row["ended_at"]} for row in rows]
            session.connection().execute(insert(WAITING[stage]), waiting)


def slice_columns(key: int, piece: Slice, pue: float) -> dict[str, Any]:
    """Return a slice as a row of its table."""
    return {
        "id": key,
        "device": piece.device,
        "component": piece.component,
        "run_id": piece.run_id,
        "started_at": piece.start,
        "ended_at": piece.end,
        "energy_j": piece.energy_j,
        "quality": piece.quality,
        "pue": pue,
        "share": piece.share,
        "busy_s": piece.busy_s,
        "split_j": piece.split_j,
    }


def slice_of(row: Row[Any]) -> Slice:
    """Return a slice as its row has it."""
    return Slice(
        device=row.device,
        component=Component(row.component),
        run_id=row.run_id,
        start=row.started_at,
        end=row.ended_at,
        energy_j=row.energy_j,
        quality=Quality(row.quality),
        share=row.share,
        busy_s=row.busy_s,
        split_j=row.split_j,
    )

"""What the providers said: forecasts as issued, and measured intensities with their revisions."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from operator import gt
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Integer, Row, Select, bindparam, cast, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from greenrun.core.carbon.calibration import ISSUE_EVERY
from greenrun.core.carbon.intensity import (
    Accounting,
    Basis,
    FallbackLevel,
    Floats,
    Forecast,
    Kind,
    Series,
    SeriesId,
    Signal,
    Slot,
)
from greenrun.store.columns import among, days
from greenrun.store.database import Database
from greenrun.store.tables import ANCHORS, FORECASTS, INTENSITIES, SERIES

THIN_AFTER = timedelta(days=21)  # what is younger is kept whole: it says how forecasts changed
THINNED_TO = ISSUE_EVERY  # how far apart the issues are from which plans and verification learn
THINNED_AT_ONCE = 200
LATE = timedelta(days=3)  # how much later than others a source may report what it measured and still be preferred

# Made once, since they are asked at every tick: to make a statement takes as long as to carry it out.
_SERIES = select(SERIES)
_NAMING = ("provider", "zone", "signal", "accounting", "basis")  # the columns that tell series apart
_FIND_SERIES = select(SERIES.c.id).where(*(SERIES.c[name] == bindparam(name) for name in _NAMING))
_ADD_SERIES = insert(SERIES)
_REVISIONS = (
    select(INTENSITIES)
    .where(
        INTENSITIES.c.series_id == bindparam("series"),
        INTENSITIES.c.ended_at > bindparam("start"),
        INTENSITIES.c.started_at < bindparam("end"),
    )
    .order_by(INTENSITIES.c.started_at, INTENSITIES.c.fetched_at, INTENSITIES.c.id)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a series reaches, and when its source last said so; None where nothing of that sort is known."""

    id: SeriesId
    forecast_at: datetime | None = None
    forecast_issued_at: datetime | None = None
    forecast_end: datetime | None = None
    measured_from: datetime | None = None
    measured_until: datetime | None = None
    measured_at: datetime | None = None


class GridRepository:
    """Keeps forecasts and measured intensities, for the engine and for what asks sources beside it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save_forecast(self, forecast: Forecast) -> bool:
        """Keep a forecast as issued; False when it says just what the last one of its series said.

        A forecast that only repeats the last one still moves the instant at which that was known to hold.
        """
        slots = _slots_text(forecast.series)
        digest = sha256(slots.encode()).hexdigest()
        with self._database.write() as session:
            series = series_key(session, forecast.series.id)
            last = _last_forecast(session, series)
            if last is not None and (last.digest, last.issued_at) == (digest, forecast.issued_at):
                confirmed = {"confirmed_at": forecast.fetched_at, "rung": forecast.fallback_level}
                session.execute(update(FORECASTS).where(FORECASTS.c.id == last.id).values(**confirmed))
                return False
            session.execute(
                insert(FORECASTS).values(
                    series_id=series,
                    issued_at=forecast.issued_at,
                    fetched_at=forecast.fetched_at,
                    confirmed_at=forecast.fetched_at,
                    rung=forecast.fallback_level,
                    digest=digest,
                    slots=slots,
                )
            )
        return True

    def save_issued(self, issues: Sequence[Forecast]) -> int:
        """Keep forecasts of the past as they were issued then; return how many were new.

        Each counts as fetched when it was issued, so that none can be taken for the latest one that was fetched since.
        """
        with self._database.write() as session:
            return sum(_keep_issued(session, issue) for issue in issues)

    def forecasts(self, zone: str, since: datetime) -> Sequence[Forecast]:
        """Return the forecasts fetched at or after `since`, and the last one before it, oldest first."""
        fetched_at = FORECASTS.c.confirmed_at
        with self._database.read() as session:
            later = _forecasts(session, _of_zone(zone).where(fetched_at >= since))
            before = _forecasts(session, _of_zone(zone).where(fetched_at < since).limit(1))
        return [*later, *before][::-1]

    def issues(self, zone: str, since: datetime, every: timedelta) -> Sequence[Forecast]:
        """Return the forecasts of a zone as they were first fetched, the first of each series in every `every`."""
        bucket = _bucket(every)
        first = (
            select(func.min(FORECASTS.c.id))
            .join(SERIES)
            .where(SERIES.c.zone == zone, FORECASTS.c.fetched_at >= since)
            .group_by(FORECASTS.c.series_id, bucket)
        )
        query = select(FORECASTS).where(FORECASTS.c.id.in_(first)).order_by(FORECASTS.c.fetched_at, FORECASTS.c.id)
        with self._database.read() as session:
            series = series_ids(session)
            rows = session.execute(query).all()
        return [_forecast_of(row, series[row.series_id], fetched_at=row.fetched_at) for row in rows]

    def measured(self, zone: str, start: datetime, end: datetime, *, without: Collection[str] = ()) -> Series | None:
        """Return what `intensities` does, of one series of the zone; None when it has none.

        It is the one that covers most of that time, of those which reach to within a day of the one that reaches
        furthest: a source that steps in for another for some hours does not displace all that was learned from that.
        Sources in `without` are passed over, and so is what is marginal while averages reach to within LATE of it.
        """
        reach = select(func.max(INTENSITIES.c.ended_at)).where(INTENSITIES.c.series_id == SERIES.c.id).scalar_subquery()
        named = (SERIES.c.id, SERIES.c.signal, reach.label("until"))
        query = select(*named).where(SERIES.c.zone == zone, reach.is_not(None))
        query = query.where(SERIES.c.provider.not_in(without))
        with self._database.read() as session:
            rows = session.execute(query.order_by(reach.desc(), SERIES.c.id)).all()
            known = series_ids(session)
        averages = [row for row in rows if row.signal == Signal.AVERAGE and row.until > rows[0].until - LATE]
        rows = averages or rows
        lately = [known[row.id] for row in rows if row.until > rows[0].until - timedelta(days=1)]
        told = [self.intensities(series_id, start, end) for series_id in lately]
        return max(told, key=lambda series: float((series.ends_s - series.starts_s).sum()), default=None)

    def save_intensities(self, series: Series, *, fetched_at: datetime) -> int:
        """Keep measured values; a changed value becomes a new revision. Return how many rows were new.

        A value that was fetched again is confirmed: it is still what the source says.
        """
        if series.start is None or series.end is None:
            return 0
        with self._database.write() as session:
            key = series_key(session, series.id)
            known = {_slot_of(row): row.id for row in _latest_revisions(session, key, series.start, series.end)}
            new = [slot for slot in series if slot not in known]
            _confirm(session, [known[slot] for slot in series if slot in known], fetched_at)
            if new:
                session.execute(insert(INTENSITIES), [_intensity_columns(key, slot, fetched_at) for slot in new])
        return len(new)

    def intensities(
        self, series_id: SeriesId, start: datetime, end: datetime, *, final_after: timedelta | None = None
    ) -> Series:
        """Return the latest revision of the measured slots that touch `[start, end)`.

        With `final_after` only those that the source still said, or had come to say, that long past their end.
        """
        with self._database.read() as session:
            key = next((key for key, known in series_ids(session).items() if known == series_id), None)
            if key is not None and final_after is None and (found := _unrevised(session, key, series_id, start, end)):
                return found
            rows = [] if key is None else _latest_revisions(session, key, start, end)
        final = [row for row in rows if final_after is None or row.confirmed_at >= row.ended_at + final_after]
        return Series.of(series_id, [_slot_of(row) for row in final])

    def reaches(self) -> list[Reach]:
        """Return how far every known series reaches, in the order in which they became known."""
        with self._database.read() as session:
            return [_reach(session, key, series) for key, series in sorted(series_ids(session).items())]

    def anchor(self, key: str, now: datetime) -> datetime:
        """Return the instant first given for `key` (a replay's beginning), so that a restart does not rewind it."""
        with self._database.write() as session:
            session.execute(upsert(ANCHORS).values(key=key, at=now).on_conflict_do_nothing())
            anchored: datetime = session.execute(select(ANCHORS.c.at).where(ANCHORS.c.key == key)).scalar_one()
        return anchored

    def thin_forecasts(self, before: datetime) -> int:
        """Of the forecasts last seen before this, keep the first fetched in every THINNED_TO; return how many went.

        These are the ones that are learned from (`issues`). It takes a few at a time, so that nobody waits for it long.
        """
        return sum(iter(partial(self._thin_some, before), 0))

    def _thin_some(self, before: datetime) -> int:
        bucket = _bucket(THINNED_TO)
        first = select(func.min(FORECASTS.c.id)).group_by(FORECASTS.c.series_id, bucket)
        old = select(FORECASTS.c.id).where(FORECASTS.c.confirmed_at < before, FORECASTS.c.id.not_in(first))
        with self._database.read() as session:
            ids = session.scalars(old.limit(THINNED_AT_ONCE)).all()
        if not ids:
            return 0
        with self._database.write() as session:
            return session.connection().execute(delete(FORECASTS).where(among(FORECASTS.c.id, ids))).rowcount

    def prune(self, *, forecasts: datetime, measured: datetime) -> int:
        """Delete forecasts last seen, and measured slots that ended, before these instants; return how many rows went.

        The ledger stays: its entries carry their own intensity. What is to be settled must be settled first.
        """
        with self._database.write() as session:
            issues = session.connection().execute(delete(FORECASTS).where(FORECASTS.c.confirmed_at < forecasts))
            slots = session.connection().execute(delete(INTENSITIES).where(INTENSITIES.c.ended_at < measured))
            return issues.rowcount + slots.rowcount


def series_key(session: Session, series: SeriesId) -> int:
    """Return the row id of a series, adding it when it is new; the session has the right to write."""
    values = {
        "provider": series.provider,
        "zone": series.zone,
        "signal": series.signal,
        "accounting": series.accounting or "",
        "basis": series.basis or "",
    }
    key: int | None = session.execute(_FIND_SERIES, values).scalar_one_or_none()
    if key is None:
        session.execute(_ADD_SERIES, values)
        key = session.execute(_FIND_SERIES, values).scalar_one()
    return key


def series_ids(session: Session) -> dict[int, SeriesId]:
    """Return every known series by its row id (there are few: one per provider, zone and kind of number)."""
    return {row.id: _series_of(row) for row in session.execute(_SERIES)}


def _series_of(row: Row[Any]) -> SeriesId:
    return SeriesId(
        provider=row.provider,
        zone=row.zone,
        signal=Signal(row.signal),
        accounting=Accounting(row.accounting) if row.accounting else None,
        basis=Basis(row.basis) if row.basis else None,
    )


def _bucket(every: timedelta) -> ColumnElement[int]:
    """Forecasts that were first fetched in the same stretch of time have the same number."""
    return cast(days(FORECASTS.c.fetched_at) * (timedelta(days=1) / every), Integer)


def _of_zone(zone: str) -> Select[Any]:
    newest_first = (FORECASTS.c.confirmed_at.desc(), FORECASTS.c.id.desc())
    return select(FORECASTS).join(SERIES).where(SERIES.c.zone == zone).order_by(*newest_first)


def _forecasts(session: Session, query: Select[Any]) -> list[Forecast]:
    series = series_ids(session)
    return [_forecast_of(row, series[row.series_id]) for row in session.execute(query)]


def _latest_of_series(session: Session, key: int) -> Forecast | None:
    """Return the forecast of a series that was last found to hold."""
    row = _last_forecast(session, key)
    return None if row is None else _forecast_of(row, series_ids(session)[key])


def _last_forecast(session: Session, series: int) -> Row[Any] | None:
    newest_first = (FORECASTS.c.confirmed_at.desc(), FORECASTS.c.id.desc())  # those imported later are older
    query = select(FORECASTS).where(_is_of(series)).order_by(*newest_first).limit(1)
    return session.execute(query).first()


def _is_of(series: int) -> ColumnElement[bool]:
    """The forecasts of a series, to be looked up by time: a series may have tens of thousands of them."""
    return (FORECASTS.c.series_id + 0) == series  # an expression, so that SQLite leaves the index on it alone


def _keep_issued(session: Session, issue: Forecast) -> bool:
    at, slots = issue.known_at, _slots_text(issue.series)
    series, digest = series_key(session, issue.series.id), sha256(slots.encode()).hexdigest()
    same = (_is_of(series), FORECASTS.c.confirmed_at == at, FORECASTS.c.digest == digest)
    if session.execute(select(FORECASTS.c.id).where(*same).limit(1)).first() is not None:
        return False
    told = {"series_id": series, "digest": digest, "rung": issue.fallback_level, "slots": slots}
    session.execute(insert(FORECASTS).values(**told, issued_at=at, fetched_at=at, confirmed_at=at))
    return True


def _slots_text(series: Series) -> str:
    columns = (series.starts_s.tolist(), series.ends_s.tolist(), series.values.tolist(), series.kinds)
    return json.dumps(list(zip(*columns, strict=True)), separators=(",", ":"))


def _forecast_of(row: Row[Any], series_id: SeriesId, fetched_at: datetime | None = None) -> Forecast:
    slots = json.loads(row.slots)
    columns = np.array([slot[:3] for slot in slots], dtype=np.float64).reshape(-1, 3)
    series = Series(series_id, columns[:, 0], columns[:, 1], columns[:, 2], tuple(Kind(slot[3]) for slot in slots))
    fetched_at = fetched_at or row.confirmed_at
    return Forecast(
        series=series, fetched_at=fetched_at, issued_at=row.issued_at, fallback_level=FallbackLevel(row.rung)
    )


def _slot_of(row: Row[Any]) -> Slot:
    return Slot(row.started_at, row.ended_at, row.intensity_g_per_kwh, Kind(row.kind))


def _intensity_columns(key: int, slot: Slot, fetched_at: datetime) -> dict[str, Any]:
    return {
        "series_id": key,
        "started_at": slot.start,
        "ended_at": slot.end,
        "intensity_g_per_kwh": slot.intensity_g_per_kwh,
        "kind": slot.kind,
        "fetched_at": fetched_at,
        "confirmed_at": fetched_at,
    }


def _confirm(session: Session, ids: Sequence[int], fetched_at: datetime) -> None:
    unconfirmed = among(INTENSITIES.c.id, ids) & (INTENSITIES.c.confirmed_at < fetched_at)
    session.execute(update(INTENSITIES).where(unconfirmed).values(confirmed_at=fetched_at))


def _latest_revisions(session: Session, key: int, start: datetime, end: datetime) -> list[Row[Any]]:
    return _newest(session.execute(_REVISIONS, {"series": key, "start": start, "end": end}))


def _unrevised(session: Session, key: int, series: SeriesId, start: datetime, end: datetime) -> Series | None:
    """Return the slots where none was told twice, which is soon seen and read; None where some were."""
    columns = (INTENSITIES.c.started_at, INTENSITIES.c.ended_at, INTENSITIES.c.intensity_g_per_kwh, INTENSITIES.c.kind)
    asked = {"series": key, "start": start, "end": end}
    cursor = session.connection().execute(_REVISIONS.with_only_columns(*columns), asked).cursor
    rows = [] if cursor is None else cursor.fetchall()
    starts, ends, values, kinds = list(zip(*rows, strict=True)) if rows else [()] * 4
    if any(map(gt, ends, starts[1:])):
        return None
    starts_s, ends_s = map(_epoch_seconds, (starts, ends))
    return Series(series, starts_s, ends_s, np.array(values, dtype=np.float64), tuple(map(Kind, kinds)))


def _epoch_seconds(instants: Sequence[str]) -> Floats:
    """Return instants as the database has them; numpy reads them without their Z."""
    read = np.array([text[:-1] for text in instants], dtype="datetime64[us]")
    return np.asarray(read.astype(np.int64) / 1e6)


def _newest(rows: Iterable[Row[Any]]) -> list[Row[Any]]:
    """Where rows (by start) overlap, keep those fetched last: a revision may cut the time differently."""
    kept: list[Row[Any]] = []
    for row in rows:
        while kept and row.started_at < kept[-1].ended_at and _age(row) > _age(kept[-1]):
            kept.pop()
        if not kept or row.started_at >= kept[-1].ended_at:
            kept.append(row)
    return kept


def _age(row: Row[Any]) -> tuple[datetime, int]:
    return row.fetched_at, row.id


def _reach(session: Session, key: int, series: SeriesId) -> Reach:
    forecast = _latest_of_series(session, key)
    first, last = (_edge(session, key, newest=newest) for newest in (False, True))
    return Reach(
        id=series,
        forecast_at=forecast.fetched_at if forecast else None,
        forecast_issued_at=forecast.issued_at if forecast else None,
        forecast_end=forecast.series.end if forecast else None,
        measured_from=first.started_at if first else None,
        measured_until=last.ended_at if last else None,
        measured_at=last.confirmed_at if last else None,
    )


def _edge(session: Session, key: int, *, newest: bool) -> Row[Any] | None:
    ended_at = INTENSITIES.c.ended_at
    query = select(INTENSITIES).where(INTENSITIES.c.series_id == key)
    return session.execute(query.order_by(ended_at.desc() if newest else ended_at).limit(1)).first()

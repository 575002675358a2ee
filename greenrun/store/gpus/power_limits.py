"""The power limits of GPUs that were set for runs, each kept before it is set, so that it can always be undone."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.orm import Session

from greenrun.core.energy.power_limit import LimitEnd, LimitPeriod
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.records import event_columns
from greenrun.store.tables import EVENTS, POWER_LIMITS, RUNS

_FIELDS = [row.name for row in fields(LimitPeriod)]


class PowerLimitRepository:
    """Keeps what power limits were set, for which run, and what they were before."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def in_force(self) -> Sequence[LimitPeriod]:
        """Return the limits that are set, or about to be, by id."""
        with self._database.read() as session:
            rows = session.execute(select(POWER_LIMITS).where(POWER_LIMITS.c.until.is_(None)))
            return sorted(map(_period, rows), key=lambda period: period.id)

    def of_runs(self, run_ids: Sequence[int]) -> Mapping[int, Sequence[LimitPeriod]]:
        """Return the limits that were set for each of these runs, in order; a run that had none is absent."""
        with self._database.read() as session:
            return periods_of(session, run_ids)

    def begin(self, periods: Sequence[LimitPeriod]) -> Sequence[LimitPeriod]:
        """Keep limits that are about to be set, and return them as kept; leave out devices that have one already."""
        with self._database.write() as session:
            devices = [period.device for period in periods]
            taken = select(POWER_LIMITS.c.device).where(among(POWER_LIMITS.c.device, devices), _IS_OPEN)
            known = set(session.scalars(taken))
            new = [period for period in periods if period.device not in known]
            for period in new:
                session.execute(insert(POWER_LIMITS), [_columns(period)])
            query = select(POWER_LIMITS).where(among(POWER_LIMITS.c.device, [row.device for row in new]), _IS_OPEN)
            return [_period(row) for row in session.execute(query.order_by(POWER_LIMITS.c.id))]

    def keep(self, kept_w: Mapping[int, float], *, now: datetime) -> None:
        """Note that these limits, by their ids, were read back, as so many watts, with an event for each."""
        with self._database.write() as session:
            for period in _of_ids(session, kept_w):
                if period.until is None and period.kept_at is None:
                    found = update(POWER_LIMITS).where(POWER_LIMITS.c.id == period.id)
                    session.execute(found.values(set_w=kept_w[period.id], kept_at=now))
                    detail = {
                        "device": period.device,
                        "g_per_kwh": period.intensity_g_per_kwh,
                        "above_g_per_kwh": period.threshold_g_per_kwh,
                    }
                    before, after = {"power_limit_w": period.found_w}, {"power_limit_w": kept_w[period.id]}
                    kind = EventKind.POWER_LIMIT_SET
                    _add_event(session, period, NewEvent(kind=kind, at=now, detail=detail, before=before, after=after))

    def end(
        self, period_id: int, end: LimitEnd, *, now: datetime, limit_w: float | None, work: float | None, why: str = ""
    ) -> bool:
        """Note how a limit ended, at what the device's limit is now, with an event; False if it had ended already."""
        with self._database.write() as session:
            found = [period for period in _of_ids(session, [period_id]) if period.until is None]
            for period in found:
                ended = {"until": max(now, period.since), "end": end.value, "work_after": work}
                session.execute(update(POWER_LIMITS).where(POWER_LIMITS.c.id == period_id).values(ended))
                detail: dict[str, object] = {"device": period.device, "end": end.value}
                detail |= {"why": why} if why else {}
                before, after = {"power_limit_w": period.set_w}, {"power_limit_w": limit_w}
                kind = EventKind.POWER_LIMIT_ENDED
                _add_event(session, period, NewEvent(kind=kind, at=now, detail=detail, before=before, after=after))
        return bool(found)


def periods_of(session: Session, run_ids: Sequence[int]) -> dict[int, Sequence[LimitPeriod]]:
    """Return the limits that were set for each of these runs, in order; a run that had none is absent."""
    found: dict[int, list[LimitPeriod]] = {}
    query = select(POWER_LIMITS).where(among(POWER_LIMITS.c.run_id, run_ids)).order_by(POWER_LIMITS.c.id)
    for period in map(_period, session.execute(query)):
        found.setdefault(period.run_id, []).append(period)
    return {**found}


_IS_OPEN = POWER_LIMITS.c.until.is_(None)


def _of_ids(session: Session, ids: Any) -> Sequence[LimitPeriod]:
    return [_period(row) for row in session.execute(select(POWER_LIMITS).where(among(POWER_LIMITS.c.id, list(ids))))]


def _add_event(session: Session, period: LimitPeriod, event: NewEvent) -> None:
    job_id = session.scalar(select(RUNS.c.job_id).where(RUNS.c.id == period.run_id))
    session.execute(insert(EVENTS), [event_columns(event, job_id, period.run_id)])


def _columns(period: LimitPeriod) -> dict[str, Any]:
    return {name: getattr(period, name) for name in _FIELDS if name != "id"}


def _period(row: Row[Any]) -> LimitPeriod:
    values = {name: getattr(row, name) for name in _FIELDS}
    return LimitPeriod(**{**values, "end": None if row.end is None else LimitEnd(row.end)})

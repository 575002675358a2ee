"""Reservations made by command: GPUs that no job gets over a span of time."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from greenrun.core.formatting import iso_text
from greenrun.core.jobs.job import Origin
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.core.planning.site_limits.reserved import Reservation
from greenrun.store.database import Database
from greenrun.store.tables import RESERVATIONS
from greenrun.store.trail import add_event


class ReservationRepository:
    """Keeps reservations until they are over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reservations(self) -> Sequence[Reservation]:
        """Return those that are kept, in order of start; some may be over."""
        with self._database.read() as session:
            return _find(session)

    def reserve(self, asked: Reservation, *, now: datetime, origin: Origin | None = None) -> Reservation:
        """Keep one, with an event, and return it with its id; those that are over are forgotten."""
        values = {
            "devices": list(asked.devices),
            "start": asked.start,
            "end": asked.end,
            "user": asked.user,
            "for_user": asked.for_user,
            "reason": asked.reason,
        }
        with self._database.write() as session:
            session.execute(delete(RESERVATIONS).where(RESERVATIONS.c.end <= now))
            number = session.execute(insert(RESERVATIONS).returning(RESERVATIONS.c.id), values).scalar_one()
            kept = replace(asked, id=number)
            detail = _detail(kept)
            event = NewEvent(kind=EventKind.RESERVED, at=now, actor=asked.user, detail=detail, origin=origin)
            add_event(session, replace(event, before=None, after=_facts(kept)))
        return kept

    def end_reservation(
        self, number: int, *, user: str, now: datetime, origin: Origin | None = None
    ) -> Reservation | None:
        """Forget one that is not over, with an event, and return it; None if there is no such."""
        with self._database.write() as session:
            found = next((row for row in _find(session) if row.id == number and row.end > now), None)
            if found is not None:
                session.execute(delete(RESERVATIONS).where(RESERVATIONS.c.id == number))
                event = NewEvent(
                    kind=EventKind.RESERVATION_ENDED, at=now, actor=user, detail=_detail(found), origin=origin
                )
                add_event(session, replace(event, before=_facts(found), after=None))
        return found


def _find(session: Session) -> Sequence[Reservation]:
    rows = session.execute(select(RESERVATIONS).order_by(RESERVATIONS.c.start, RESERVATIONS.c.id))
    return [
        Reservation(
            id=row.id,
            devices=tuple(row.devices),
            start=row.start,
            end=row.end,
            user=row.user,
            for_user=row.for_user,
            reason=row.reason,
        )
        for row in rows
    ]


def _detail(row: Reservation) -> dict[str, object]:
    return {"reservation": row.id, **_facts(row)}


def _facts(row: Reservation) -> dict[str, object]:
    """Return what the trail tells of a reservation."""
    return {
        "devices": list(row.devices),
        "start": iso_text(row.start),
        "end": iso_text(row.end),
        "for_user": row.for_user,
        "reason": row.reason,
    }

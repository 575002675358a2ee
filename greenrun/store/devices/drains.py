"""What is drained: GPUs, or the whole machine, on which nothing is to be started until somebody resumes them."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from greenrun.core.energy.gpu_parts import board_of
from greenrun.core.jobs.availability import MACHINE, Drain
from greenrun.core.jobs.job import Origin
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.tables import DRAINS, EVENTS
from greenrun.store.trail import add_event

FOREVER = datetime.max.replace(tzinfo=UTC)


class DrainRepository:
    """Keeps what is drained."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def drains(self) -> Sequence[Drain]:
        """Return what is drained now, by device."""
        with self._database.read() as session:
            return _find(session, ())

    def drain(self, drains: Sequence[Drain], origin: Origin | None = None) -> None:
        """Keep these, each in place of what was said of the same device before, with an event for each."""
        rows = [{"device": row.device, "user": row.user, "since": row.since, "reason": row.reason} for row in drains]
        statement = upsert(DRAINS)
        own = {name: statement.excluded[name] for name in ("user", "since", "reason")}
        with self._database.write() as session:
            was = {row.device: row for row in _find(session, [row.device for row in drains])}
            session.execute(statement.on_conflict_do_update(index_elements=[DRAINS.c.device], set_=own), rows)
            for row in drains:
                detail = {"device": row.device or None, "reason": row.reason}
                event = NewEvent(kind=EventKind.DRAINED, at=row.since, actor=row.user, detail=detail, origin=origin)
                add_event(session, replace(event, before=_facts(was.get(row.device)), after=_facts(row)))

    def resume(
        self, devices: Collection[str], *, user: str, now: datetime, origin: Origin | None = None
    ) -> Sequence[Drain]:
        """Forget the drains of these devices (of all, without any), with an event for each; return them."""
        with self._database.write() as session:
            found = _find(session, devices)
            if found:
                session.execute(delete(DRAINS).where(among(DRAINS.c.device, [row.device for row in found])))
            for row in found:
                detail = {"device": row.device or None, "reason": row.reason}
                event = NewEvent(kind=EventKind.RESUMED, at=now, actor=user, detail=detail, origin=origin)
                add_event(session, replace(event, before=_facts(row), after=_facts(None)))
        return found


def _find(session: Session, devices: Collection[str]) -> Sequence[Drain]:
    query = select(DRAINS).order_by(DRAINS.c.device)
    rows = session.execute(query.where(among(DRAINS.c.device, devices)) if devices else query)
    return [Drain(device=row.device, user=row.user, since=row.since, reason=row.reason) for row in rows]


def drained_intervals(session: Session, devices: Collection[str]) -> list[tuple[datetime, datetime]]:
    """Return from when to when one of these devices, or the whole machine, was drained; the last may be without end.

    What is drained on a board is drained on its parts.

    The trail tells of the past as far back as events are kept, and the table of what is drained still.
    """
    concerned = {MACHINE, *devices, *map(board_of, devices)}
    changes = select(EVENTS.c.at, EVENTS.c.kind, EVENTS.c.detail).where(
        EVENTS.c.job_id.is_(None), EVENTS.c.kind.in_([EventKind.DRAINED, EventKind.RESUMED])
    )
    since: dict[str, datetime] = {}
    found: list[tuple[datetime, datetime]] = []
    for at, kind, detail in session.execute(changes.order_by(EVENTS.c.id)):
        device = detail["device"] or MACHINE
        if kind == EventKind.DRAINED:
            since.setdefault(device, at)
        elif device in since and device in concerned:
            found.append((since.pop(device), at))
        else:
            since.pop(device, None)
    still = _find(session, concerned)
    return [*found, *((min(row.since, since.get(row.device, row.since)), FOREVER) for row in still)]


def _facts(drain: Drain | None) -> dict[str, object]:
    """Return what the trail tells of a device: whether it is drained, by whom and why."""
    return {"drained": False} if drain is None else {"drained": True, "by": drain.user, "reason": drain.reason}

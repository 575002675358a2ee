"""What is drained: GPUs, or the whole machine, on which nothing is to be started until somebody resumes them."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from greenrun.core.jobs.availability import Drain
from greenrun.core.jobs.transitions import EventKind
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.tables import DRAINS, EVENTS


class DrainRepository:
    """Keeps what is drained."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def drains(self) -> Sequence[Drain]:
        """Return what is drained now, by device."""
        with self._database.read() as session:
            return _find(session, ())

    def drain(self, drains: Sequence[Drain]) -> None:
        """Keep these, each in place of what was said of the same device before, with an event for each."""
        rows = [{"device": row.device, "user": row.user, "since": row.since, "reason": row.reason} for row in drains]
        statement = upsert(DRAINS)
        own = {name: statement.excluded[name] for name in ("user", "since", "reason")}
        with self._database.write() as session:
            session.execute(statement.on_conflict_do_update(index_elements=[DRAINS.c.device], set_=own), rows)
            session.execute(insert(EVENTS), [_event(EventKind.DRAINED, row, row.user, row.since) for row in drains])

    def resume(self, devices: Collection[str], *, user: str, now: datetime) -> Sequence[Drain]:
        """Forget the drains of these devices (of all, without any), with an event for each; return them."""
        with self._database.write() as session:
            found = _find(session, devices)
            if found:
                session.execute(delete(DRAINS).where(among(DRAINS.c.device, [row.device for row in found])))
                session.execute(insert(EVENTS), [_event(EventKind.RESUMED, row, user, now) for row in found])
        return found


def _find(session: Session, devices: Collection[str]) -> Sequence[Drain]:
    query = select(DRAINS).order_by(DRAINS.c.device)
    rows = session.execute(query.where(among(DRAINS.c.device, devices)) if devices else query)
    return [Drain(device=row.device, user=row.user, since=row.since, reason=row.reason) for row in rows]


def _event(kind: EventKind, drain: Drain, actor: str, at: datetime) -> dict[str, object]:
    detail = {"device": drain.device or None, "reason": drain.reason}
    return {"at": at, "actor": actor, "kind": kind, "job_id": None, "run_id": None, "detail": detail}

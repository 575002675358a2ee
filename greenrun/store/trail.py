"""The audit trail: how long events are kept, and those that tell of settings and devices."""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from greenrun.core.jobs.trail import EventKind, NewEvent, told
from greenrun.store.columns import among, to_text
from greenrun.store.database import Database
from greenrun.store.records import event_columns
from greenrun.store.tables import EVENTS, KNOWN_VALUES, NOTIFICATIONS

SECRET = "secret"  # the only key of a known value that stands for a secret one, and is not shown
MOST_DELETED = 20_000  # at once, so that nobody has to wait for long


class TrailRepository:
    """Deletes events that are old enough, and keeps what the daemon last found of its settings and devices."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def prune(self, before: datetime, *, now: datetime) -> int:
        """Delete events from before the day of `before`, some at once, and add an event of that; return how many.

        By days, so that there is not an event about deleted ones in each hour. What a hook has yet to be told of stays.
        """
        before = before.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        is_old = EVENTS.c.at < before, EVENTS.c.id.not_in(select(NOTIFICATIONS.c.event_id))
        with self._database.write() as session:
            oldest = select(EVENTS.c.id).where(*is_old).order_by(EVENTS.c.id).limit(MOST_DELETED).subquery()
            last, count = session.execute(select(func.max(oldest.c.id), func.count()).select_from(oldest)).one()
            if not count:
                return 0
            detail = {"before": to_text(before), "deleted": count}
            add_event(session, NewEvent(kind=EventKind.EVENTS_DELETED, at=now, detail=detail))
            session.execute(delete(EVENTS).where(EVENTS.c.id <= last, *is_old))
        return int(count)

    def keep_known(
        self, subject: str, values: Mapping[str, str], kind: EventKind, *, now: datetime, detail: Mapping[str, object]
    ) -> bool:
        """Keep what was found of a subject, and add an event of what has changed since the last time; say whether any.

        The first time there is nothing to compare with.
        """
        with self._database.write() as session:
            own = KNOWN_VALUES.c.subject == subject
            known = {row.name: row.value for row in session.execute(select(KNOWN_VALUES).where(own))}
            changed = sorted(name for name in {*known, *values} if known.get(name) != values.get(name))
            if not changed:
                return False
            rows = [{"subject": subject, "name": name, "value": values[name]} for name in changed if name in values]
            gone = [name for name in changed if name not in values]
            session.execute(delete(KNOWN_VALUES).where(own, among(KNOWN_VALUES.c.name, gone)))
            if rows:
                statement = upsert(KNOWN_VALUES)
                keys = [KNOWN_VALUES.c.subject, KNOWN_VALUES.c.name]
                session.execute(
                    statement.on_conflict_do_update(index_elements=keys, set_={"value": statement.excluded.value}), rows
                )
            if known:
                before, after = _read(known, changed), _read(values, changed)
                event = NewEvent(kind=kind, at=now, detail=detail, before=before, after=after)
                add_event(session, event)
        return bool(known)


def add_event(session: Session, event: NewEvent) -> None:
    """Add an event that is about no job, in a transaction that changes what it tells of."""
    session.execute(insert(EVENTS), [event_columns(event)])


def _read(values: Mapping[str, str], names: Collection[str]) -> dict[str, object]:
    found = {name: json.loads(values[name]) for name in names if name in values}
    return {
        name: "changed" if isinstance(value, dict) and SECRET in value else told(value) for name, value in found.items()
    }

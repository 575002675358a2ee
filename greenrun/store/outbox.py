"""What hooks have yet to be told of: kept until they were told, so that a daemon that dies has forgotten nothing."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.orm import Session

from greenrun.core.histogram import counter_key
from greenrun.core.jobs.job import Event, Job
from greenrun.core.jobs.notices import TOLD_KINDS
from greenrun.core.jobs.trail import NewEvent
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.ledger.counters import NOTIFICATIONS_TOTAL, count
from greenrun.store.records import event_of, job_of
from greenrun.store.tables import EVENTS, HOOKS, JOBS, KNOWN_VALUES, NOTIFICATIONS, EventRecord, JobRecord
from greenrun.store.trail import add_event

AT_ONCE = 500  # events that are looked through in one transaction
FAR_BEHIND = 200  # events that were looked through in vain before that is noted

Wanted = Callable[[Event, Job | None], bool]


class WaitingNotification(NamedTuple):
    """An event that a hook has yet to be told of, and its job as it is now."""

    id: int
    event: Event
    job: Job | None
    since: datetime
    tries: int


class OutboxRepository:
    """Keeps what hooks have yet to be told of."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, hooks: Collection[str]) -> str:
        """Take these to be the hooks: a new one is told of what happens from now on, one that is gone of nothing more.

        Return what tells the events of this database from those of any other.
        """
        with self._database.write() as session:
            session.execute(delete(HOOKS).where(~among(HOOKS.c.name, hooks)))
            session.execute(delete(NOTIFICATIONS).where(~among(NOTIFICATIONS.c.hook, hooks)))
            last = session.scalar(select(func.max(EVENTS.c.id))) or 0
            if hooks:
                rows = [{"name": name, "event_id": last} for name in hooks]
                session.execute(upsert(HOOKS).on_conflict_do_nothing(), rows)
            own = select(KNOWN_VALUES.c.value).where(KNOWN_VALUES.c.subject == "outbox", KNOWN_VALUES.c.name == "id")
            known = session.scalar(own)
            if known is None:
                known = uuid4().hex
                session.execute(insert(KNOWN_VALUES), [{"subject": "outbox", "name": "id", "value": known}])
        return str(known)

    def collect(self, hook: str, wanted: Wanted, *, now: datetime, most: int) -> int:
        """Look through new events for what a hook is told of; return how many of the oldest were dropped for others.

        No more than `most` wait for a hook.
        """
        with self._database.read() as session:
            position = session.scalar(select(HOOKS.c.event_id).where(HOOKS.c.name == hook)) or 0
            last = session.scalar(select(func.max(EVENTS.c.id))) or 0
            new = _events(session, position)
        upto = new[-1][0].id if len(new) == AT_ONCE else last
        found = [event.id for event, job in new if wanted(event, job)]
        if not found and upto - position < FAR_BEHIND:
            return 0
        with self._database.write() as session:
            moved = update(HOOKS).where(HOOKS.c.name == hook, HOOKS.c.event_id == position)
            if session.connection().execute(moved.values(event_id=upto)).rowcount != 1:
                return 0
            rows = [{"hook": hook, "event_id": key, "since": now, "tries": 0, "next_at": now} for key in found]
            if rows:
                session.execute(insert(NOTIFICATIONS), rows)
            own = NOTIFICATIONS.c.hook == hook
            waiting = session.scalar(select(func.count()).select_from(NOTIFICATIONS).where(own)) or 0
            if waiting <= most:
                return 0
            oldest = select(NOTIFICATIONS.c.id).where(own).order_by(NOTIFICATIONS.c.id).limit(waiting - most)
            session.execute(delete(NOTIFICATIONS).where(NOTIFICATIONS.c.id.in_(oldest)))
            count(session, {counter_key(NOTIFICATIONS_TOTAL, hook=hook, result="dropped"): waiting - most})
            return waiting - most

    def due(self, hook: str, now: datetime, limit: int = 20) -> Sequence[WaitingNotification]:
        """Return what a hook is to be told of now, the oldest first."""
        query = (
            select(NOTIFICATIONS, EventRecord)
            .join(EventRecord, EVENTS.c.id == NOTIFICATIONS.c.event_id)
            .where(NOTIFICATIONS.c.hook == hook, NOTIFICATIONS.c.next_at <= now)
            .order_by(NOTIFICATIONS.c.id)
            .limit(limit)
        )
        with self._database.read() as session:
            rows = session.execute(query).all()
            jobs = _jobs(session, [row.EventRecord.job_id for row in rows])
            return [
                WaitingNotification(
                    row.id, event_of(row.EventRecord), jobs.get(row.EventRecord.job_id or 0), row.since, row.tries
                )
                for row in rows
            ]

    def next_at(self, hook: str) -> datetime | None:
        """Return when a hook is to be told of something next; None while nothing waits."""
        own = NOTIFICATIONS.c.hook == hook
        with self._database.read() as session:
            query = select(NOTIFICATIONS.c.next_at).where(own).order_by(NOTIFICATIONS.c.next_at).limit(1)
            found: datetime | None = session.scalar(query)
        return found

    def waiting(self) -> dict[str, int]:
        """Return how much each hook has yet to be told of; one without any is absent."""
        query = select(NOTIFICATIONS.c.hook, func.count()).group_by(NOTIFICATIONS.c.hook)
        with self._database.read() as session:
            return {row[0]: row[1] for row in session.execute(query)}

    def told(self, hook: str, key: int) -> None:
        """Note that a hook was told."""
        self._end(hook, key, "delivered")

    def retry(self, key: int, at: datetime) -> None:
        """Note that a hook could not be told, and is to be at that instant."""
        changed = {"tries": NOTIFICATIONS.c.tries + 1, "next_at": at}
        with self._database.write() as session:
            session.execute(update(NOTIFICATIONS).where(NOTIFICATIONS.c.id == key).values(changed))

    def give_up(self, hook: str, key: int, event: NewEvent) -> None:
        """Note that a hook is not told of something any more, with an event of that."""
        self._end(hook, key, "given_up", event)

    def _end(self, hook: str, key: int, result: str, event: NewEvent | None = None) -> None:
        with self._database.write() as session:
            session.execute(delete(NOTIFICATIONS).where(NOTIFICATIONS.c.id == key))
            count(session, {counter_key(NOTIFICATIONS_TOTAL, hook=hook, result=result): 1})
            if event is not None:
                add_event(session, event)


def _events(session: Session, position: int) -> list[tuple[Event, Job | None]]:
    """Return the first events behind a position that anybody can be told of, each with its job as it is now."""
    query = select(EventRecord).where(EVENTS.c.id > position, EVENTS.c.kind.in_(sorted(TOLD_KINDS)))
    records = session.scalars(query.order_by(EVENTS.c.id).limit(AT_ONCE)).all()
    jobs = _jobs(session, [record.job_id for record in records])
    return [(event_of(record), jobs.get(record.job_id or 0)) for record in records]


def _jobs(session: Session, job_ids: Collection[int | None]) -> dict[int, Job]:
    known = {job_id for job_id in job_ids if job_id is not None}
    if not known:
        return {}
    records = session.scalars(select(JobRecord).where(among(JOBS.c.id, known)))
    return {record.id: job_of(record) for record in records}

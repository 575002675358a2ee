"""Deliver notifications: a thread for each hook, so that none waits for another, and no tick for any."""

import re
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from uuid import uuid4

import structlog

from greenrun.clock import utc_now
from greenrun.core.errors import StoreError
from greenrun.core.formatting import iso_text
from greenrun.core.jobs.job import Event, Job
from greenrun.core.jobs.notices import is_for
from greenrun.core.jobs.trail import EventKind, NewEvent
from greenrun.notifications.hook import Failure, Hook
from greenrun.notifications.message import Notification, notification
from greenrun.notifications.senders import send
from greenrun.store.outbox import OutboxRepository

MOST_WAITING = 1000  # for one hook; of more the oldest are dropped
MOST_UNSTORED = 100
UNSTORED_TRIES = 5
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(hours=1)  # between two tries, each twice the one before
LOOK_EVERY = timedelta(seconds=1)
STOPS_WITHIN_S = 2.0  # what is on its way then is sent again after the next start

log = structlog.get_logger("greenrun.notifications")

_SAID = re.compile(r"(exit code -?\d+) .*")  # what a command said may hold a secret, and is the log's alone

Send = Callable[[Hook, Notification, Callable[[], bool]], Failure]


class HookDelivery:
    """Tells one hook what it is to be told, from the outbox; what could not be stored goes before it, from memory."""

    def __init__(self, hook: Hook, outbox: OutboxRepository, *, source: str, host: str, send: Send = send) -> None:
        self.hook = hook
        self._outbox, self._source, self._host, self._send = outbox, source, host, send
        self._unstored: deque[tuple[str, Event, int]] = deque(maxlen=MOST_UNSTORED)
        self._failing = ""
        self._to_note: Callable[[], None] | None = None  # what came of the last one, until that is stored
        self.is_abandoned = False  # the store is not to be used any more

    def wants(self, event: Event, job: Job | None) -> bool:
        """Whether this hook is told of an event."""
        return is_for(event, job, self.hook.topics, only_asked=self.hook.only_asked)

    def tell_unstored(self, event: Event) -> None:
        """Have it told of an event about no job that could not be stored."""
        if self.wants(event, None):
            self._unstored.append((uuid4().hex, event, 0))

    def step(self, now: datetime) -> datetime:
        """Tell it what is due; return when to look again; raise StoreError."""
        for _ in range(len(self._unstored)):
            self._tell_from_memory()
        self._note_last()  # else a full disk would have it told again and again
        dropped = self._outbox.collect(self.hook.name, self.wants, now=now, most=MOST_WAITING)
        if dropped:
            log.warning("notifications dropped, too many wait", hook=self.hook.name, dropped=dropped)
        due = self._outbox.due(self.hook.name, now, limit=1)
        if not due:
            later = self._outbox.next_at(self.hook.name)
            return max(now, min(later, now + LOOK_EVERY)) if later else now + LOOK_EVERY
        (row,) = due
        key = f"{self._source}-{row.event.id}"
        told = notification(row.event, row.job, id=key, host=self._host, attempt=row.tries + 1)
        failure = self._send(self.hook, told, lambda: self.is_abandoned)
        if self.is_abandoned:
            return now
        self._note(failure)
        after = utc_now() if failure else now
        if failure is None:
            self._to_note = partial(self._outbox.told, self.hook.name, row.id)
        elif after - row.since >= self.hook.retry_for:
            self._to_note = partial(self._give_up, row.id, row.event, failure, after)
        else:
            self._to_note = partial(self._outbox.retry, row.id, max(now, after) + pause_after(row.tries))
        self._note_last()
        return now

    def _note_last(self) -> None:
        if self._to_note is not None:
            self._to_note()
            self._to_note = None

    def _tell_from_memory(self) -> None:
        key, event, tries = self._unstored.popleft()
        told = notification(event, None, id=key, host=self._host, attempt=tries + 1)
        failure = self._send(self.hook, told, lambda: self.is_abandoned)
        self._note(failure)
        if failure is not None and tries + 1 < UNSTORED_TRIES:
            self._unstored.append((key, event, tries + 1))

    def _give_up(self, key: int, event: Event, failure: str, now: datetime) -> None:
        why = _SAID.sub(r"\1", failure)  # everybody may read events
        detail = {"hook": self.hook.name, "event": event.id, "at": iso_text(event.at), "why": why}
        failed = NewEvent(kind=EventKind.NOTIFICATION_FAILED, at=now, detail=detail)
        self._outbox.give_up(self.hook.name, key, failed)
        log.warning("notification given up", hook=self.hook.name, about=event.id, error=failure)

    def _note(self, failure: Failure) -> None:
        """Log a failure once, and that it is over."""
        if failure and failure != self._failing:
            log.warning("hook failed, will be tried again", hook=self.hook.name, error=failure)
        if not failure and self._failing:
            log.info("hook is told again", hook=self.hook.name)
        self._failing = failure or ""


def pause_after(tries: int) -> timedelta:
    """Return how long to wait after so many tries and one more."""
    doubled: int = 2 ** min(tries, 20)
    return min(LONGEST_PAUSE, FIRST_PAUSE * doubled)


class Deliveries:
    """The threads that tell the hooks."""

    def __init__(self, hooks: Sequence[Hook], outbox: OutboxRepository, host: str) -> None:
        """Take these to be the hooks; raise StoreError."""
        source = outbox.register([hook.name for hook in hooks])
        self._each = [HookDelivery(hook, outbox, source=source, host=host) for hook in hooks]
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=[each], name=f"greenrun-notify {each.hook.name}", daemon=True)
            for each in self._each
        ]

    def start(self) -> None:
        """Begin to tell them."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop soon; what is on its way is sent again after the next start; idempotent, also before the start."""
        self._stopping.set()
        self._join()
        for each in self._each:
            each.is_abandoned = True
        self._join()

    def _join(self) -> None:
        until_s = monotonic() + STOPS_WITHIN_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until_s - monotonic()))

    def tell_unstored(self, event: NewEvent) -> None:
        """Have hooks told of an event about no job that could not be stored."""
        row = Event(
            id=0, at=event.at, actor=event.actor, kind=event.kind, job_id=None, run_id=None, detail=event.detail
        )
        for each in self._each:
            each.tell_unstored(row)

    def _run(self, each: HookDelivery) -> None:
        trouble = ""
        while not self._stopping.is_set():
            now = utc_now()
            later = now + LOOK_EVERY
            try:
                later, trouble = each.step(now), ""
            except StoreError as exc:
                if str(exc) != trouble:
                    log.warning("notifications wait for the store", hook=each.hook.name, error=str(exc))
                trouble = str(exc)
            except Exception as exc:
                log.error("failed, will be tried again", call=f"notify {each.hook.name}", exc_info=exc)
                later = now + LONGEST_PAUSE / 60
            self._stopping.wait(max(0.0, (later - utc_now()).total_seconds()))

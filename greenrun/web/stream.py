"""What changes on an open page, as server-sent events: one stream for each page, which ends with the daemon."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from fastapi.concurrency import run_in_threadpool
from pydantic_core import to_json
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from greenrun.core.errors import StoreError
from greenrun.core.jobs.access import Viewer
from greenrun.web.snapshots import PageSnapshot

MOST_STREAMS = 24  # of the 64 connections that the TCP listener has
MOST_OF_ONE = 16  # of a user, or of all who are not known together: none of them shuts out the others
LOOK_EVERY = 4  # seconds between two looks at what changed
SAY_EVERY = 20  # seconds after which a page is told that all is as it was
LASTS = 60  # seconds; the page then asks again, so that who may see less by now does
_WAIT_S = 1.0  # in which the end of the daemon is noticed


class SnapshotOf(Protocol):
    """What returns the page as a visitor may see it."""

    def __call__(self, visitor: Viewer | None, *, is_followed: bool = False) -> PageSnapshot: ...


class Streams:
    """Counts the streams that are open: there are MOST_STREAMS at most, and MOST_OF_ONE of each user."""

    def __init__(self) -> None:
        self._open: Counter[int | None] = Counter()

    @property
    def open(self) -> int:
        """How many are open."""
        return self._open.total()

    def are_full(self, visitor: Viewer | None) -> bool:
        """Whether no other page of this visitor can be followed now."""
        return self.open >= MOST_STREAMS or self._open[_whose(visitor)] >= MOST_OF_ONE

    def begin(self, visitor: Viewer | None) -> None:
        """Count one more."""
        self._open[_whose(visitor)] += 1

    def end(self, visitor: Viewer | None) -> None:
        """Count one less; of whom none is open nothing is kept."""
        self._open -= Counter({_whose(visitor): 1})

    def answer(
        self,
        snapshot: SnapshotOf,
        visitor: Viewer | None,
        known: str,
        is_ending: Callable[[], bool],
    ) -> StreamingResponse:
        """Return what tells a page of changes until the daemon ends, or LASTS is over; it counts from now on.

        Many pages may ask at once, so nothing is awaited between the look at `are_full` and this.
        """
        events = _events(snapshot, visitor, known, is_ending)
        return _Counted(self, visitor, events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


class _Counted(StreamingResponse):
    """A stream that has its place among those that are open until it has ended, however it ends."""

    def __init__(self, streams: Streams, visitor: Viewer | None, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._streams, self._visitor = streams, visitor
        streams.begin(visitor)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.end(self._visitor)


def _whose(visitor: Viewer | None) -> int | None:
    return visitor.uid if visitor else None


async def _events(
    snapshot: SnapshotOf,
    visitor: Viewer | None,
    known: str,
    is_ending: Callable[[], bool],
) -> AsyncIterator[bytes]:
    yield b"retry: 2000\n\n"
    sent: PageSnapshot | None = None
    for second in range(LASTS):
        if is_ending():
            return
        if second % LOOK_EVERY == 0:
            try:
                latest = await run_in_threadpool(snapshot, visitor, is_followed=True)
            except StoreError as exc:
                yield event("trouble", {"text": str(exc)})
                return
            if latest.version not in (known, sent.version if sent else None):
                yield event("change", latest.since(sent), latest.version)
            known, sent = latest.version, latest
        if second % SAY_EVERY == 0:
            yield b": all is as it was\n\n"
        await _pause()


async def _pause() -> None:
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=_WAIT_S)


def event(kind: str, data: Any, event_id: str = "") -> bytes:
    """Return an event as it is sent; `event_id` is what the page names when it asks again."""
    name = f"id: {event_id}\n" if event_id else ""
    return f"event: {kind}\n{name}data: ".encode() + to_json(data) + b"\n\n"

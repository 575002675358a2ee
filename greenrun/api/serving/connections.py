"""Limit connections, so that callers who connect and send nothing cannot use up the daemon's file descriptors."""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from greenrun.api.problems import MEDIA_TYPE, problem


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 over at most `most` connections, each of which has `head_s` seconds to send a request's head.

    When one more connects, the one whose caller has kept the daemon waiting for longest is dropped, so that new callers
    are still served; if all others are being answered, the new one is dropped. A caller keeps it waiting who is idle,
    has not sent a whole request, or does not read the answer, which may take `read_s`. (Bodies: `BodyLimit`.)
    """

    most: ClassVar[int] = 64
    head_s: ClassVar[float] = 10.0
    read_s: ClassVar[float] = 30.0

    _idle_since_s = 0.0
    _limit: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for the connection, and begin to wait for its request."""
        super().connection_made(transport)
        self._idle_since_s = self.loop.time()
        self._await_head()
        if len(self.connections) > self.most:
            self._drop_one()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the caller to read, not for ever."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.read_s, self._drop)

    def resume_writing(self) -> None:
        """Go on: the caller has read."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Stop waiting when this completes a request's head; a head sent in drops gets no more time than another."""
        super().data_received(data)
        if not self._is_idle():
            self._stop_waiting()
        elif self._limit is None:
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem document."""
        body = problem(400, "bad request", f"{msg} Send a request of HTTP/1.1, with the headers that it needs.").body
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + bytes(body))
        self.transport.close()

    def on_response_complete(self) -> None:
        """Count as idle from now on; the next head is waited for from its first byte, until then uvicorn waits."""
        self._idle_since_s = self.loop.time()
        super().on_response_complete()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _keeps_waiting(self) -> bool:
        return self._is_idle() or self._unread is not None or (self.cycle is not None and self.cycle.more_body)

    def _await_head(self) -> None:
        self._limit = self.loop.call_later(self.head_s, self._drop)

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def drop_if_idle(self, since_s: float) -> bool:
        """Drop it if its caller has kept the daemon waiting since before this time of the loop; return whether so."""
        is_dropped = self._keeps_waiting() and self._idle_since_s < since_s
        if is_dropped:
            self._drop()
        return is_dropped

    def _drop_one(self) -> None:
        open_ones = [one for one in self.connections if isinstance(one, BoundedProtocol)]
        waiting = [one for one in open_ones if one._keeps_waiting()]  # never empty: this one has asked nothing yet
        min(waiting, key=lambda one: one._idle_since_s)._drop()

    def _drop(self) -> None:
        self.connections.discard(self)  # at once: the transport reports its end only in the loop's next iteration
        self.transport.abort()  # not close(), which waits for a reader who may never read

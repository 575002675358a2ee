"""Middleware around every request: a limit on its body, and one debug line in the log."""

from time import perf_counter

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = structlog.get_logger("greenrun.api")


class BodyLimit:
    """Refuse bodies of more than `limit_bytes` with 413, announced or not, without reading the rest."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counted body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced, received = int(dict(scope["headers"]).get(b"content-length", b"0")), 0

        async def counted() -> Message:
            nonlocal received
            message = await receive() if announced <= self._limit_bytes else {}
            received += len(message.get("body", b""))
            if max(announced, received) > self._limit_bytes:
                raise HTTPException(
                    413, f"The body is larger than {self._limit_bytes} bytes: submit fewer jobs at once."
                )
            return message

        await self._app(scope, counted, send)


class AccessLog:
    """Log one line per request, at debug."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and note its status and duration."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, status = perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            took_ms = round((perf_counter() - began_s) * 1000, 1)
            _log.debug("request", method=scope["method"], path=scope["path"], status=status, took_ms=took_ms)

"""Middleware around every request: a limit on its body, and one debug line in the log."""

import asyncio
from collections.abc import Collection
from ipaddress import ip_address
from time import perf_counter

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from greenrun.api.problems import problem

_log = structlog.get_logger("greenrun.api")


class BodyLimit:
    """Refuse bodies of more than `limit_bytes` with 413, announced or not, without reading the rest.

    One that is not there within `limit_s` is refused with 408, and the connection closed.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int, limit_s: float) -> None:
        self._app = app
        self._limit_bytes, self._limit_s = limit_bytes, limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a counted body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced, received = int(dict(scope["headers"]).get(b"content-length", b"0")), 0
        deadline_s, is_whole = asyncio.get_running_loop().time() + self._limit_s, False

        async def counted() -> Message:
            nonlocal received, is_whole
            message: Message = {}
            if is_whole:
                message = await receive()  # which waits for the end of the connection
            elif announced <= self._limit_bytes:
                message = await self._in_time(receive, deadline_s)
            is_whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if max(announced, received) > self._limit_bytes:
                raise HTTPException(
                    413, f"The body is larger than {self._limit_bytes} bytes: submit fewer jobs at once."
                )
            return message

        await self._app(scope, counted, send)

    async def _in_time(self, receive: Receive, deadline_s: float) -> Message:
        try:
            async with asyncio.timeout_at(deadline_s):
                return await receive()
        except TimeoutError:
            told = f"The body was not there within {self._limit_s:g} s, so nothing was done: send it again."
            raise HTTPException(408, told, {"Connection": "close"}) from None


class HostCheck:
    """Refuse requests for another host with 421: a page of a stranger's whose name leads here could read the answer."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self._app = app
        self._hosts = {host.lower().rstrip(".") for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is meant for this host. HTTP/1.0 has requests without a name; no browser sends one."""
        named = [value for name, value in scope.get("headers", ()) if name == b"host"]
        wrong = next((host for host in named if not self._is_ours(host.decode("latin-1"))), None)
        if scope["type"] == "http" and wrong is not None:
            name = _host_of(wrong.decode("latin-1"))[:100]
            told = f"This is not {name!r}: ask for localhost, or name it in [api] hosts."
            await problem(421, "misdirected request", told)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_ours(self, named: str) -> bool:
        host = _host_of(named)
        if host in self._hosts or host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return False


def _host_of(named: str) -> str:
    """Return the name in a Host header, without the port, as it is compared."""
    host = named.strip().lower()
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return host.rstrip(".")


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

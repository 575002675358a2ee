"""Middleware around every request: a limit on its body, and one debug line in the log."""

import asyncio
import re
from collections.abc import Collection, Sequence
from ipaddress import IPv6Address, ip_address
from time import perf_counter

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from greenrun.api.problems import problem

# A name of labels, or an IPv6 address in brackets (without a zone, which is not in a name), and perhaps a port.
_HOST = re.compile(r"(?:(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?)|\[(?P<v6>[0-9a-f:.]+)\])(?::(?P<port>[0-9]{0,6}))?")
_LARGEST_PORT = 65_535
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
        self._hosts = {_host_of(host) or host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is meant for this host. HTTP/1.0 has requests without a name; no browser sends one."""
        named = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"host"]
        server = scope.get("server") or ("",)  # the address that was connected to: no name of a stranger's is one
        if scope["type"] == "http" and (why := self._why_not_ours(named, server[0])):
            await problem(421, "misdirected request", why)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _why_not_ours(self, named: Sequence[str], server: str) -> str | None:
        """Return why this is not the host that a request names, with all of its Host headers; None where it is."""
        if len(named) > 1:
            return "The request names several hosts: name one."
        host = _host_of(named[0]) if named else "localhost"
        if host is None:
            return f"The request names no host that can be ({named[0][:100]!r}): ask for localhost."
        if (
            host in self._hosts
            or host in ("localhost", _address(server))
            or host.endswith(".localhost")
            or _is_loopback(host)
        ):
            return None
        return f"This is not {host[:100]!r}: ask for localhost, or name it in [api] hosts."


def _host_of(named: str) -> str | None:
    """Return the name or address in a Host header, without the port, as it is compared; None for what is none."""
    found = _HOST.fullmatch(named.strip(" \t").lower())
    if found is None or int(found["port"] or 0) > _LARGEST_PORT:
        return None
    if found["name"]:
        return found["name"].removesuffix(".")
    try:
        return str(IPv6Address(found["v6"]))
    except ValueError:
        return None


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


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

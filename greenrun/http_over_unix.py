"""One HTTP/1.1 exchange over a connected socket, by h11: it costs a command 8 ms, http.client 21 (ADR 15)."""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

import h11

_CHUNK_BYTES = 256 * 1024
_ERRORS = 400


class EndedEarly(Exception):
    """The connection ended before the answer was whole."""


class NotHttp(Exception):
    """What came is no answer of HTTP/1.1."""


class TooLong(Exception):
    """The answer is longer than was allowed."""


def exchange(
    connected: socket.socket,
    method: str,
    target: str,
    headers: Mapping[str, str],
    content: bytes,
    most_bytes: int,
    write: Callable[[bytes], object] | None = None,
    tell: Callable[[Mapping[str, str]], object] | None = None,
) -> tuple[int, bytes]:
    """Send one request and return the answer's status and body; `tell` gets its headers, named in lower case.

    With `write`, the body of an answer that is no error goes there a piece at a time, and is not returned.
    Raise OSError as the socket does (TimeoutError after its time), EndedEarly, NotHttp, or TooLong for a body longer
    than `most_bytes`.
    """
    connection = h11.Connection(h11.CLIENT)
    stated = {"Host": "localhost", "Connection": "close", **headers}
    if content or method == "POST":
        stated["Content-Length"] = str(len(content))
    request = connection.send(h11.Request(method=method, target=target, headers=list(stated.items())))
    body = connection.send(h11.Data(data=content)) if content else b""
    connection.send(h11.EndOfMessage())
    with suppress(BrokenPipeError, ConnectionResetError):  # it may have refused a body without reading all of it
        connected.sendall((request or b"") + (body or b""))
    try:
        return _answer(connection, connected, most_bytes, write, tell)
    except h11.RemoteProtocolError as exc:
        raise NotHttp(str(exc)) from exc


def _answer(
    connection: h11.Connection,
    connected: socket.socket,
    most_bytes: int,
    write: Callable[[bytes], object] | None,
    tell: Callable[[Mapping[str, str]], object] | None,
) -> tuple[int, bytes]:
    status, length, has_ended = 0, 0, False
    parts: list[bytes] = []
    take: Callable[[bytes], object] = parts.append
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            if has_ended:
                raise EndedEarly from None
            raise
        if event is h11.NEED_DATA:
            received = connected.recv(_CHUNK_BYTES)
            has_ended = not received
            connection.receive_data(received)
        elif isinstance(event, h11.Response):
            status = event.status_code
            (tell or len)({name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers})
            take = write if write and status < _ERRORS else parts.append
        elif isinstance(event, h11.Data):
            length += len(event.data)
            if length > most_bytes:
                raise TooLong
            take(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            return status, b"".join(parts)
        elif isinstance(event, h11.ConnectionClosed):
            raise EndedEarly

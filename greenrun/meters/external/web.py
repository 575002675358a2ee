"""Fetch a small body over HTTP with the standard library alone: no redirects, no proxy."""

import http.client
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from urllib.parse import urlsplit

from greenrun.core.errors import MeterError
from greenrun.meters.external.answer import LONGEST_BYTES

LONGEST_HEADER = 8 * 1024
_TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)


def body_at(url: str, header_file: Path | None, timeout_s: float) -> bytes:
    """Return the body of a URL within `timeout_s`; raise MeterError, which never contains the header.

    `header_file` holds one header, such as `Authorization: Bearer …`, and must not be world-readable.
    """
    headers = _header(header_file) if header_file else {}
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    is_late, opened = threading.Event(), list[socket.socket]()
    watchdog = threading.Timer(
        timeout_s, _hang_up, [opened, is_late]
    )  # a server that sends byte by byte never exceeds the timeout of a read
    watchdog.start()
    try:
        connection.connect()
        opened.append(connection.sock)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"Accept": "*/*", "Connection": "close", **headers})
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise MeterError(_said(response.status))
        body = response.read(LONGEST_BYTES + 1)
        if is_late.is_set() or (response.length and len(body) <= LONGEST_BYTES):
            raise http.client.IncompleteRead(b"")  # a truncated number may still parse
        return body
    except (OSError, http.client.HTTPException) as exc:
        why = f"not within {timeout_s:g} s" if is_late.is_set() else f"{type(exc).__name__}: {exc}"
        raise MeterError(f"its address does not answer as it should ({why})") from exc
    except ValueError as exc:  # an invalid host name, or a TLS connection closed in the meantime
        raise MeterError(f"its address cannot be asked ({type(exc).__name__})") from exc
    finally:
        watchdog.cancel()
        connection.close()


def _hang_up(opened: Sequence[socket.socket], is_late: threading.Event) -> None:
    is_late.set()
    for each in opened:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _said(status: int) -> str:
    if 300 <= status < 400:
        return f"its address answers {status}, which points elsewhere: set url to where it points"
    if status in (401, 403):
        return f"its address answers {status}: name a header_file with the right to read it"
    return f"its address answers {status}"


def _header(path: Path) -> Mapping[str, str]:
    try:
        mode = path.stat().st_mode
        if not S_ISREG(mode) or mode & 0o004:
            raise MeterError(f"its header file {path} is none, or everybody on this machine may read it: chmod 600 it")
        with path.open(encoding="ascii") as file:
            name, colon, value = file.read(LONGEST_HEADER).strip().partition(":")
    except (OSError, UnicodeDecodeError) as exc:
        raise MeterError(f"its header file {path} cannot be read ({type(exc).__name__})") from exc
    if not (colon and _TOKEN.fullmatch(name.strip()) and value.strip() and value.strip().isprintable()):
        raise MeterError(f"its header file {path} holds no header: write one line as `Authorization: Bearer …`")
    return {name.strip(): value.strip()}

"""One request of the client over the daemon's unix socket, or over TCP, and every way in which that can fail."""

import json
import os
import pwd
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlencode

from greenrun.client.client_errors import BadAnswer, NotReachable, error_with_status, silent, unreachable
from greenrun.client.tcp_place import TcpPlace
from greenrun.http_over_unix import EndedEarly, NotHttp, TooLong, exchange

Place = Path | TcpPlace
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_MAX_REPORT_BYTES = 1024 * 1024 * 1024  # by job, of hundreds of thousands of jobs
_UCRED = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


def request(
    path: Place,
    timeout_s: float,
    method: str,
    target: str,
    *,
    query: Mapping[str, object] | None = None,
    body: object = None,
    key: str | None = None,
    accept: int = 200,
    write: Callable[[bytes], object] | None = None,
) -> tuple[int, object]:
    """Send one request to the socket at `path`; return the answer's status and what its JSON says.

    What is no error is written (`write`) a piece at a time instead of read, where that is wanted. Raise a ClientError
    where no daemon answers within `timeout_s`, and for a status from 400 on, but for `accept`.
    """
    content = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if content else {}
    headers |= {"Idempotency-Key": key} if key else {}
    status, raw = _exchange(path, timeout_s, method, target + _query_text(query or {}), content, headers, write)
    answer = _decoded(raw, status, path)
    if status >= 400 and status != accept:
        raise error_with_status(status, answer)
    return status, answer


def request_bytes(
    path: Place,
    timeout_s: float,
    target: str,
    query: Mapping[str, object],
    tell: Callable[[Mapping[str, str]], object] | None = None,
) -> bytes:
    """Ask for what is not JSON, and return it; `tell` gets the headers. Raise a ClientError as `request` does."""
    status, raw = _exchange(path, timeout_s, "GET", target + _query_text(query), None, {}, tell=tell)
    if status >= 400:
        raise error_with_status(status, _decoded(raw, status, path))
    return raw


def _exchange(
    path: Place,
    timeout_s: float,
    method: str,
    target: str,
    content: bytes | None,
    headers: Mapping[str, str],
    write: Callable[[bytes], object] | None = None,
    tell: Callable[[Mapping[str, str]], object] | None = None,
) -> tuple[int, bytes]:
    asks = method == "POST"
    try:
        with _connected(path, timeout_s) as connected:
            told = {**headers, **(path.headers if isinstance(path, TcpPlace) else {})}
            return exchange(
                connected,
                method,
                target,
                told,
                content or b"",
                _most_bytes(target),
                write and _told_apart(write),
                tell,
            )
    except _NotWritten as exc:
        raise exc.error from exc
    except TimeoutError as exc:
        raise silent(path, f"did not answer within {timeout_s:g} s", asks) from exc
    except (ConnectionResetError, EndedEarly) as exc:
        raise silent(path, "ended the connection before it had answered", asks) from exc
    except OSError as exc:
        raise unreachable(path, exc) from exc
    except NotHttp as exc:
        raise BadAnswer(f"what answers at {path} is not a greenrun daemon ({exc})") from exc
    except TooLong as exc:
        most = f"{_most_bytes(target) // 1024**2} MiB"
        raise BadAnswer(f"the answer from {path} is longer than {most}; ask for less") from exc


def _connected(path: Place, timeout_s: float) -> socket.socket:
    """Return a connection to a daemon that may be trusted; raise OSError, NotReachable."""
    if isinstance(path, TcpPlace):
        return path.connect(timeout_s)
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.settimeout(timeout_s)
        connected.connect(str(path))
        _check_owner(connected, path)
    except BaseException:
        connected.close()
        raise
    return connected


class _NotWritten(Exception):
    """What comes cannot be written, which says nothing of the daemon."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _told_apart(write: Callable[[bytes], object]) -> Callable[[bytes], object]:
    def write_or_tell(piece: bytes) -> None:
        try:
            write(piece)
        except OSError as exc:
            raise _NotWritten(exc) from exc

    return write_or_tell


def _most_bytes(target: str) -> int:
    return _MAX_REPORT_BYTES if target.startswith("/v1/reports") else _MAX_ANSWER_BYTES


def _check_owner(connected: socket.socket, path: Path) -> None:
    """Raise NotReachable where the daemon is neither root's nor the caller's own."""
    _, uid, _ = _UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid not in (0, os.getuid()):
        raise NotReachable(f"the socket {path} belongs to user {_user_name(uid)}, so nothing was sent")


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _query_text(query: Mapping[str, object]) -> str:
    given = {key: value for key, value in query.items() if value is not None and value != []}
    return "?" + urlencode(given, doseq=True, errors="surrogateescape") if given else ""


def _decoded(raw: bytes, status: int, path: Place) -> object:
    try:
        return json.loads(raw) if raw else None
    except ValueError as exc:
        raise BadAnswer(f"the answer from {path} is not JSON (status {status}): {raw[:80]!r}", status=status) from exc

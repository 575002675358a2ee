"""A small API server on a unix socket with canned answers, for the client and the command line."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

HANG_UP = 0  # a status: end the connection without an answer


class Asked(NamedTuple):
    """A request that the server got."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any
    headers: Mapping[str, str]


Answer = tuple[int, Any] | Callable[[Asked], tuple[int, Any]]


class FakeApi:
    """Answers by (method, path); `asked` keeps what it was asked. A path without an answer is a 404 problem."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.answers: dict[tuple[str, str], Answer] = {}
        self.asked: list[Asked] = []

    def get(self, path: str, body: Any, status: int = 200) -> None:
        """Answer GET `path` with a JSON body."""
        self.answers["GET", path] = (status, body)

    def post(self, path: str, body: Any, status: int = 200) -> None:
        """Answer POST `path` with a JSON body."""
        self.answers["POST", path] = (status, body)

    @property
    def changes(self) -> list[Asked]:
        """What it was asked that would change something: not what was only read or tried."""
        return [asked for asked in self.asked if asked.method != "GET" and asked.query.get("dry_run") != ["true"]]

    def answer(self, asked: Asked) -> tuple[int, Any]:
        """Return the status and body for a request."""
        self.asked.append(asked)
        found = self.answers.get(
            (asked.method, asked.path), (404, problem(404, "not found", f"nothing at {asked.path}"))
        )
        return found(asked) if callable(found) else found


def problem(status: int, title: str, detail: str, errors: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    """Return a problem document."""
    fields = [{"field": field, "message": message} for field, message in errors]
    return {"type": "urn:greenrun:problem", "title": title, "status": status, "detail": detail, "errors": fields}


@contextmanager
def serving(socket: Path) -> Iterator[FakeApi]:
    """Serve a FakeApi on this socket while the block runs."""
    api = FakeApi(socket)
    server = _Server(str(socket), _handler(api))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        socket.unlink(missing_ok=True)


class _Server(ThreadingMixIn, UnixStreamServer):
    pass


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(json.loads(raw) if raw else None)

        def _answer(self, body: Any) -> None:
            target = urlsplit(self.path)
            status, answer = api.answer(Asked(self.command, target.path, parse_qs(target.query), body, self.headers))
            if status == HANG_UP:
                self.close_connection = True
                return
            raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    return Handler

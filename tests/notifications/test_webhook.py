"""A server gets the payload, signed; what it does in return delays nobody, and its address is told to nobody."""

import hashlib
import hmac
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.notifications import webhook
from greenrun.notifications.hook import HookKind
from greenrun.notifications.message import Notification
from greenrun.notifications.senders import send
from greenrun.notifications.webhook import post, signature
from tests.notifications.build import hook, told
from tests.patience import HANGS_S, until

LONG = timedelta(seconds=HANGS_S)
OK = b"HTTP/1.1 204 No Content\r\n\r\n"
Serve = Callable[..., str]


class Server:
    """Answers each request on a port of this machine with the next of these answers, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[bytes, ...]] = [(OK,)]
        self.pause_s = 0.0
        self.heard: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/hooks/sesame"

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                parts = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                thread = threading.Thread(target=self._answer, args=(connection, parts), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _answer(self, connection: socket.socket, parts: tuple[bytes, ...]) -> None:
        with connection, suppress(OSError):
            self.heard.append(_request(connection))
            for part in parts:
                connection.sendall(part)
                if self._over.wait(self.pause_s):
                    return

    def close(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(HANGS_S)


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(
        next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def server() -> Iterator[Server]:
    opened = Server()
    yield opened
    opened.close()


def secret(folder: Path, text: str, name: str = "secret") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_server_gets_the_payload_with_its_id_and_a_signature(server: Server, tmp_path: Path) -> None:
    to = hook(HookKind.WEBHOOK, url=server.url, secret_file=secret(tmp_path, "s3cret-of-the-site\n"), timeout=LONG)
    assert send(to, told()) is None
    head, _, body = server.heard[0].partition(b"\r\n\r\n")
    headers = {line.partition(b": ")[0].lower(): line.partition(b": ")[2].decode() for line in head.split(b"\r\n")[1:]}
    assert Notification.model_validate_json(body) == told()
    assert headers[b"greenrun-notification-id"] == "abc-7"
    assert headers[b"content-type"] == "application/json"
    at, _, mac = headers[b"greenrun-signature"].removeprefix("t=").partition(",v1=")
    assert mac == hmac.new(b"s3cret-of-the-site", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert b"s3cret" not in server.heard[0]


def test_a_signature_is_of_the_body_and_its_time() -> None:
    seen = {signature(key, body, at) for key in ("a", "b") for body in (b"1", b"2") for at in (1, 2)}
    assert len(seen) == 8


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", None),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "its server refuses (HTTP 500)"),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", "its server refuses (HTTP 410)"),
        (b"SSH-2.0-OpenSSH\r\n", "its server cannot be reached (RemoteProtocolError"),
        (b"", "its server cannot be reached (RemoteProtocolError"),
    ],
)
def test_of_an_answer_the_status_counts(server: Server, answer: bytes, failure: str | None) -> None:
    server.answers = [(answer,)]
    came = post(hook(HookKind.WEBHOOK, url=server.url, timeout=LONG), told())
    assert came == failure or (failure and came and came.startswith(failure))


def test_an_answer_without_end_is_not_waited_for(server: Server) -> None:
    server.answers = [(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", *[b"x"] * 1000)]
    server.pause_s = 1.0
    assert post(hook(HookKind.WEBHOOK, url=server.url, timeout=LONG), told()) is None


@pytest.mark.parametrize("where", ["http://192.0.2.1/x", "https://elsewhere.example/", "/same/host"])
def test_no_redirect_is_followed(server: Server, where: str) -> None:
    server.answers = [(f"HTTP/1.1 307 There\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode(),)]
    failure = post(hook(HookKind.WEBHOOK, url=server.url, timeout=LONG), told())
    assert failure is not None
    assert failure.startswith("its server redirects (HTTP 307)")
    assert len(server.heard) == 1


@pytest.mark.parametrize("parts", [(), tuple(bytes([sign]) for sign in OK * 100)])
def test_a_server_that_hangs_or_sends_byte_by_byte_has_the_time_that_is_set(
    server: Server, parts: tuple[bytes, ...]
) -> None:
    server.pause_s = 1.0
    server.answers = [parts or (b"", *[b""] * 1000)]
    failure = post(hook(HookKind.WEBHOOK, name="slow", url=server.url, timeout=timedelta(seconds=2)), told())
    assert failure is not None
    assert "did not answer within 2 s" in failure or "ReadTimeout" in failure


def test_while_too_many_requests_still_go_on_none_is_sent(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    over, began = threading.Event(), []

    def hangs(*_: object) -> None:
        began.append(1)
        over.wait(HANGS_S)

    monkeypatch.setattr(webhook, "_exchange", hangs)
    slow = hook(HookKind.WEBHOOK, name="late", url=server.url, timeout=timedelta(milliseconds=10))
    came = [post(slow, told()) for _ in range(webhook.MOST_LATE + 2)]
    until(lambda: len(began) == webhook.MOST_LATE, "as many as may be have begun")
    assert came[-1] == "earlier requests to its server have not ended yet"
    other = hook(HookKind.WEBHOOK, name="other", url=server.url, timeout=timedelta(milliseconds=10))
    assert "did not answer" in (post(other, told()) or "")
    over.set()
    until(lambda: not [row for row in threading.enumerate() if row.name.startswith("greenrun-post")], "they end")


def test_nothing_tells_an_address_that_is_a_secret(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    file = secret(tmp_path, f"http://127.0.0.1:{port}/hooks/sesame", "url")
    failure = post(hook(HookKind.WEBHOOK, url_file=file, timeout=LONG), told())
    assert failure is not None
    assert "cannot be reached" in failure
    assert "sesame" not in failure


def test_a_secret_that_everybody_may_read_or_that_is_gone_is_a_failure(server: Server, tmp_path: Path) -> None:
    file = secret(tmp_path, "s3cret-of-the-site")
    file.chmod(0o644)
    to = hook(HookKind.WEBHOOK, url=server.url, secret_file=file, timeout=LONG)
    assert "everybody on this machine may read" in (post(to, told()) or "")
    file.unlink()
    assert "cannot be read" in (post(to, told()) or "")
    assert server.heard == []


def test_an_address_in_a_file_needs_encryption_too(tmp_path: Path) -> None:
    file = secret(tmp_path, "http://chat.example/hook", "url")
    failure = post(hook(HookKind.WEBHOOK, url_file=file), told())
    assert failure == "its address does not begin with https://"


@pytest.mark.parametrize(
    "address", ["https://[sesame/hook", "https://chat.example:sesame/hook", "https://chat.exa\u2100sesame/hook"]
)
def test_what_is_no_address_is_not_shown_either(tmp_path: Path, address: str) -> None:
    failure = post(hook(HookKind.WEBHOOK, url_file=secret(tmp_path, address), timeout=LONG), told())
    assert failure
    assert "sesame" not in failure

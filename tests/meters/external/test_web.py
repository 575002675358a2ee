"""An address is asked for a small answer in a bounded time, and what opens it is never told."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from greenrun.core.errors import MeterError
from greenrun.meters.external.web import body_at
from tests.patience import HANGS_S, watching

LIMIT_S = 5.0
Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer the next request on a port of this machine with these bytes, one after the other with this pause."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    threads: list[threading.Thread] = []
    heard: list[bytes] = []

    def answer(parts: tuple[bytes, ...], pause_s: float) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(65536))
                for part in parts:
                    connection.sendall(part)
                    if over.wait(pause_s):
                        return

    def start(*parts: bytes, pause_s: float = 0.0) -> str:
        thread = threading.Thread(target=answer, args=(parts, pause_s), daemon=True)
        thread.start()
        threads.append(thread)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/energy?of=all"

    start.heard = heard  # type: ignore[attr-defined]
    yield start
    over.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join(HANGS_S)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n42"


def test_it_returns_the_answer_and_asks_with_the_header_of_the_file(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "header"
    file.write_text("Authorization: Bearer abc\n")
    file.chmod(0o600)
    assert body_at(serve(OK), file, LIMIT_S) == b"42"
    asked = serve.heard[0]  # type: ignore[attr-defined]
    assert asked.startswith(b"GET /energy?of=all HTTP/1.1\r\n")
    assert b"Authorization: Bearer abc\r\n" in asked


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/\r\n\r\n", "answers 302, which points elsewhere"),
        (b"HTTP/1.1 401 No\r\n\r\n", "name a header_file"),
        (b"HTTP/1.1 500 No\r\n\r\n", "answers 500"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer as it should"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n4", "does not answer as it should"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "does not answer as it should"),
        (b"", "does not answer as it should"),
        (b"\x00" * 70_000, "does not answer as it should"),
    ],
)
def test_what_is_no_answer_is_told_in_words(serve: Serve, answer: bytes, said: str) -> None:
    with pytest.raises(MeterError, match=said):
        body_at(serve(answer), None, LIMIT_S)


def test_more_than_64_kib_are_not_read(serve: Serve) -> None:
    assert len(body_at(serve(b"HTTP/1.1 200 OK\r\n\r\n" + b"1" * 200_000), None, LIMIT_S)) == 65_537


@pytest.mark.parametrize(
    "parts",
    [(), (b"HTTP/1.1 200 OK\r\n", *[b"X: 1\r\n"] * 99), (b"HTTP/1.1 200 OK\r\n\r\n", *[b"1"] * 99)],
    ids=["silent", "dribbling headers", "dribbling a number"],
)
def test_one_that_takes_long_is_given_up(serve: Serve, parts: tuple[bytes, ...]) -> None:
    with (
        watching() as watch,
        pytest.raises(MeterError, match=r"does not answer as it should \((not within 0.4 s|TimeoutError: timed out)\)"),
    ):
        body_at(serve(b"HTTP", pause_s=LIMIT_S) if not parts else serve(*parts, pause_s=0.05), None, 0.4)
    assert watch.seconds < LIMIT_S


def test_a_header_file_that_is_a_pipe_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "header", 0o600)
    with pytest.raises(MeterError, match="is none, or everybody"):
        body_at("http://127.0.0.1:9/", tmp_path / "header", LIMIT_S)


@pytest.mark.parametrize("host", ["a..b", "x" * 70 + ".example"])
def test_a_name_that_no_host_can_have_is_told_of(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda name, *_: name.encode("idna"))
    with pytest.raises(MeterError, match="its address cannot be asked"):
        body_at(f"http://{host}/", None, LIMIT_S)


def test_one_that_nobody_serves_is_told_of() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(MeterError, match="ConnectionRefusedError"):
        body_at(f"http://127.0.0.1:{port}/", None, LIMIT_S)


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("Authorization: Bearer hush", 0o604, "everybody on this machine may read it"),
        ("hush", 0o600, "holds no header"),
        ("Authorization Bearer hush: y", 0o600, "holds no header"),
        ("Authorization: hush\r\nX: y", 0o600, "holds no header"),
        ("", 0o600, "holds no header"),
        ("Authorization: hüsh", 0o600, "cannot be read"),
        (None, 0o600, "cannot be read"),
    ],
)
def test_a_header_that_cannot_be_used_is_told_of_without_saying_it(
    tmp_path: Path, text: str | None, mode: int, said: str
) -> None:
    file = tmp_path / "header"
    if text is not None:
        file.write_text(text, encoding="utf-8", newline="")
        file.chmod(mode)
    with pytest.raises(MeterError, match=said) as refused:
        body_at("http://127.0.0.1:9/", file, LIMIT_S)
    assert "hush" not in str(refused.value)

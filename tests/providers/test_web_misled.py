"""The HTTP layer towards servers and addresses that are out of their mind: an error, in bounded time and memory."""

import socket
import threading
import traceback
from collections.abc import Iterator

import httpx
import pytest

from greenrun.core.errors import ProviderGarbage, ProviderUnavailable
from greenrun.providers import web
from tests.patience import HANGS_S
from tests.providers.server import serving
from tests.providers.source import answering, asker


@pytest.mark.parametrize(
    "said", ["Mon, 01 Jan 99999999999 00:00:00 GMT", "Mon, 31 Feb 2026 00:00:00 GMT", "soon", "-5", "1e9", "\xb2", ""]
)
def test_a_retry_after_that_states_nothing_is_ignored(said: str) -> None:
    """Nonsense in a header is no reason to fail otherwise than the status says."""
    answer = {"Retry-After": said.encode("latin-1")}
    with answering(lambda request: httpx.Response(503, headers=answer)) as asked, pytest.raises(ProviderUnavailable):
        asker().get("/x")
    assert len(asked.requests) == web.TRIES


def test_a_host_that_cannot_be_is_unavailable() -> None:
    """A name that no name server can be asked for is told as an address that cannot be reached."""

    def look_up(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=request.url.host.encode("idna"))  # as a socket does

    for url in (f"https://{'a' * 64}.example", "https://a..example", "https://xn--"):
        with answering(look_up), pytest.raises(ProviderUnavailable, match="cannot be reached"):
            asker(url).get("/x")


@pytest.mark.parametrize(
    "proxy", ["socks5://me:hunter2@127.0.0.1:1", "foo://me:hunter2@127.0.0.1:1", "http://me:hunter2@127.0.0.1:x"]
)
def test_a_proxy_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """The environment of a cluster may name one that httpx has no means for; its password is not told."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ProviderUnavailable, match="cannot be reached") as caught:
        asker().get("/x")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_questions_that_never_end_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each such question holds a thread and a connection: from a few on, no more is asked while they go on."""
    monkeypatch.setattr(web, "MOST_LATE", 3)
    stop, came = threading.Event(), list[int]()

    def drip(connection: socket.socket) -> None:
        came.append(1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not stop.wait(0.05):
            connection.sendall(b"x")

    with serving(drip) as url:
        slow = asker(url, timeout_s=0.5)
        for _ in range(2):
            with pytest.raises(ProviderUnavailable, match="did not answer"):
                slow.get("/x")
        assert len(came) == 3
        stop.set()
        for thread in threading.enumerate():
            if thread.name == "greenrun-ask grid":
                thread.join(HANGS_S)


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    """What is beyond the size that is read at most takes no memory, and no time."""
    read = list[int]()

    def flood() -> Iterator[bytes]:
        for _ in range(4000):
            read.append(1)
            yield b" " * 64 * 1024

    with answering(lambda request: httpx.Response(200, content=flood())), pytest.raises(ProviderGarbage, match="MiB"):
        asker().get("/x")
    assert len(read) < 100

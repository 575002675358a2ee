"""The HTTP layer: bounded in time, size and number, paced, one question at a time, and silent about keys."""

import gzip
import logging
import os
import socket
import threading
import time
import traceback
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from pydantic import BaseModel, ValidationError

from greenrun.clock import utc_now
from greenrun.core.errors import ProviderError, ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers import web
from greenrun.providers.settings import WebSettings, read_key
from tests.patience import HANGS_S, watching
from tests.providers.conftest import Clock
from tests.providers.server import serving
from tests.providers.source import KEY, answering, asker, json_answer


class Said(BaseModel):
    """A small answer."""

    value: int


def test_a_good_answer_is_read() -> None:
    """The question carries greenrun's name, and the answer comes back as its model."""
    with answering(lambda request: json_answer('{"value": 3}')) as asked:
        assert asker().get("/x", {"a": "b"}).read(Said).value == 3
    assert asked.requests[0].headers["User-Agent"].startswith("greenrun/")
    assert str(asked.requests[0].url) == "https://grid.example/x?a=b"


def test_a_question_that_fails_twice_is_answered_the_third_time(clock: Clock) -> None:
    """Trouble is waited out, at random lengths, a bounded number of times."""
    answers = iter([json_answer("", 503), json_answer("", 500), json_answer('{"value": 3}')])
    with answering(lambda request: next(answers)):
        assert asker().get("/x").read(Said).value == 3
    assert len([wait for wait in clock.waited if wait > 0]) >= 2


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(clock: Clock, as_date: bool) -> None:
    """A source that asks for ten seconds gets them, whether it says so as a number or as a date."""
    at = format_datetime(utc_now() + timedelta(seconds=11), usegmt=True)
    answers = iter([json_answer("", 429, **{"Retry-After": at if as_date else "10"}), json_answer('{"value": 3}')])
    with answering(lambda request: next(answers)):
        asker().get("/x")
    assert sum(clock.waited) >= 9.0


def test_a_long_retry_after_fails_at_once_and_silences(clock: Clock) -> None:
    """Nobody waits an hour for an answer; until then the source is not asked at all."""
    source = asker()
    with answering(lambda request: json_answer("", 429, **{"Retry-After": "600"})) as asked:
        for _ in range(2):
            with pytest.raises(ProviderUnavailable):
                source.get("/x")
        assert len(asked.requests) == 1
        clock.now_s += 601
        with pytest.raises(ProviderUnavailable):
            source.get("/x")
    assert len(asked.requests) == 2


def test_an_absurd_retry_after_silences_for_an_hour_at_most(clock: Clock) -> None:
    """A source that says "in thirty years" is asked again all the same."""
    source = asker()
    with answering(lambda request: json_answer("", 503, **{"Retry-After": "9" * 30})) as asked:
        for _ in range(2):
            with pytest.raises(ProviderUnavailable):
                source.get("/x")
            clock.now_s += web.SILENT_S + 1
    assert len(asked.requests) == 2


@pytest.mark.parametrize(("per_path", "waits"), [(False, [8.0, 8.0]), (True, [8.0])])
def test_questions_keep_their_distance(clock: Clock, per_path: bool, waits: list[float]) -> None:
    """Two questions are `every` apart, or two of one path where the source counts those."""
    source = asker(every_s=8, per_path=per_path)
    with answering(lambda request: json_answer('{"value": 3}')):
        for path in ("/x", "/y", "/x"):
            source.get(path)
    assert clock.waited == waits


def test_questions_come_one_after_another() -> None:
    """While one question is open, another one waits."""
    at_once, most = [0], [0]

    def slowly(request: httpx.Request) -> httpx.Response:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        threading.Event().wait(0.02)
        at_once[0] -= 1
        return json_answer('{"value": 3}')

    source = asker(every_s=0)
    with answering(slowly):
        threads = [threading.Thread(target=source.get, args=[f"/{index}"]) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == [1]


@pytest.mark.parametrize("where", ["headers", "body", "connect"])
def test_a_source_that_drips_is_given_up_in_time(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly the bytes come, a question ends within its time-out and a second."""
    monkeypatch.setattr(web, "monotonic", time.monotonic)
    monkeypatch.setattr(web, "TRIES", 1)
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n"
        connection.sendall(b"" if where == "connect" else head + (b"\r\n" if where == "body" else b"X-Slow: "))
        while not stop.wait(0.05) and where != "connect":
            connection.sendall(b"x")
        stop.wait(HANGS_S)

    with serving(drip) as url:
        with watching() as watch, pytest.raises(ProviderUnavailable):
            asker(url, timeout_s=0.3).get("/x")
        stop.set()
    assert watch.seconds < 0.3 + 1.0


def test_a_packed_flood_is_refused() -> None:
    """A body that grows a thousandfold when unpacked is stopped at the cap."""
    flood = gzip.compress(b" " * (64 * 1024 * 1024))

    def speak(connection: socket.socket) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(flood)}\r\n\r\n"
        connection.sendall(head.encode() + flood)

    with serving(speak) as url, pytest.raises(ProviderGarbage, match="5 MiB"):
        asker(url).get("/x")


@pytest.mark.parametrize(
    "raw", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"\x00" * 99]
)
def test_what_is_not_http_is_unavailable(raw: bytes) -> None:
    """A broken peer is an error of the source, never a crash."""
    with serving(lambda connection: connection.sendall(raw)) as url, pytest.raises(ProviderUnavailable):
        asker(url).get("/x")


def test_a_redirect_on_the_same_host_is_followed() -> None:
    """A moved path is found; circles are not run for ever."""
    moved = httpx.Response(301, headers={"Location": "/y"})
    with answering(lambda request: moved if request.url.path == "/x" else json_answer('{"value": 3}')):
        assert asker().get("/x").read(Said).value == 3
    circle = httpx.Response(301, headers={"Location": "/x"})
    with answering(lambda request: circle) as asked, pytest.raises(ProviderRefused, match="circles"):
        asker().get("/x")
    assert len(asked.requests) == web.REDIRECTS


@pytest.mark.parametrize(
    "to", ["http://grid.example/x", "https://grid.example:444/x", "https://other.example/x", "//x.y/"]
)
def test_another_scheme_host_or_port_is_not_followed(to: str) -> None:
    """Whoever else is named there does not get the key."""
    away = httpx.Response(302, headers={"Location": to})
    with answering(lambda request: away) as asked, pytest.raises(ProviderRefused):
        asker().get("/x")
    assert len(asked.requests) == 1


@pytest.mark.parametrize("form", ["as it is", "in the query", "in a redirect"])
def test_keys_appear_in_no_error(form: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the message, the payload, the causes or the log, even where the source repeats it."""
    caplog.set_level(logging.DEBUG)
    said = f'{{"{KEY}": "bad token {KEY} in {httpx.QueryParams({"k": KEY})}"}}'
    away = httpx.Response(302, headers={"Location": f"https://grid.example/{KEY}"})
    for answer in (json_answer(said, 401), json_answer(said, 500), json_answer(said), away):
        with answering(lambda request, answer=answer: answer), pytest.raises(ProviderError) as caught:
            asker().get("/x", {"token": KEY} if form == "in the query" else None).read(Said)
        told = "".join(traceback.format_exception(caught.value)) + getattr(caught.value, "payload", "")
        assert KEY not in told
        assert "s3cr3t" not in told


def test_the_rest_of_the_quota_is_noted() -> None:
    """What may still be asked is known where the source tells."""
    source = asker()
    with answering(lambda request: json_answer('{"value": 3}', **{"X-RateLimit-Remaining": "17"})):
        source.get("/x")
    assert source.quota_left == 17


def test_the_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy greenrun asks through it."""
    seen: list[bytes] = []

    def speak(connection: socket.socket) -> None:
        seen.append(b"asked")
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"value": 3}')

    with serving(speak) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        assert asker("http://localhost:9").get("/x").read(Said).value == 3
    assert seen == [b"asked"]


@pytest.mark.parametrize(
    "url", ["http://grid.example", "ftp://grid.example", "https://user:pass@grid.example", "grid", "https://"]
)
def test_an_address_that_would_show_a_key_is_refused(url: str) -> None:
    """Keys travel encrypted, and to a plain address."""
    with pytest.raises(ValidationError):
        WebSettings(kind="test", url=url)


def test_a_key_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    """A key lies in a file of its owner, alone on one line."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    assert read_key(file) == KEY
    file.chmod(0o644)
    with pytest.raises(ProviderRefused, match="chmod 600"):
        read_key(file)
    for bad in ("", "two\nlines", "\x00", "x" * 5000):
        file.chmod(0o600)
        file.write_text(bad)
        with pytest.raises(ProviderRefused):
            read_key(file)
    os.mkfifo(tmp_path / "pipe", 0o600)  # nobody ever writes into it
    with pytest.raises(ProviderRefused, match="is not a file"):
        read_key(tmp_path / "pipe")

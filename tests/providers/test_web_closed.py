"""A source that hangs does not keep greenrun from stopping: who waits for it is told so at once."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest

from greenrun.core.errors import ProviderError, ProviderUnavailable
from greenrun.providers import web
from greenrun.providers.settings import WebSettings
from greenrun.providers.web import Web
from tests.patience import HANGS_S
from tests.providers.server import serving
from tests.providers.source import answering, json_answer

LONG = timedelta(hours=1)
PAUSE = web.pause  # the true one: tests have another in its place


def asker(url: str, beside: Web | None = None) -> Web:
    """A source that may take its time."""
    return Web("grid", WebSettings(kind="test", url=url, timeout=LONG), every=timedelta(0), beside=beside)


def failure_of(call: Callable[[], object]) -> ProviderError:
    """Why there is no answer."""
    with pytest.raises(ProviderError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("is_beside", [False, True], ids=["itself", "with the one beside it"])
def test_closing_ends_the_question_under_way_and_those_that_wait_for_their_turn(is_beside: bool) -> None:
    asked, over = threading.Semaphore(0), threading.Event()

    def hang(connection: object) -> None:
        asked.release()
        over.wait(HANGS_S)

    with serving(hang) as url, ThreadPoolExecutor(2) as pool:
        first = asker(url)
        hung = asker(url, beside=first) if is_beside else first
        failures = [pool.submit(failure_of, lambda: hung.get("/x")) for _ in range(2)]
        assert asked.acquire(timeout=HANGS_S)
        first.close()
        told = [failure.result(HANGS_S) for failure in failures]
        over.set()
        assert not asked.acquire(blocking=False)
    assert [type(failure) for failure in told] == [ProviderUnavailable] * 2
    assert {str(failure) for failure in told} == {"grid is not asked any more, since greenrun is stopping"}


def test_a_wait_before_another_try_ends_with_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "pause", lambda seconds, over: PAUSE(LONG.total_seconds(), over))
    waits = threading.Event()

    def trouble(request: httpx.Request) -> httpx.Response:
        waits.set()
        return json_answer("", 503)

    with answering(trouble) as asked, ThreadPoolExecutor(1) as pool:
        source = asker("https://grid.example")
        failure = pool.submit(failure_of, lambda: source.get("/x"))
        assert waits.wait(HANGS_S)
        source.close()
        assert "is stopping" in str(failure.result(HANGS_S))
    assert len(asked.requests) == 1

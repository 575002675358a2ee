"""Questions over HTTP in no time: the waits between them pass on a clock of the tests' own."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from greenrun.providers import web


@dataclass
class Clock:
    """Seconds that pass only by waiting; `waited` lists how long each wait was."""

    now_s: float = 1000.0

    def __post_init__(self) -> None:
        self.waited: list[float] = []

    def pause(self, seconds: float, over: object = None) -> None:
        """Let time pass."""
        self.waited.append(seconds)
        self.now_s += seconds

    def monotonic(self) -> float:
        """Tell the time."""
        return self.now_s


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that paces questions in this test."""
    made = Clock()
    monkeypatch.setattr(web, "pause", made.pause)
    monkeypatch.setattr(web, "monotonic", made.monotonic)
    return made


@pytest.fixture(autouse=True)
def _clients_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close the connections that a test's sources keep open for their next question."""
    opened: list[httpx.Client] = []

    class Client(httpx.Client):
        def __init__(self, **settings: object) -> None:
            super().__init__(**settings)  # type: ignore[arg-type]
            opened.append(self)

    monkeypatch.setattr(web.httpx, "Client", Client)
    yield
    for client in opened:
        client.close()

"""Questions over HTTP in no time: the waits between them pass on a clock of the tests' own."""

from dataclasses import dataclass

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

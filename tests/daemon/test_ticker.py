"""The metronome keeps the beat: woken at once, never skipping a wake, and not stopped by a clock that was set back."""

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from greenrun.clock import utc_now
from greenrun.core.errors import StorageFull
from greenrun.daemon import ticker
from greenrun.daemon.ticker import Ticker
from tests.patience import HANGS_S

HOUR = timedelta(hours=1)


class Ticks:
    """Counts ticks, and waits for the next ones with a limit."""

    def __init__(self, pause: Callable[[], timedelta] = lambda: HOUR) -> None:
        self.count = 0
        self._pause = pause
        self._changed = threading.Condition()

    def __call__(self, now: datetime) -> datetime:
        with self._changed:
            self.count += 1
            self._changed.notify_all()
        return now + self._pause()

    def reach(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.count >= count, timeout=HANGS_S)


@pytest.fixture
def beat() -> Iterator[Callable[[Ticks], Ticker]]:
    started: list[Ticker] = []

    def start(ticks: Ticks) -> Ticker:
        started.append(Ticker(ticks))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_it_ticks_at_once_and_then_when_the_tick_asked_for(beat: Callable[[Ticks], Ticker]) -> None:
    ticks = Ticks(lambda: timedelta(milliseconds=20))
    beat(ticks)
    assert ticks.reach(5)


def test_a_wake_brings_the_next_tick_forward(beat: Callable[[Ticks], Ticker]) -> None:
    ticks = Ticks()
    one = beat(ticks)
    for count in range(1, 6):
        assert ticks.reach(count)
        one.wake()
    assert ticks.reach(6)


def test_a_wake_during_a_tick_is_not_lost(beat: Callable[[Ticks], Ticker]) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> timedelta:
        begun.set()
        go_on.wait(HANGS_S)
        return HOUR

    ticks = Ticks(slow)
    one = beat(ticks)
    assert begun.wait(HANGS_S)
    one.wake()
    go_on.set()
    assert ticks.reach(2)


def test_a_tick_that_fails_is_counted_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticker, "RETRY", timedelta(milliseconds=10))
    failed = threading.Event()

    def tick(now: datetime) -> datetime:
        if one.failures >= 3:
            failed.set()
            return now + HOUR
        raise RuntimeError("no")

    one = Ticker(tick)
    one.start()
    assert failed.wait(HANGS_S)
    one.stop()


def test_a_clock_set_back_by_an_hour_stops_neither_ticks_nor_periodic_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    step = timedelta(0)
    monkeypatch.setattr(ticker, "utc_now", lambda: utc_now() + step)
    ticks, refreshes = Ticks(lambda: timedelta(milliseconds=50)), Ticks()
    one = Ticker(ticks)
    one.every(timedelta(minutes=10), refreshes, name="refresh", first=utc_now() + timedelta(minutes=10))
    one.start()
    assert ticks.reach(3)
    step = -HOUR
    assert ticks.reach(ticks.count + 3)
    assert refreshes.reach(1)
    one.stop()


def test_stopping_twice_or_before_the_start_is_harmless() -> None:
    Ticker(Ticks()).stop()
    one = Ticker(Ticks())
    one.start()
    one.stop()
    one.stop()


@pytest.mark.parametrize(("failure", "told"), [(StorageFull("the disk is full"), "error"), (KeyError("x"), "exc_info")])
def test_where_a_failure_began_is_logged_only_if_it_was_not_expected(failure: Exception, told: str) -> None:
    ticks = Ticker(Ticks())
    with capture_logs() as logged:
        ticks.count_failure("tick", failure)
    (line,) = logged
    assert ({"error", "exc_info"} & line.keys(), ticks.failures) == ({told}, 1)

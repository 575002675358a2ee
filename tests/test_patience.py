"""Load makes a wait longer, and what is at fault fails on a busy machine as on a quiet one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import patience
from tests.patience import FairClock, at_some_pace, until, watching

Busy = Callable[..., None]
LIMIT_S = 0.2


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Busy:
    """Let the kernel say how many want a processor, of two; and how many ticks there were, and were stolen."""
    monkeypatch.setattr(patience, "STAT", tmp_path / "stat")
    monkeypatch.setattr(patience.os, "cpu_count", lambda: 2)

    def say(running: int, ticks: int = 1000, stolen: int = 0) -> None:
        (tmp_path / "stat").write_text(f"cpu  {ticks} 0 0 0 0 0 0 {stolen} 0 0\nprocs_running {running}\n")

    say(1)
    return say


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let the wall clock be moved by hand."""
    now_s = [0.0]
    monkeypatch.setattr(patience, "monotonic", lambda: now_s[0])

    def move(seconds: float) -> None:
        now_s[0] += seconds

    return move


@pytest.mark.parametrize(("running", "counted_s"), [(1, 10.0), (2, 10.0), (4, 5.0), (8, 2.5)])
def test_of_a_second_the_part_of_a_processor_is_counted_that_each_gets(
    busy: Busy, clock: Callable[[float], None], running: int, counted_s: float
) -> None:
    busy(running)
    fair = FairClock()
    clock(10.0)
    assert fair.advance() == pytest.approx(counted_s)


def test_what_another_guest_had_is_not_counted(busy: Busy, clock: Callable[[float], None]) -> None:
    fair = FairClock()
    busy(1, ticks=1300, stolen=100)
    clock(4.0)
    assert fair.advance() == pytest.approx(3.0)


def test_who_is_woken_late_has_slept_no_longer_than_was_asked_for(busy: Busy, clock: Callable[[float], None]) -> None:
    fair = FairClock()
    clock(60.0)
    assert fair.advance(0.02) == pytest.approx(0.02)


def test_what_never_comes_fails_also_on_a_busy_machine(busy: Busy) -> None:
    for running in (1, 10):
        busy(running)
        with pytest.raises(AssertionError, match=r"not within 0.2 s \(.* by the wall clock\): it rains"):
            until(lambda: False, "it rains", LIMIT_S)


def test_what_comes_late_because_others_compute_is_waited_for(busy: Busy) -> None:
    busy(8)
    with watching() as watch:
        assert until(lambda: watch.elapsed_s > 2 * LIMIT_S, limit_s=LIMIT_S)


def test_a_watch_tells_what_was_given_between_two_instants_and_how_late_sleepers_woke(busy: Busy) -> None:
    busy(4)
    with watching() as watch:
        until(lambda: watch.elapsed_s > LIMIT_S)
    begin_s = watch._at_s[0]
    assert watch.seconds == pytest.approx((watch.elapsed_s - watch.whole_late_s) / 2, rel=0.1)
    assert watch.given_s(begin_s, begin_s + watch.elapsed_s) == pytest.approx(watch.seconds)
    assert watch.late_s(begin_s, begin_s + watch.elapsed_s) == pytest.approx(watch.whole_late_s)


def test_a_promise_that_holds_at_a_slower_pace_holds_and_one_that_holds_at_none_fails() -> None:
    tried: list[float] = []

    def judge(pace: float) -> None:
        tried.append(pace)
        assert pace > 4

    at_some_pace(judge)
    assert tried == [1, 2, 5]
    with pytest.raises(AssertionError, match="not even at 15"):
        at_some_pace(never)


def never(pace: float) -> None:
    raise AssertionError(f"not even at {pace}")

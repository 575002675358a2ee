"""Plans made beside the ticks: what they were made for has to be the present still."""

import threading
from datetime import timedelta
from typing import Any

import pytest

from greenrun.clock import utc_now
from greenrun.daemon import background_planner, ticker
from greenrun.daemon.background_planner import LONGEST_PAUSE_S, PAUSE_S, BackgroundPlanner
from greenrun.engine.planning import Urgency
from tests.patience import HANGS_S


class SleepyEngine:
    """An engine whose first plan is made while the machine sleeps for a night."""

    def __init__(self) -> None:
        self.planning, self.slept, self.plans, self.taken_over = self, timedelta(0), 0, list[int]()

    def now(self) -> Any:
        return utc_now() + self.slept

    def situation(self, now: Any) -> Any:
        return now

    def urgency(self, situation: Any) -> Urgency:
        return Urgency.NONE if self.taken_over else Urgency.PROMPT

    def make(self, situation: Any) -> int:
        self.plans += 1
        self.slept = timedelta(hours=8)
        return self.plans

    def take_over(self, made: int, situation: Any, now: Any) -> None:
        self.taken_over.append(made)


def test_a_plan_from_before_the_machine_slept_does_not_take_over_and_another_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, woken, failed = SleepyEngine(), threading.Semaphore(0), list[BaseException]()
    for module in (background_planner, ticker):
        monkeypatch.setattr(module, "utc_now", engine.now)
    planner = BackgroundPlanner(engine, threading.RLock(), woken.release, lambda _, exc: failed.append(exc))  # type: ignore[arg-type]
    planner.start()
    try:
        planner.ask(Urgency.PROMPT)
        assert woken.acquire(timeout=HANGS_S)
        assert woken.acquire(timeout=HANGS_S)
    finally:
        planner.stop()
    assert not failed
    assert engine.taken_over == [2]


class Clock:
    """A monotonic clock that a test sets; to wait takes no time and ends the test's loop."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(background_planner, "time", clock)
    return clock


def resting(took_s: float, clock: Clock) -> BackgroundPlanner:
    """Return a planner that has just made a plan which took so long."""
    planner = BackgroundPlanner(SleepyEngine(), threading.RLock(), lambda: None, lambda _, exc: None)  # type: ignore[arg-type]
    planner._ended_s, planner._took_s = clock.now_s, took_s
    return planner


@pytest.mark.parametrize("urgency", [Urgency.SOON, Urgency.LEISURE])
def test_what_is_submitted_in_a_row_is_planned_when_no_more_comes_or_after_a_while(
    clock: Clock, urgency: Urgency
) -> None:
    planner = resting(0.01, clock)
    begun_s, plans_s = clock.now_s, list[float]()
    while clock.now_s < begun_s + 3 * LONGEST_PAUSE_S:
        planner.ask_for_submissions(urgency)
        clock.now_s += PAUSE_S / 4
        if planner._rest_s(clock.now_s) <= 0:
            plans_s.append(clock.now_s - begun_s)
            planner._wanted = Urgency.NONE
    assert plans_s == pytest.approx([LONGEST_PAUSE_S, 2 * LONGEST_PAUSE_S + PAUSE_S / 4], abs=PAUSE_S / 4)
    planner.ask_for_submissions(urgency)
    assert 0 < planner._rest_s(clock.now_s) < 2 * PAUSE_S
    clock.now_s += 2 * PAUSE_S
    assert planner._rest_s(clock.now_s) <= 0


@pytest.mark.parametrize("took_s", [0.5, 2.0, 30.0])
def test_where_others_may_have_to_move_plans_take_half_a_core_once_no_more_is_submitted_and_else_a_fifth(
    clock: Clock, took_s: float
) -> None:
    planner = resting(took_s, clock)
    clock.now_s += took_s
    planner.ask_for_submissions(Urgency.SOON)
    rest_s = planner._rest_s(clock.now_s)
    assert 0 < rest_s < 2 * PAUSE_S  # then to be looked at again
    clock.now_s += 2 * PAUSE_S
    assert planner._rest_s(clock.now_s) <= 0
    assert resting(took_s, clock)._rest_s(clock.now_s) > 0
    planner = resting(took_s, clock)
    planner.ask(Urgency.LEISURE)
    assert planner._rest_s(clock.now_s) == pytest.approx(4 * took_s)
    planner.ask(Urgency.SOON)
    assert planner._rest_s(clock.now_s) == pytest.approx(took_s)


def test_news_does_not_wait_for_submissions_to_stop(clock: Clock) -> None:
    planner = resting(2.0, clock)
    planner.ask_for_submissions(Urgency.SOON)
    planner.ask(Urgency.PROMPT)
    assert planner._rest_s(clock.now_s) == pytest.approx(2.0)
    clock.now_s += 2.5
    planner.ask_for_submissions(Urgency.LEISURE)
    assert planner._rest_s(clock.now_s) <= 0

"""Plans made beside the ticks: what they were made for has to be the present still."""

import threading
from datetime import timedelta
from typing import Any

import pytest

from greenrun.clock import utc_now
from greenrun.daemon import background_planner, ticker
from greenrun.daemon.background_planner import BackgroundPlanner
from greenrun.engine.planning import Urgency

PATIENCE_S = 60.0


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
        assert woken.acquire(timeout=PATIENCE_S)
        assert woken.acquire(timeout=PATIENCE_S)
    finally:
        planner.stop()
    assert not failed
    assert engine.taken_over == [2]

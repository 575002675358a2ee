"""Plan beside ticks: a long queue takes seconds to plan, and neither answers nor the ends of runs wait for that."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from greenrun.clock import CLOCK_STEP_S, utc_now
from greenrun.daemon.ticker import clock_offset_s
from greenrun.engine.engine import Engine
from greenrun.engine.planning import Urgency

PAUSE_S = 0.1  # between plans, and before one that can wait: what else comes meanwhile is planned with it
LONGEST_PAUSE_S = 1.0  # before a plan while submissions follow each other more closely than that
REST = {Urgency.PROMPT: 1.0, Urgency.SOON: 1.0, Urgency.LEISURE: 4.0}  # times the last plan, before the next begins


class BackgroundPlanner:
    """Makes a plan when asked to, in a thread of its own, and then rests, so that a stream of news takes half a core.

    `turn` is held by whoever calls the engine; `wake` has the engine tick; `on_failure` is told what went wrong, and
    the next request tries again.
    """

    def __init__(
        self,
        engine: Engine,
        turn: AbstractContextManager[object],
        wake: Callable[[], None],
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        self._engine, self._turn, self._wake, self._on_failure = engine, turn, wake, on_failure
        self._news = threading.Condition()
        self._wanted = Urgency.NONE
        self._is_stopping = False
        self._asked_s = self._ended_s = self._took_s = 0.0
        self._submitted_s = -LONGEST_PAUSE_S
        self._thread = threading.Thread(target=self._run, name="greenrun-plan", daemon=True)

    def start(self) -> None:
        """Start to wait for requests."""
        self._thread.start()

    def ask(self, urgency: Urgency) -> None:
        """Have a plan made as soon as its urgency allows."""
        with self._news:
            if not self._wanted:
                self._asked_s = time.monotonic()
            self._wanted = max(self._wanted, urgency)
            self._news.notify()

    def ask_for_submissions(self, urgency: Urgency) -> None:
        """Have a plan made of jobs that have places already, once no more of them come or some time has passed."""
        with self._news:
            self._submitted_s = time.monotonic()
            self.ask(urgency)

    def stop(self) -> None:
        """Let no plan take over any more; one that is being made is given up when it is done."""
        with self._turn, self._news:
            self._is_stopping = True
            self._news.notify()

    def _run(self) -> None:
        while self._is_asked():
            began_s = time.thread_time()  # what it takes of a core: the clock would count what others take as well
            try:
                is_made = self._plan()
            except Exception as exc:  # noqa: BLE001 - whatever failed is told, and tried again at the next request
                self._on_failure("plan", exc)
                is_made = True
            if is_made:
                self._ended_s, self._took_s = time.monotonic(), time.thread_time() - began_s

    def _is_asked(self) -> bool:
        """Wait until a plan is to be made; False once stopping."""
        with self._news:
            while not self._is_stopping:
                rest_s = self._rest_s(time.monotonic())
                if self._wanted and rest_s <= 0:
                    self._wanted = Urgency.NONE
                    return True
                self._news.wait(rest_s if self._wanted else None)
        return False

    def _rest_s(self, now_s: float) -> float:
        """Return how long to wait at least, before looking again whether a plan is due; 0 or less when it is."""
        calm_s = self._submitted_s + PAUSE_S
        pace = Urgency.LEISURE if self._wanted is Urgency.SOON and now_s < calm_s else self._wanted
        begin_s = self._ended_s + max(PAUSE_S, self._took_s * REST.get(pace, 0.0))
        if pace is Urgency.LEISURE:
            begin_s = max(begin_s, self._asked_s + PAUSE_S, min(calm_s, self._asked_s + LONGEST_PAUSE_S))
        return begin_s - now_s if pace is self._wanted else min(begin_s, calm_s) - now_s

    def _plan(self) -> bool:
        """Make a plan and let it take over; False when there was no need."""
        with self._turn:
            if self._is_stopping:
                return False
            offset_s = clock_offset_s()
            situation = self._engine.situation(utc_now())
            if not self._engine.planning.urgency(situation):
                return False
        made = self._engine.planning.make(situation)
        with self._turn:
            if self._is_stopping:
                return False
            if abs(clock_offset_s() - offset_s) < CLOCK_STEP_S:  # else the hours it was made for may be over
                self._engine.take_over(made, situation, utc_now())
            else:
                self.ask(Urgency.PROMPT)
        self._wake()
        return True

"""Call the engine when it is due, on the monotonic clock, and run the periodic jobs in threads."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from greenrun.clock import CLOCK_STEP_S, utc_now
from greenrun.core.errors import GreenrunError

log = structlog.get_logger("greenrun.daemon.ticker")

RETRY = timedelta(seconds=5)  # after a tick that failed
LONGEST_S = 60.0  # maximum between two ticks, whatever the last one asked for


class Ticker:
    """Ticks at the instant that the last tick returned, and at once when woken; periodic jobs run in other threads.

    The tick waits on the monotonic clock: APScheduler waits for wall-clock instants, so after the clock was set back by
    an hour it would not tick for an hour. When the clock is set, all periodic jobs are run at once.
    """

    def __init__(self, tick: Callable[[datetime], datetime]) -> None:
        self._tick = tick
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="greenrun-tick", daemon=True)
        self._offset_s = clock_offset_s()
        self.failures = 0
        defaults: dict[str, Any] = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = BackgroundScheduler(timezone=UTC, job_defaults=defaults)

    def every(
        self, period: timedelta, call: Callable[[datetime], object], *, name: str, first: datetime,
        spread: timedelta = timedelta(0),
    ) -> None:  # fmt: skip
        """Call `call(now)` every `period` from `first` on; a failure is logged and counted, and the schedule continues.

        With a `spread`, each call is delayed by up to that much at random.
        """
        self._scheduler.add_job(
            self._guarded, "interval", args=[name, call], id=name, seconds=period.total_seconds(),
            start_date=first, next_run_time=max(first, utc_now()), jitter=spread.total_seconds() or None,
        )  # fmt: skip

    def count_failure(self, name: str, failure: BaseException) -> None:
        """Log and count the failure of a call that will be made again; where it began only if its message says less."""
        self.failures += 1
        known = {"error": str(failure)} if isinstance(failure, GreenrunError) else {"exc_info": failure}
        log.error("failed, will be tried again", call=name, **known)

    def start(self) -> None:
        """Start ticking, with the first tick at once."""
        self._scheduler.start()
        self._thread.start()

    def wake(self) -> None:
        """Tick as soon as possible: now, or right after the tick in progress."""
        self._woken.set()

    def stop(self) -> None:
        """Stop after the calls in progress; idempotent, also before the start."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.clear()
            self._check_clock()
            later = self._guarded("tick", self._tick) or utc_now() + RETRY
            self._woken.wait(min(max(0.0, (later - utc_now()).total_seconds()), LONGEST_S))

    def _check_clock(self) -> None:
        step_s = clock_offset_s() - self._offset_s
        self._offset_s += step_s
        if abs(step_s) < CLOCK_STEP_S:
            return
        log.warning("the wall clock was set; limits and plans follow it", step_s=round(step_s, 3))
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=utc_now())

    def _guarded(self, name: str, call: Callable[[datetime], Any]) -> Any:
        try:
            return call(utc_now())
        except Exception as exc:  # noqa: BLE001 - whatever failed is logged, and called again
            self.count_failure(name, exc)
            return None


def clock_offset_s() -> float:
    """Return how far the wall clock is from the monotonic one: the same until it is set, or the machine has slept."""
    return utc_now().timestamp() - time.monotonic()

"""Call the engine when it is due: APScheduler keeps the beat, and a wake-up brings the next tick forward."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from greenrun.clock import utc_now

log = structlog.get_logger("greenrun.metronome")

RETRY = timedelta(seconds=5)  # after a tick that failed


class Metronome:
    """Ticks at the instant the last tick asked for, at once when woken, and runs the periodic jobs beside it."""

    def __init__(self, tick: Callable[[datetime], datetime]) -> None:
        self._tick = tick
        self._lock = threading.Lock()  # guards the two flags
        self._turn = threading.Lock()  # one tick at a time
        self._woken = False
        self._ticking = False
        self.failures = 0
        defaults: dict[str, Any] = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = BackgroundScheduler(timezone=UTC, job_defaults=defaults)

    def every(self, period: timedelta, call: Callable[[datetime], object], *, name: str, first: datetime) -> None:
        """Call `call(now)` every `period` from `first` on; a failure is logged and counted, and the beat goes on."""
        self._scheduler.add_job(
            self._guarded, "interval", args=[name, call], id=name, seconds=period.total_seconds(),
            start_date=first, next_run_time=max(first, utc_now()),
        )  # fmt: skip

    def start(self) -> None:
        """Start the beat with a tick at once."""
        self._scheduler.start()
        self.wake()

    def wake(self) -> None:
        """Tick as soon as possible: now, or right after the tick that is under way."""
        with self._lock:
            self._woken = True
            if not self._ticking:
                self._arm(utc_now())

    def stop(self) -> None:
        """Stop the beat after what is under way."""
        self._scheduler.shutdown(wait=True)

    def _run(self) -> None:
        with self._turn:
            with self._lock:
                self._ticking, self._woken = True, False
            later = self._guarded("tick", self._tick) or utc_now() + RETRY
            with self._lock:
                self._ticking = False
                self._arm(utc_now() if self._woken else later)

    def _arm(self, at: datetime) -> None:
        # A job may be armed again while its last call is still returning, so a second instance must be allowed.
        if self._scheduler.running:
            self._scheduler.add_job(self._run, "date", run_date=at, id="tick", replace_existing=True, max_instances=3)

    def _guarded(self, name: str, call: Callable[[datetime], Any]) -> Any:
        try:
            return call(utc_now())
        except Exception:
            self.failures += 1
            log.exception("failed, will be tried again", call=name)
            return None

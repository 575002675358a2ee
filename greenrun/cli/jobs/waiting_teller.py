"""Say on stderr what is waited for, while a command waits and nothing comes: to people only, and once per change."""

import sys
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from typing import Any

from greenrun.cli import text
from greenrun.clock import utc_now
from greenrun.core.formatting import day_clock_text
from greenrun.core.jobs.job import State
from greenrun.submission.local_zone import zones_text

_PATIENCE_S = 1.0  # what is over by then needs no word


class WaitingTeller:
    """Tells what a job waits for when that is new, if stderr is a terminal."""

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        self._silent_until_s = monotonic() + patience_s
        self._told: object = None

    def tell(self, job: dict[str, Any]) -> None:
        """Say where the job stands, unless nothing has changed but figures since that was said."""
        start = (job.get("planned") or {}).get("start", "")[: len("2026-12-01T00:00")]
        what = (job["state"], job.get("held"), start, (job.get("reason") or {}).get("code"))
        self._say(what, lambda: waiting_text(job, utc_now()))

    def tell_outage(self, job: int) -> None:
        """Say that the daemon does not answer."""
        said = f"the daemon does not answer; job {job} goes on, and the daemon is waited for"
        self._say("outage", lambda: said)

    def _say(self, what: object, said: Callable[[], str]) -> None:
        if not has_reader() or monotonic() < self._silent_until_s or what == self._told:
            return
        self._told = what
        print(f"waiting: {text.printable(said())}", file=sys.stderr)


def has_reader() -> bool:
    """Whether somebody reads along: stderr is a terminal."""
    return sys.stderr.isatty()


def waiting_text(job: dict[str, Any], now: datetime) -> str:
    """Return where a job stands that has not finished: when it is to start and why, or since when it runs."""
    planned, started = job.get("planned"), text.started_at(job)
    if job["state"] == State.RUNNING and started is not None:
        ends = day_clock_text(text.expected_end(job, started), now)
        since = day_clock_text(started, now)
        return f"job {job['id']} runs since {since}, expected to end about {ends} {zones_text(started)}"
    reason = text.reason_text(job, now)
    state = job["state"] if job.get("held") else text.state_text(job)  # who held it is why it waits
    if planned is None:
        return f"job {job['id']} is {state}" + (f": {reason}" if reason else "")
    start = text.instant(planned["start"])
    when = f"planned for {day_clock_text(start, now)} {zones_text(start)}" if start > now else "starts now"
    return f"job {job['id']} is {state}, {when}" + (f": {reason}" if reason else "")

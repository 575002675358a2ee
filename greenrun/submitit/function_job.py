"""A function that runs as a job: whether it is done, and what it returned or raised."""

import logging
import threading
import time
from pathlib import Path
from typing import Any

from greenrun.client import ApiClient, NotReachable
from greenrun.core.jobs.job import FINISHED
from greenrun.submitit.own_pickles import RESULT, read_pickle

POLL_S = 1.0
LOG_BYTES = 2000  # of the end of a log, in an error

_log = logging.getLogger(__name__)


class UncompletedJobError(RuntimeError):
    """The job ended, or was ended, without a result of its function."""


class FailedJobError(UncompletedJobError):
    """The function raised an exception; its traceback is in the message."""


class FunctionJob:
    """One job of an executor. It can be pickled, and used in another process of the same user."""

    def __init__(self, socket: Path, folder: Path, index: str, number: int) -> None:
        self._socket = socket
        self._folder = folder
        self._index = index
        self._number = number

    def __repr__(self) -> str:
        return f"FunctionJob(job_id={self.job_id!r}, state={self.state!r})"

    @property
    def job_id(self) -> str:
        """The number that `greenrun show` takes."""
        return str(self._number)

    @property
    def state(self) -> str:
        """Its state in greenrun's words, such as queued, running or succeeded."""
        return str(self._job()["state"])

    def done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._job()["state"] in FINISHED

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until it has ended, also while the daemon is away; raise TimeoutError after `timeout_s` seconds."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        pause, is_away = threading.Event(), False
        while True:
            try:
                if self.done():
                    return
                is_away = False
            except NotReachable as exc:
                if not is_away:
                    _log.warning(
                        "job %s goes on, and the daemon is asked again until it answers: %s", self._number, exc
                    )
                is_away = True
            left = POLL_S if until is None else min(POLL_S, until - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"job {self._number} has not ended after {timeout_s:g} s; it goes on")
            pause.wait(left)

    def result(self) -> Any:
        """Wait until it has ended, and return what its function returned; raise what `exception` returns."""
        self.wait()
        error, value = self._outcome()
        if error is not None:
            raise error
        return value

    def exception(self) -> UncompletedJobError | None:
        """Wait until it has ended; return None where its function returned, else what went wrong."""
        self.wait()
        return self._outcome()[0]

    def cancel(self) -> None:
        """Have it stopped, or taken out of the queue; a job that has ended stays as it is."""
        if not self.done():
            ApiClient(self._socket).cancel(self._number)

    def stdout(self) -> str | None:
        """Return the end of what its latest run has written, to stdout and stderr; None before there is any."""
        return self._log_end(None) if self._job()["runs"] else None

    def _job(self) -> dict[str, Any]:
        return ApiClient(self._socket).job(self._number)

    def _log_end(self, size: int | None) -> str:
        sizes = {} if size is None else {"size": size}
        return ApiClient(self._socket).log(self._number, **sizes).decode(errors="replace")

    def _outcome(self) -> tuple[UncompletedJobError | None, Any]:
        """Return the error and the result of a job that has ended; raise NotOwn where the result is not its own."""
        try:
            found = read_pickle(self._folder, RESULT.format(self._index))
        except FileNotFoundError:
            return self._unfinished(), None
        if "traceback" in found:
            told = found["traceback"]
            return FailedJobError(f"the function of job {self._number} raised an exception:\n{told}"), None
        return None, found["result"]

    def _unfinished(self) -> UncompletedJobError:
        job = self._job()
        reason = (job["reason"] or {}).get("text") or job["state"]
        log = self._log_end(LOG_BYTES).strip() if job["runs"] else ""
        written = f"; the end of its log is\n{log}" if log else ""
        return UncompletedJobError(f"job {self._number} ended without a result ({job['state']}): {reason}{written}")

"""A job as the Python client has it: what it was when it was last looked at, and what can be done with it."""

import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from greenrun.client.answer_reader import read, values
from greenrun.client.answers import Event, Explanation, JobFields, Run
from greenrun.client.client_errors import NotFound, StillUnfinished

if TYPE_CHECKING:
    from greenrun.client.api_client import Answer, LogPiece
    from greenrun.client.job_statement import JobOptions
    from greenrun.client.public_client import Client

FINISHED = frozenset({"succeeded", "failed", "cancelled", "expired"})
_FIRST_LOOK_S, _SLOWEST_LOOK_S = 0.1, 5.0
_FOLLOW_S = 20.0
_PIECE_BYTES = 1 << 20


class Job(JobFields):
    """A job, as it was when it was last read: `refresh` reads it again, and every order leaves it as it is then."""

    def __init__(self, client: "Client", answer: "Answer") -> None:
        self._client = client
        self._take(answer)

    def __repr__(self) -> str:
        return f"<greenrun job {self.id} {self.name!r}: {self.state}>"

    def _repr_html_(self) -> str:
        from greenrun.client.notebook_html import job_html

        return job_html(self)

    @property
    def is_finished(self) -> bool:
        """Whether it has ended for good."""
        return self.state in FINISHED

    @property
    def last_run(self) -> Run | None:
        """Its latest run; None before the first."""
        return self.runs[-1] if self.runs else None

    def refresh(self) -> "Job":
        """Read it again; return it."""
        return self._take(self._client.read_job(self.id))

    def wait(self, timeout: float | None = None) -> "Job":
        """Return it once it has finished, however; raise StillUnfinished after `timeout` seconds.

        A daemon that is away meanwhile is waited for: jobs go on without it.
        """
        until_s = None if timeout is None else time.monotonic() + timeout
        pause_s = _FIRST_LOOK_S
        while not self._look(until_s).is_finished:
            left_s = None if until_s is None else until_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                reason = f" ({self.reason.text})" if self.reason else ""
                raise StillUnfinished(f"job {self.id} is {self.state} after {timeout:g} s{reason}; it goes on")
            threading.Event().wait(pause_s if left_s is None else min(pause_s, left_s))
            pause_s = min(pause_s * 1.5, _SLOWEST_LOOK_S)
        return self

    def explain(self) -> Explanation:
        """Say why it is where it is."""
        return read(Explanation, self._client.ask(lambda api: api.explain(self.id)))

    def events(self) -> list[Event]:
        """Return what happened to it, in order."""
        return [read(Event, row) for row in self._client.ask(lambda api: api.events(self.id))]

    def logs(self, follow: bool = False, run: int | None = None) -> Iterator[str]:
        """Yield the lines of the log of its latest run, or of run number `run`, without their ends.

        With `follow` it waits for the first run to start and goes on until that run has ended. What is no UTF-8 is
        replaced.
        """
        number = self._logged_run(follow) if run is None else run
        offset, rest, has_ended = 0, b"", False
        while not has_ended:
            piece = self._log_piece(number, offset, follow)
            offset = piece.offset + len(piece.data)
            *lines, rest = (rest + piece.data).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in lines)
            has_ended = piece.has_ended or (not follow and offset >= piece.end)
        if rest:
            yield rest.decode("utf-8", "replace")

    def log_text(self, run: int | None = None) -> str:
        """Return the log as it is now, as one text."""
        return "\n".join(self.logs(run=run))

    def cancel(self) -> "Job":
        """Ask for it to be stopped, or taken out of the queue; return it: a run is stopped some time after."""
        return self._take(self._client.api.cancel(self.id))

    def hold(self) -> "Job":
        """Keep it from starting; return it."""
        return self._take(self._client.api.hold(self.id))

    def release(self) -> "Job":
        """Let it go again; return it."""
        return self._take(self._client.api.release(self.id))

    def start_now(self) -> "Job":
        """Let it start as soon as GPUs are free; return it."""
        return self._take(self._client.api.start_now(self.id))

    def edit(self, **changes: Unpack["JobOptions"]) -> "Job":
        """Change what it is while it has not ended, where None stands for the default; return it."""
        from greenrun.client.job_statement import state_edit

        return self._take(self._client.api.edit(self.id, state_edit(changes)))

    def requeue(self, env: Mapping[str, str] | None = None) -> "Job":
        """Let it run again once it has ended; `env` has the values of its variables, which were deleted; return it."""
        return self._take(self._client.api.requeue(self.id, env))

    def _logged_run(self, follow: bool) -> int | None:
        """Return the number of the run whose log is meant; with `follow` wait for the first run to start."""
        pause_s = _FIRST_LOOK_S
        while (
            not (logged := [run.number for run in self.refresh().runs if run.log]) and follow and not self.is_finished
        ):
            threading.Event().wait(pause_s)
            pause_s = min(pause_s * 1.5, 1.0)
        return logged[-1] if logged else None

    def _log_piece(self, number: int | None, offset: int, follow: bool) -> "LogPiece":
        """Read on in a log; with `follow` wait for a run that starts to have one."""
        wait_s = _FOLLOW_S if follow else 0.0
        while True:
            try:
                return self._client.ask(lambda api: api.log_piece(self.id, number, offset, wait_s, _PIECE_BYTES))
            except NotFound:
                if not follow or self.refresh().is_finished:
                    raise
                threading.Event().wait(_FIRST_LOOK_S)

    def _look(self, until_s: float | None) -> "Job":
        return self._take(self._client.read_job(self.id, until_s=until_s, is_patient=True))

    def _take(self, answer: "Answer") -> "Job":
        warnings = tuple(answer.get("warnings") or getattr(self, "warnings", None) or ())
        found: dict[str, Any] = values(JobFields, answer) | {"warnings": warnings}
        for name, value in found.items():
            setattr(self, name, value)
        return self

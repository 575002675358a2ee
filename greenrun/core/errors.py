"""The exception tree: each message is one sentence a person can act on.

Foreign exceptions are translated once, in the adapter that meets them, with `raise ... from exc`.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class GreenrunError(Exception):
    """Anything greenrun refuses or cannot do, said in one sentence that a user can act on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputProblem:
    """One thing wrong with an input: `field` is a key path (`planner.tick`) or option name, "" for the whole."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def without_type(message: str) -> str:
    """Return what a validator says in words that do not name a type: `String should have at most 9 characters`."""
    named, should, rest = message.partition(" should ")
    if not should or not named.isalpha() or not named[0].isupper() or named == "Input":
        return message
    return f"must {rest.replace(' after validation', '')}"


class ConfigError(GreenrunError):
    """The settings cannot be used; carries all problems of the file at once."""

    def __init__(self, message: str, problems: Sequence[InputProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class InvalidInput(GreenrunError):
    """Files or options that were given cannot be used; carries all of their problems at once."""

    def __init__(self, message: str, problems: Sequence[InputProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class JobError(GreenrunError):
    """A job cannot be accepted, found or changed."""


class JobNotFound(JobError):
    """There is no such job."""


class ReservationNotFound(GreenrunError):
    """There is no such reservation, or it is over."""


class CredentialNotFound(GreenrunError):
    """There is no such session or token, it is over, or it is another user's."""


class AmbiguousJob(JobError):
    """A name that is to mean one job is that of several; says which."""


class InvalidJob(JobError):
    """The job as stated cannot be run; says the smallest change that would do."""

    def __init__(self, message: str, problems: Sequence[InputProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class KnownRequest(JobError):
    """A request with this key was accepted before: its jobs are not added again."""


class KeyOfAnotherJob(JobError):
    """A unique key is that of a job with another command."""


class KeyReused(JobError):
    """A key that was given to one request is given to another."""


class InvalidTransition(JobError):
    """A transition that is not in TRANSITIONS (a programming error), or a request that the job's state forbids."""


class NotPermitted(JobError):
    """The caller may not touch this job."""


class ProviderError(GreenrunError):
    """A carbon-intensity source gave no usable answer; `status` is that of HTTP, where there was one."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ProviderUnavailable(ProviderError):
    """The source cannot be reached or says "later": try again, after `retry_after_s` where that is known."""

    def __init__(self, message: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after_s = retry_after_s


class ProviderRefused(ProviderError):
    """The source will not serve this (key, zone, plan): tell the operator, do not retry."""


class ProviderGarbage(ProviderError):
    """The source answered something that is not a valid series; `payload` keeps the start of it."""

    def __init__(self, message: str, payload: str = "") -> None:
        super().__init__(message)
        self.payload = payload[:2000]


class MeterError(GreenrunError):
    """A reading is missing; it is never taken for zero."""


class MeterEnded(MeterError):
    """The meter cannot go on in this process: what it opened must be reopened in a new one."""


class ExecutorError(GreenrunError):
    """A run could not be started or cannot be reached. Unreachable never means relaunch."""


class StartPostponed(ExecutorError):
    """Nothing was spawned, and that is not the job's fault: it is tried again, and costs the job no attempt."""


class HostShort(StartPostponed):
    """This machine lacks `what` to start anything at all now, such as memory or room on a disk."""

    def __init__(self, message: str, what: str) -> None:
        super().__init__(message)
        self.what = what


class DeviceBusy(StartPostponed):
    """Somebody else holds the lock of `device`: nothing was spawned, and it may be tried again."""

    def __init__(self, message: str, device: str) -> None:
        super().__init__(message)
        self.device = device


class StoreError(GreenrunError):
    """The database is locked too long, unreadable, or of a newer schema than this program."""


class StorageFull(StoreError):
    """There is no room to store this durably, so nothing was accepted."""


class StoreLost(StoreError):
    """The database that is open is no longer the one at its path, so nothing that is written to it would last."""


class StoreDamaged(StoreError):
    """The database is damaged, or is none."""


class ReportError(GreenrunError):
    """A report cannot be written where it was to be."""

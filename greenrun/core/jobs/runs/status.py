"""What an executor can tell of a run, whichever executor it is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Phase(StrEnum):
    """What an executor knows of a run."""

    ABSENT = "absent"  # no trace of it: it was never spawned, or has not got that far yet
    FENCED = "fenced"  # it was never started, and can no longer be
    RUNNING = "running"
    EXITED = "exited"  # with its own exit record
    LOST = "lost"  # its supervisor died without a record; nothing of it is left alive
    INTERRUPTED = "interrupted"  # the machine restarted under it
    UNKNOWN = "unknown"  # cannot be told now: wait, never relaunch


class EndedBy(StrEnum):
    """What made a run's command end."""

    ITSELF = "itself"
    TIME_LIMIT = "time_limit"
    STOP = "stop"
    CHECKPOINT = "checkpoint"  # it was asked to checkpoint, and ended within its grace
    CHECKPOINT_GRACE = "checkpoint_grace"  # it was asked to checkpoint, did not end, and was stopped
    NOT_STARTED = "not_started"  # the command could not be executed at all


def length_of(started_at: datetime | None, ended_at: datetime | None, ran: timedelta | None) -> timedelta:
    """Return how long a run ran, by a steady clock where that is known; nothing where it has not started or ended."""
    if started_at is None or ended_at is None:
        return timedelta(0)
    return ended_at - started_at if ran is None else ran


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """An answer of `Executor.poll`. Instants are the supervisor's own record; `exit_code` is 128+N for signal N.

    `ran` is how long it ran by a clock that nobody can set; None where that is not known.
    `signal` is the one that ended the command, where one did; a code above 128 without it is the command's own. `left`
    is how many processes the command had left behind, which were ended.

    `is_undated`: its start was noted down by another clock than that of who asks, and so lies before its claim, or
    ahead. `is_checkpointing`: it runs, and was asked to checkpoint and end. `work` is how much it says to have done so
    far, in `work_unit`, written down at `work_at`; None where it says nothing. `work_fault` is what is wrong with that.
    `changed` says which of the job's own files had changed at its start, since it was submitted.
    `oom_kills` is how many of its processes the kernel killed for want of memory, and `is_own_limit` that this was at
    the limit of the run itself.
    `image` is which image its container is made of.
    `shortage` is what this machine lacked, where that is why its command was not started.
    """

    phase: Phase
    started_at: datetime | None = None
    ended_at: datetime | None = None
    ran: timedelta | None = None
    exit_code: int | None = None
    signal: int | None = None
    left: int = 0
    ended_by: EndedBy = EndedBy.ITSELF
    is_undated: bool = False
    is_checkpointing: bool = False
    log: str | None = None
    detail: str = ""
    changed: str = ""
    oom_kills: int = 0
    is_own_limit: bool = False
    shortage: str = ""
    image: str | None = None
    work: float | None = None
    work_unit: str | None = None
    work_at: datetime | None = None
    work_fault: str = ""

    @property
    def length(self) -> timedelta:
        """How long it ran; nothing for one that is not known to have started or ended."""
        return length_of(self.started_at, self.ended_at, self.ran)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrayRun:
    """A run that is alive in this state folder and that the database does not know; `log` is where its output goes.

    `label` is `JOB.NUMBER` as the database had it that numbered it, which means nothing to this one.
    """

    label: str
    job_id: int
    token: str
    devices: tuple[str, ...]
    folder: str
    log: str | None
    started_at: datetime | None

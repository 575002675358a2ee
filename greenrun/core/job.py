"""What a user wants done (job), what was done about it (run), and the moves a job may make."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from greenrun.core.reasons import Reason


class State(StrEnum):
    """Answers one question: may it be started?"""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CHECKPOINTED = "checkpointed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    INTERRUPTED = "interrupted"
    FAILED_TO_START = "failed_to_start"


class DurationSource(StrEnum):
    """Where a job's expected duration comes from."""

    GIVEN = "given"
    LEARNED = "learned"
    DEFAULT = "default"


FINISHED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})
LIVE = frozenset({State.STARTING, State.RUNNING})

TRANSITIONS = frozenset(
    {
        (State.QUEUED, State.STARTING),  # b  claimed: committed before anything is spawned
        (State.STARTING, State.RUNNING),  # c  the executor has it
        (State.STARTING, State.QUEUED),  # d  the claim was proved never to have spawned
        (State.RUNNING, State.SUCCEEDED),  # e
        (State.RUNNING, State.FAILED),  # f  failed, lost or timed out, and no retries left
        (State.STARTING, State.FAILED),  # f  failed to start
        (State.RUNNING, State.QUEUED),  # g  checkpointed, or failed with retries left
        (State.QUEUED, State.CANCELLED),  # h
        (State.STARTING, State.CANCELLED),  # i
        (State.RUNNING, State.CANCELLED),  # i
        (State.QUEUED, State.EXPIRED),  # j  not started by its own limit, and the job asked for that
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """The job as its user states it. Instants are aware UTC; `power_w` is for the whole job; ratios are 0-1."""

    command: tuple[str, ...]
    workdir: str
    name: str = ""
    project: str = "default"
    gpus: int = 1
    duration: timedelta
    duration_source: DurationSource = DurationSource.GIVEN
    time_limit: timedelta | None = None
    finish_by: datetime | None = None
    max_delay: timedelta | None = None
    start_after: datetime | None = None
    start_now: bool = False
    expire: bool = False
    priority: int = 0
    power_w: float | None = None
    min_saving: float | None = None
    run_below_g_per_kwh: float | None = None
    retries: int = 0
    grace: timedelta = timedelta(seconds=30)
    env: Mapping[str, str] = field(default_factory=dict)
    env_file: str | None = None
    log: str | None = None
    unique_key: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    git_commit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A stored job. `reason` says why it is where it is; `planned_start` is the last promise made to the user."""

    id: int
    spec: JobSpec
    user: str
    uid: int
    state: State
    submitted_at: datetime
    held: bool = False
    cancel_requested: bool = False
    finished_at: datetime | None = None
    reason: Reason | None = None

    @property
    def name(self) -> str:
        """The given name, or the first words of the command."""
        return self.spec.name or " ".join(self.spec.command)[:40]

    @property
    def earliest_start(self) -> datetime:
        """The first instant at which the job may start."""
        return max(self.submitted_at, self.spec.start_after or self.submitted_at)

    def latest_start(self, default_max_delay: timedelta) -> datetime:
        """The last instant at which it should start: its tightest limit, else `default_max_delay` from its earliest."""
        if self.spec.start_now:
            return self.earliest_start
        limits = []
        if self.spec.finish_by is not None:
            limits.append(self.spec.finish_by - self.spec.duration)
        if self.spec.max_delay is not None:
            limits.append(self.submitted_at + self.spec.max_delay)
        return min(limits) if limits else self.earliest_start + default_max_delay

    @property
    def has_limit(self) -> bool:
        """Whether the user set a limit (the default delay is greenrun's own, not a promise that can be missed)."""
        return self.spec.finish_by is not None or self.spec.max_delay is not None

    def misses_limit(self, start: datetime, end: datetime) -> bool:
        """Whether running over `[start, end)` breaks a limit of the user's, by more than a second's slack."""
        slack = timedelta(seconds=1)
        too_late = self.spec.max_delay is not None and start > self.submitted_at + self.spec.max_delay + slack
        return too_late or (self.spec.finish_by is not None and end > self.spec.finish_by + slack)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a job. It is live until `outcome` is set; `devices` are UUIDs it alone holds meanwhile."""

    id: int
    job_id: int
    number: int
    token: str
    devices: tuple[str, ...]
    claimed_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    exit_code: int | None = None
    log: str | None = None

    @property
    def label(self) -> str:
        """`JOB.NUMBER`, as people and logs name it."""
        return f"{self.job_id}.{self.number}"

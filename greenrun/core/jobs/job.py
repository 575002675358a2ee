"""What a user wants done (job), and what was done about it (run)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from greenrun.core.jobs.reasons import Reason
from greenrun.core.jobs.runs.status import length_of
from greenrun.core.jobs.spec import CHECKPOINT_SIGNALS as CHECKPOINT_SIGNALS
from greenrun.core.jobs.spec import LARGEST_INDEX as LARGEST_INDEX
from greenrun.core.jobs.spec import MOST_TOGETHER as MOST_TOGETHER
from greenrun.core.jobs.spec import After as After
from greenrun.core.jobs.spec import Anomaly as Anomaly
from greenrun.core.jobs.spec import ArrayPlace as ArrayPlace
from greenrun.core.jobs.spec import Dependency as Dependency
from greenrun.core.jobs.spec import DurationSource as DurationSource
from greenrun.core.jobs.spec import GpuIds as GpuIds
from greenrun.core.jobs.spec import JobSpec as JobSpec
from greenrun.core.jobs.spec import Notice as Notice
from greenrun.core.jobs.spec import PowerSource as PowerSource


class State(StrEnum):
    """Answers one question: may it be started?"""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def said(self) -> str:
        """Return what a sentence says of a job in it: it `is queued`, `has succeeded`, `was cancelled`."""
        past = {State.SUCCEEDED: "has", State.FAILED: "has", State.CANCELLED: "was", State.EXPIRED: "has"}
        return f"{past.get(self, 'is')} {self}"


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


FINISHED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})
LIVE = frozenset({State.STARTING, State.RUNNING})
LIMIT_SLACK = timedelta(seconds=1)  # a limit is missed by more than that


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A stored job. `reason` says why it is where it is; `progress` is what its checkpointed runs have done of it.

    `deadline_missed` makes sure that a limit of its user's that was missed is counted once. `retry_at` is when the
    pause after its last quick failure is over, `requeued_at` when its user had it run again after it had finished, and
    `counted_from` the number of the first run since. `over_budget`: an admin lets it start whatever budgets say.
    """

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
    progress: timedelta = timedelta(0)
    deadline_missed: bool = False
    retry_at: datetime | None = None
    requeued_at: datetime | None = None
    counted_from: int = 1
    over_budget: bool = False

    @property
    def name(self) -> str:
        """The given name, or the first words of the command; a job of an array has its index behind it, `train[3]`."""
        return self.spec.title if self.spec.array is None else f"{self.spec.title}[{self.spec.array.index}]"

    @property
    def queued_since(self) -> datetime:
        """Since when its user has been waiting for it: its submission, or its last requeue."""
        return self.requeued_at or self.submitted_at

    @property
    def asked_start(self) -> datetime:
        """The first instant at which its user lets it start."""
        return max(self.queued_since, self.spec.start_after or self.queued_since)

    @property
    def earliest_start(self) -> datetime:
        """The first instant at which the job may start: as its user lets it, and not within a pause after a failure."""
        return max(self.asked_start, self.retry_at or self.asked_start)

    @property
    def remaining(self) -> timedelta:
        """How much longer it is expected to run; once it was interrupted, what continuing costs is part of it.

        Where a power limit may be set for it, that includes what it takes longer under one, if its limits allow that.
        """
        return self.remaining_at_full_power + self.room_for_power_cap

    @property
    def remaining_at_full_power(self) -> timedelta:
        """How much longer it is expected to run if nothing limits the power of its GPUs."""
        if not self.progress:
            return self.spec.duration
        left = max(self.spec.duration - self.progress, timedelta(seconds=1))
        return left + self.spec.restart_cost

    @property
    def room_for_power_cap(self) -> timedelta:
        """How much longer than at full power plans let it take, so that its power limit may be lowered all the time.

        None at all where a limit of its user's leaves too little room for that: deadlines go before grams.
        """
        cap = self.spec.allowed_cap
        if cap is None or not cap.slowdown:
            return timedelta(0)
        room = cap.slowdown * self.remaining_at_full_power
        limit = self.own_limit
        if limit is not None and limit - self.earliest_start - self.remaining_at_full_power < room:
            return timedelta(0)
        if self.spec.time_limit is not None and self.remaining_at_full_power + room > self.spec.time_limit:
            return timedelta(0)
        return room

    def latest_end(self, default_max_delay: timedelta) -> datetime:
        """The last instant at which it should end: its tightest limit, else `default_max_delay` after the soonest."""
        if self.spec.start_now:
            return self.earliest_start + self.remaining
        return self.own_limit or self.asked_start + default_max_delay + self.spec.duration

    @property
    def own_limit(self) -> datetime | None:
        """The last instant at which it should end by the limits that its user set; None where there are none."""
        limits = [] if self.spec.finish_by is None else [self.spec.finish_by]
        if self.spec.max_delay is not None:
            limits.append(self.queued_since + self.spec.max_delay + self.spec.duration)
        return min(limits, default=None)

    def latest_start(self, default_max_delay: timedelta) -> datetime:
        """The last instant at which it should start so as to end, run in one piece, by its latest end."""
        return self.latest_end(default_max_delay) - self.remaining

    @property
    def has_limit(self) -> bool:
        """Whether the user set a limit (the default delay is greenrun's own, not a promise that can be missed)."""
        return self.spec.finish_by is not None or self.spec.max_delay is not None

    @property
    def expires(self) -> bool:
        """Whether it is not to start any more once its latest start has passed."""
        return self.spec.expire and not self.spec.start_now and not self.progress

    @property
    def limit_passes_at(self) -> datetime | None:
        """From when on a limit of the user's is missed by a job that has not started, or not ended; None without one.

        The start of a job that runs in one piece was in time, or not, once it runs.
        """
        limits = [] if self.spec.finish_by is None else [self.spec.finish_by]
        if self.spec.max_delay is not None and (self.spec.interruptible or self.state is State.QUEUED):
            takes = self.spec.duration if self.spec.interruptible else timedelta(0)
            limits.append(self.queued_since + self.spec.max_delay + takes)
        return min(limits, default=None)

    def has_missed_limit(self, now: datetime) -> bool:
        """Whether an unfinished job has missed a limit of its user's by now, whether it waits or runs."""
        return self.misses_limit(now if self.state is State.QUEUED else self.queued_since, now)

    def misses_limit(self, start: datetime, end: datetime) -> bool:
        """Whether running over `[start, end)` breaks a limit of the user's, by more than LIMIT_SLACK.

        A max delay bounds the start of a job that runs in one piece, and the end of one that is interruptible.
        """
        if self.spec.finish_by is not None and end > self.spec.finish_by + LIMIT_SLACK:
            return True
        if self.spec.max_delay is None:
            return False
        delay = end - self.spec.duration if self.spec.interruptible else start
        return delay > self.queued_since + self.spec.max_delay + LIMIT_SLACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a job. It is live until `outcome` is set; `devices` are UUIDs it alone holds meanwhile.

    `ran` is how long it ran by a clock that nobody can set, where that is known. `image` is which image its container
    was made of, by digest where that is known; None for one in no container.
    `work` is how much it last said to have done, in `work_unit`, at `work_at`; None as long as it said nothing.
    """

    id: int
    job_id: int
    number: int
    token: str
    devices: tuple[str, ...]
    claimed_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    ran: timedelta | None = None
    outcome: Outcome | None = None
    exit_code: int | None = None
    log: str | None = None
    image: str | None = None
    work: float | None = None
    work_unit: str | None = None
    work_at: datetime | None = None

    @property
    def length(self) -> timedelta:
        """How long it ran; nothing for one that is not known to have started or ended."""
        return length_of(self.started_at, self.ended_at, self.ran)

    @property
    def label(self) -> str:
        """`JOB.NUMBER`, as people and logs name it."""
        return f"{self.job_id}.{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestKey:
    """What a client calls a request of its, so that it may send it again, and a digest of all that it asks for."""

    key: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a change came from: the user, and the process at the other end of the socket or the address.

    Without a user it is what was refused to somebody who is not known.
    """

    uid: int | None = None
    pid: int | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """Jobs that a user asks for at an instant, to be accepted together or not at all; `key` names the request."""

    specs: Sequence[JobSpec]
    user: str
    uid: int
    now: datetime
    key: RequestKey | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A request that was accepted, and the jobs that it added, in their order."""

    request: RequestKey
    jobs: Sequence[Job]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change, with who and when. `detail` holds short facts, never secrets.

    What a user did has the user's `uid`, and the `pid` of the process that asked for it or the `address` it came from.
    `before` and `after` are the fields that changed, as they were and as they are from then on.
    """

    id: int
    at: datetime
    actor: str
    kind: str
    job_id: int | None
    run_id: int | None
    detail: Mapping[str, object]
    uid: int | None = None
    pid: int | None = None
    address: str | None = None
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None

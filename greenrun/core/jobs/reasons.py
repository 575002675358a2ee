"""Why a job waits, starts, ended or was refused: a code for programs and one sentence for people."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class ReasonCode(StrEnum):
    """Stable codes; metrics count them, `explain` prints the sentence."""

    CLEANEST_WINDOW = "cleanest_window"
    NOW_IS_CLEANEST = "now_is_cleanest"
    SHARED_WINDOW = "shared_window"
    CLEAN_ENOUGH = "clean_enough"
    NOT_WORTH_WAITING = "not_worth_waiting"
    ASKED_NOW = "asked_now"
    DUE = "due"
    SOONEST = "soonest"
    DEADLINE = "deadline"
    NO_FORECAST = "no_forecast"
    FORECAST_TOO_SHORT = "forecast_too_short"
    NO_LIMIT_LEFT = "no_limit_left"
    PROVISIONAL = "provisional"
    GPUS_BUSY = "gpus_busy"
    GIVES_WAY = "gives_way"
    GPUS_HELD_ELSEWHERE = "gpus_held_elsewhere"
    GPUS_USED_BY_OTHERS = "gpus_used_by_others"
    GPUS_LOST = "gpus_lost"
    DRAINED = "drained"
    EXCLUDED = "excluded"
    RESERVED = "reserved"
    TOO_FEW_GPUS = "too_few_gpus"
    NO_CPU_SLOTS = "no_cpu_slots"
    RESOURCES_BUSY = "resources_busy"
    POWER_CAP = "power_cap"
    TOO_MUCH_POWER = "too_much_power"
    HELD = "held"
    WAITS_FOR = "waits_for"
    ARRAY_FULL = "array_full"
    CANCEL_REQUESTED = "cancel_requested"
    RUNNING = "running"
    GOES_ON = "goes_on"
    SUSPENDED = "suspended"
    CHECKPOINTED = "checkpointed"
    CHECKPOINT_FAILED = "checkpoint_failed"
    NO_PROGRESS = "no_progress"
    SUCCEEDED = "succeeded"
    EXIT_CODE = "exit_code"
    SIGNALLED = "signalled"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    ANOMALOUS = "anomalous"
    DEPENDENCY_FAILED = "dependency_failed"
    EXPIRED = "expired"
    FAILED_TO_START = "failed_to_start"
    RETRYING = "retrying"
    RETRY_PAUSE = "retry_pause"
    UNREACHABLE = "unreachable"
    HOST_SHORT = "host_short"
    GPU_QUOTA = "gpu_quota"
    BUDGET_SPENT = "budget_spent"
    BUDGET_APPROVAL = "budget_approval"


# Why a job starts at once that no cleaner hour could be chosen for.
FORCED = (ReasonCode.DEADLINE, ReasonCode.NO_FORECAST, ReasonCode.FORECAST_TOO_SHORT, ReasonCode.NO_LIMIT_LEFT)

# Why a job starts that its user, or the site, did not want to wait for a cleaner hour.
WISHED = (ReasonCode.CLEAN_ENOUGH, ReasonCode.NOT_WORTH_WAITING, ReasonCode.ASKED_NOW)

SENTENCES: dict[ReasonCode, str] = {
    ReasonCode.CLEANEST_WINDOW: "waits for the cleanest free window before its latest start: {window}, {below}",
    ReasonCode.NOW_IS_CLEANEST: "now is the cleanest free window before its latest start: {window}",
    ReasonCode.SHARED_WINDOW: (
        "cleaner hours go to jobs, queued or expected, that gain more from them or come first; "
        "this window has {window}, {below}"
    ),
    ReasonCode.CLEAN_ENOUGH: "the grid is clean enough: {window} is not above its run-below of {limit}",
    ReasonCode.NOT_WORTH_WAITING: "waiting would save {saving}, less than the {limit} it asks for",
    ReasonCode.ASKED_NOW: "its user asked for a start as soon as GPUs are free",
    ReasonCode.DUE: "its planned window has come: {window}",
    ReasonCode.SOONEST: "starts as soon as GPUs are free, so that every limit in the queue can be met",
    ReasonCode.DEADLINE: "its latest start of {latest} cannot be met any more, so it starts as soon as GPUs are free",
    ReasonCode.NO_FORECAST: "there is no carbon-intensity forecast, so it starts as soon as GPUs are free",
    ReasonCode.FORECAST_TOO_SHORT: (
        "the forecast covers no free window of {duration} before its latest start, "
        "so it starts as soon as GPUs are free"
    ),
    ReasonCode.NO_LIMIT_LEFT: (
        "it has waited as long as a job without limits may, until {latest}, so it starts as soon as GPUs are free"
    ),
    ReasonCode.PROVISIONAL: "has this place beside the present ones of others until a plan is made in which they move",
    ReasonCode.GPUS_BUSY: "waits for {what}, expected at {at}{holders}: {why}",
    ReasonCode.GIVES_WAY: "starts at {at}: any sooner, {jobs} would miss a limit; {why}",
    ReasonCode.GPUS_HELD_ELSEWHERE: "waits for GPUs that are held outside this daemon: {who}",
    ReasonCode.GPUS_USED_BY_OTHERS: "needs {needs} and {have}: {who}",
    ReasonCode.GPUS_LOST: "needs {needs} and {have}: {who}",
    ReasonCode.RESERVED: "{what}: {who}; {why}",
    ReasonCode.EXCLUDED: "needs {needs} and {have}: {who}",
    ReasonCode.DRAINED: "needs {needs} and {have}: {who}",
    ReasonCode.TOO_FEW_GPUS: "needs {gpus} and this machine has {have}",
    ReasonCode.NO_CPU_SLOTS: "needs a CPU slot and [devices] cpu_slots is 0",
    ReasonCode.RESOURCES_BUSY: (
        "waits for {asked}: jobs that run have been given {given} of the {total} that this machine has"
    ),
    ReasonCode.POWER_CAP: "{what} until {at}: {why}",
    ReasonCode.TOO_MUCH_POWER: "{needs}, and {cap}",
    ReasonCode.HELD: "held by {who}; `greenrun release {job}` lets it go",
    ReasonCode.WAITS_FOR: "waits for job {job} {ending}{planned}",
    ReasonCode.ARRAY_FULL: "waits for its turn: at most {limit} jobs of its array may run at once",
    ReasonCode.CANCEL_REQUESTED: "is being cancelled on request",
    ReasonCode.RUNNING: "runs since {at} on {devices}: {why}",
    ReasonCode.GOES_ON: "goes on: to suspend it now would gain less than what a restart costs, or miss its limit",
    ReasonCode.SUSPENDED: "suspended until {at}: {window} then, {now} now",
    ReasonCode.CHECKPOINTED: "checkpointed after {time}; continues in a later window",
    ReasonCode.CHECKPOINT_FAILED: "was asked to checkpoint and {how}",
    ReasonCode.NO_PROGRESS: "checkpointed {count} times in a row without getting past what continuing costs, {cost}",
    ReasonCode.SUCCEEDED: "finished with exit code 0",
    ReasonCode.EXIT_CODE: "its command ended with {code}",
    ReasonCode.SIGNALLED: "its command was ended by {signal}",
    ReasonCode.OUT_OF_MEMORY: "{why}: {killed}, and its command ended {ended}",
    ReasonCode.TIMED_OUT: "reached its time limit of {limit} and was stopped",
    ReasonCode.LOST: "{why}, so its exit code is unknown",
    ReasonCode.INTERRUPTED: "was interrupted: {why}",
    ReasonCode.CANCELLED: "cancelled on request",
    ReasonCode.ANOMALOUS: "stopped on {anomaly}, as its user had asked: {why}",
    ReasonCode.DEPENDENCY_FAILED: "was to run once job {job} had succeeded, and job {job} has {ended}",
    ReasonCode.EXPIRED: "could not start by {latest} and asked not to start later",
    ReasonCode.FAILED_TO_START: "could not be started: {why}",
    ReasonCode.RETRYING: "run {number} failed ({why}); {left} left",
    ReasonCode.RETRY_PAUSE: (
        "run {number} failed ({why}); it is tried again at {at} at the soonest, after a pause of {pause} "
        "because {quick}; {left} left after that"
    ),
    ReasonCode.HOST_SHORT: (
        "is not started for now, because this machine is short of {what}; no attempt was spent, "
        "and greenrun tries again at {at}"
    ),
    ReasonCode.GPU_QUOTA: (
        "waits for its turn: jobs of {owner} may hold {limit} at once, {taken} are held or kept for jobs before it, "
        "and it needs {needs}"
    ),
    ReasonCode.BUDGET_SPENT: "waits until {at}, when the budget of {owner} begins anew: {left}{risk}",
    ReasonCode.BUDGET_APPROVAL: (
        "waits for an admin to let it go over the budget of {owner} (`greenrun approve {job}`), or until {at}, "
        "when that begins anew: {left}{risk}"
    ),
    ReasonCode.UNREACHABLE: "its executor cannot be reached ({why}); greenrun waits and starts nothing in its place",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """A code and the sentence that goes with it."""

    code: ReasonCode
    text: str


class DeferredReason(Reason):
    """A reason that is worked out when it is first asked for, and then kept; equal to any reason that says the same."""

    __slots__ = ("_known",)
    _known: Reason | Callable[[], Reason]

    def __init__(self, work_out: Callable[[], Reason]) -> None:
        object.__setattr__(self, "_known", work_out)

    @property
    def code(self) -> ReasonCode:
        """Its code."""
        return self.known.code

    @property
    def text(self) -> str:
        """Its sentence."""
        return self.known.text

    @property
    def known(self) -> Reason:
        """Work it out, unless that has been done."""
        found = self._known
        if not isinstance(found, Reason):
            found = found()
            object.__setattr__(self, "_known", found)
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reason) and (self.code, self.text) == (other.code, other.text)

    def __hash__(self) -> int:
        return hash(self.known)

    def __repr__(self) -> str:
        return repr(self.known)

    def __reduce__(self) -> tuple[type[Reason], tuple[ReasonCode, str]]:
        return Reason, (self.code, self.text)


class DeferredSentence(DeferredReason):
    """A deferred reason of which the code is known already."""

    __slots__ = ("_code",)
    _code: ReasonCode

    def __init__(self, code: ReasonCode, work_out: Callable[[], Reason]) -> None:
        super().__init__(work_out)
        object.__setattr__(self, "_code", code)

    @property
    def code(self) -> ReasonCode:
        """Its code."""
        return self._code


def because(code: ReasonCode, /, **details: object) -> Reason:
    """Return the reason with its sentence filled in; a missing detail is a KeyError, found by the tests."""
    return Reason(code, SENTENCES[code].format(**details))

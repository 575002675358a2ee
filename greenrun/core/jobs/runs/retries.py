"""Whether a failed run is followed by another one, and after which pause: quick failures are tried again ever later."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from greenrun.core.formatting import count_text, duration_text, instant_text
from greenrun.core.jobs.job import Job, Outcome, Run
from greenrun.core.jobs.reasons import Reason, ReasonCode, because

FAILURES = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST, Outcome.INTERRUPTED})

# The steps of Kubernetes for containers that crash: 10 s, twice as long each time, at most 5 minutes, and from the
# beginning again after a run of 10 minutes.
QUICK = timedelta(minutes=10)  # a run that fails sooner is followed by a pause
FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(minutes=5)
TOO_LONG = LONGEST_PAUSE + timedelta(minutes=1)  # what is left of a pause only where the clock was set back since

_OWN_FAULT = FAILURES - {Outcome.INTERRUPTED}  # a machine that restarted says nothing of what the next run will do
_BY_CODE = frozenset({Outcome.FAILED, Outcome.TIMED_OUT})  # a lost or interrupted run has no exit code to go by


def since_requeue(job: Job, runs: Sequence[Run]) -> list[Run]:
    """Return those runs that count for the job's retries: after a requeue they are counted from the beginning.

    They are told by their numbers: instants of a clock that was set back in between would count earlier runs again.
    """
    return [run for run in runs if run.number >= job.counted_from]


def retries_left(job: Job, outcome: Outcome, exit_code: int | None, earlier: Sequence[Run]) -> int:
    """Return how many runs may still follow one that ended like this; 0 for what its user does not want retried."""
    if outcome not in FAILURES or job.cancel_requested:
        return 0
    if job.spec.retry_on and outcome in _BY_CODE and exit_code not in job.spec.retry_on:
        return 0
    failures = sum(run.outcome in FAILURES for run in earlier)
    return max(0, job.spec.retries - failures)


def pause_after(outcome: Outcome, ran: timedelta, earlier: Sequence[Run]) -> tuple[timedelta, int]:
    """Return how long to wait after a failure, and how many quick ones in a row that is with it.

    `ran` is how long it ran, `earlier` the runs before it, in order.
    """
    if outcome not in _OWN_FAULT or ran >= QUICK:
        return timedelta(0), 0
    quick = 1 + sum(1 for _ in takewhile(_failed_quickly, reversed(earlier)))
    return min(FIRST_PAUSE * 2 ** min(quick - 1, 16), LONGEST_PAUSE), quick


def again(run: Run, why: Reason, left: int, pause: timedelta, quick: int, at: datetime) -> Reason:
    """Return why a job waits for its next run, which begins at `at` at the soonest; `left` retries follow that one."""
    retries = f"{count_text(left, 'retry', 'retries')} {'is' if left == 1 else 'are'}"
    if not pause:
        return because(ReasonCode.RETRYING, number=run.number, why=why.text, left=retries)
    return because(
        ReasonCode.RETRY_PAUSE,
        number=run.number,
        why=why.text,
        at=instant_text(at),
        pause=duration_text(pause),
        quick="it failed soon" if quick == 1 else f"{count_text(quick, 'run')} in a row failed soon",
        left=retries,
    )


def pausing(job: Job, now: datetime) -> Reason | None:
    """Return why a queued job may not run before its pause is over; None when none is left."""
    if job.retry_at is None or now >= job.retry_at:
        return None
    if job.reason is not None and job.reason.code is ReasonCode.RETRY_PAUSE:
        return job.reason
    sentence = f"its last run failed soon, so it is tried again at {instant_text(job.retry_at)} at the soonest"
    return Reason(ReasonCode.RETRY_PAUSE, sentence)


def after_pause(reason: Reason) -> Reason:
    """Return why a job is started that was placed for this reason: a pause that is over is none any more."""
    if reason.code is not ReasonCode.RETRY_PAUSE:
        return reason
    return Reason(ReasonCode.RETRYING, "it is tried again, as the pause after its last failure is over")


def _failed_quickly(run: Run) -> bool:
    return run.outcome in _OWN_FAULT and run.length < QUICK

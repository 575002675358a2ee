"""Each job's window of starts, tightened: a margin for longer runs, predecessors, and pinned starts."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.dependencies import in_order, predecessors
from greenrun.core.jobs.job import DurationSource, Job
from greenrun.core.planning.candidates import Demands
from greenrun.core.planning.model import Situation

MARGIN_RATIO = {  # of the duration; a learned one is a high quantile already, a default one fits nobody
    DurationSource.GIVEN: 0.0,
    DurationSource.LEARNED: 0.1,
    DurationSource.DEFAULT: 0.25,
}


def margin(duration: timedelta, source: DurationSource) -> timedelta:
    """Return how much longer than expected a job may well take: none where its user stated the duration."""
    return duration * MARGIN_RATIO[source]


def safe_latest_start(latest_start: datetime, duration: timedelta, source: DurationSource, now: datetime) -> datetime:
    """Return the last instant at which to start so as to end in time also when the job takes its margin longer.

    Never before `now` unless `latest_start` is itself: a margin that is used up makes a job start at once, and never
    makes one late that can still end in time. For jobs with a limit of their user's; the default delay is no promise.
    """
    return max(latest_start - margin(duration, source), min(now, latest_start))


After = Mapping[int, tuple[int, ...]]  # by row, the rows that it comes after


def released(
    jobs: Sequence[Job], situation: Situation, release_s: Floats, lengths_s: Sequence[float], after: After
) -> Floats:
    """Return the earliest starts, shape (n,): not before what a job waits for can have ended."""
    earliest_s = release_s.copy()
    for row, job in enumerate(jobs):
        ids = predecessors(job, situation.states) if job.spec.after else ()
        ends_s = [situation.ends[job_id].timestamp() for job_id in ids if job_id in situation.ends]
        earliest_s[row] = max([earliest_s[row], *ends_s])
    for row in in_order(range(len(jobs)), after):
        earliest_s[row] = max(
            [earliest_s[row], *(earliest_s[other] + lengths_s[other] for other in after.get(row, ()))]
        )
    return earliest_s


def with_slack(
    jobs: Sequence[Job], release_s: Floats, latest_s: Floats, lengths_s: Sequence[float], after: After
) -> Floats:
    """Return the latest starts, shape (n,), that leave room for longer runs and for the limits of what comes after.

    Greenrun's own default delay asks for no room: what waits for others was delayed enough by them.
    """
    early_s, strict = latest_s.copy(), set[int]()
    for row in reversed(in_order(range(len(jobs)), after)):
        job = jobs[row]
        if job.has_limit and not job.spec.start_now:
            early_s[row] = min(early_s[row], _safe_s(job, release_s[row], latest_s[row], lengths_s[row]))
            strict.add(row)
        early_s[row] = max(early_s[row], release_s[row])
        for other in after.get(row, ()) if row in strict else ():
            early_s[other] = min(early_s[other], early_s[row] - lengths_s[other])
            strict.add(other)
    return early_s


def pinned(demands: Demands, pins: Mapping[int, float], overdue: Collection[int], after: After) -> Floats:
    """Return the latest starts, shape (n,), with rows held to these pins, and what they wait for to what that takes.

    A row that is `overdue` has no limit of its own left, so its pin is its limit.
    """
    early_s, held = demands.latest_s.copy(), set(pins)
    for row in reversed(in_order(range(len(early_s)), after)):
        pin_s = pins.get(row, early_s[row])
        early_s[row] = max(demands.release_s[row], pin_s if row in overdue else min(early_s[row], pin_s))
        for other in after.get(row, ()) if row in held else ():
            early_s[other] = min(early_s[other], early_s[row] - demands.length_s[other])
            held.add(other)
    return early_s


def _safe_s(job: Job, release_s: float, latest_s: float, length_s: float) -> float:
    if job.spec.duration_source is DurationSource.GIVEN:
        return latest_s
    latest, release = (datetime.fromtimestamp(at_s, UTC) for at_s in (latest_s, release_s))
    safe = safe_latest_start(latest, timedelta(seconds=length_s), job.spec.duration_source, release)
    return latest_s - (latest - safe).total_seconds()

"""How much earlier than its last possible start a job should start, because nobody knows exactly how long it takes."""

from datetime import datetime, timedelta

from greenrun.core.jobs.job import DurationSource

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

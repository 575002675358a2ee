"""What a job was promised: less carbon may put it off, but not again and again past the place that it was given first.

The promise is kept in the placement itself, so that it comes out of the last plan like all else that is decided before.
It is kept by the start of a job that runs in one piece, and by the end of one that may be suspended.
"""

from collections.abc import Sequence

from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.model import MOVED, Interval, Placement, Situation

MOST_PUT_OFFS = 8  # from then on the place told last holds, unless limits or a lack of GPUs forbid it

_HAS_RUN = frozenset({ReasonCode.CHECKPOINTED, ReasonCode.RETRYING})


def promise(job: Job, situation: Situation, place: Interval) -> tuple[Interval | None, int]:
    """Return where a queued job was first planned, and how often it was put off since, now that this is its place.

    It is put off when it ends later than it was first to, and later than the last plan told. A job that is to start at
    once was promised nothing; one that has run since begins anew.
    """
    if job.spec.start_now:
        return None, 0
    told = _told(job, situation)
    if told is None or told.promised is None:
        return place, 0
    return told.promised, told.put_offs + (place[1] > max(told.end, told.promised[1]) + MOVED)


def pins(jobs: Sequence[Job], situation: Situation, lengths_s: Sequence[float]) -> dict[int, float]:
    """Return by index the latest start, in epoch seconds, of each queued job that was put off often enough."""
    found = {}
    for row, job in enumerate(jobs):
        told = _told(job, situation)
        if told is None or told.promised is None or told.put_offs < MOST_PUT_OFFS:
            continue
        start, end = (max(pair).timestamp() for pair in zip((told.start, told.end), told.promised, strict=True))
        found[row] = end - lengths_s[row] if job.spec.interruptible else start
    return found


def _told(job: Job, situation: Situation) -> Placement | None:
    """Return the job's last place, unless it has run since or is to start at once."""
    if job.spec.start_now or situation.last is None or (job.reason and job.reason.code in _HAS_RUN):
        return None
    return situation.last.placement(job.id)

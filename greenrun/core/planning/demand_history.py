"""What usually arrives here, learned from what was submitted."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from greenrun.core.jobs.job import Job
from greenrun.core.planning.demand import Arrivals, PastJob, learn_arrivals
from greenrun.core.planning.model import Options
from greenrun.core.planning.problem import watts_of

SHORTEST = timedelta(days=28)  # arrivals learned within the same week did harm: there is more of one thing by chance
MEMORY = timedelta(days=56)
FEWEST, MOST = 100, 20_000  # jobs to learn from


def usual_arrivals(jobs: Sequence[Job], now: datetime, options: Options) -> Arrivals:
    """Learn from jobs submitted within `MEMORY` before `now`; nothing before they are many and of some weeks.

    Their lengths are as expected at submission, as those of the jobs are that they compete with. An array is taken for
    what its jobs would be, spread over the time.
    """
    known = [job for job in jobs if now - MEMORY <= job.submitted_at <= now]
    if len(known) < FEWEST or now - min(job.submitted_at for job in known) < SHORTEST:
        return ()
    first = min(job.submitted_at for job in known)
    return learn_arrivals([_past(job, options) for job in known], (now - first).total_seconds())


def _past(job: Job, options: Options) -> PastJob:
    wait = job.latest_start(options.default_max_delay) - job.earliest_start
    return PastJob(
        submitted_s=job.submitted_at.timestamp(),
        length_s=job.spec.duration.total_seconds(),
        gpus=job.spec.gpus,
        watts=watts_of(job, options.gpu_power_w),
        wait_s=max(0.0, wait.total_seconds()),
    )

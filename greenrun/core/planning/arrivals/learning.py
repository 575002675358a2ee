"""Expected arrivals: jobs that are not here yet, learned from those of the past as a fluid.

A plan that fills every clean hour with the jobs at hand leaves none to those of the next hours. So classes of jobs by
length, with their mean demand for GPUs, take part in the search for prices, and room is held for them (response.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from greenrun.core.jobs.job import Job
from greenrun.core.planning.formulation import watts_of
from greenrun.core.planning.model import Arrivals, JobClass, Options

CLASSES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PastJob:
    """A job as it once arrived: when, in epoch seconds, and what it asked for; it could be put off by `wait_s`."""

    submitted_s: float
    length_s: float
    gpus: int
    watts: float
    wait_s: float


def learn_arrivals(past: Sequence[PastJob], span_s: float) -> Arrivals:
    """Learn the expected arrivals from all GPU jobs submitted over `span_s`; nothing from none.

    The classes split the jobs by length such that each asked for about the same GPU time.
    """
    jobs = sorted((job for job in past if job.gpus > 0 and job.length_s > 0), key=lambda job: job.length_s)
    if not jobs or span_s <= 0:
        return ()
    gpus = np.array([job.gpus for job in jobs], dtype=np.float64)
    length_s, watts, wait_s = (
        np.array([getattr(job, name) for job in jobs]) for name in ("length_s", "watts", "wait_s")
    )
    time_s = np.cumsum(gpus * length_s)
    label = np.minimum((time_s / time_s[-1] * CLASSES * (1 - 1e-12)).astype(np.int64), CLASSES - 1)
    return tuple(
        JobClass(
            length_s=float(np.average(length_s[mine], weights=gpus[mine])),
            wait_s=float(np.average(wait_s[mine], weights=gpus[mine])),
            gpus_per_s=float(gpus[mine].sum() / span_s),
            watts_per_gpu=float(watts[mine].sum() / gpus[mine].sum()),
        )
        for mine in (label == index for index in range(CLASSES))
        if mine.any()
    )


SHORTEST = timedelta(days=28)  # arrivals learned within the same week did harm: there is more of one thing by chance
MEMORY = timedelta(days=56)
FEWEST, MOST = 100, 20_000  # jobs to learn from


def expected_arrivals(jobs: Sequence[Job], now: datetime, options: Options) -> Arrivals:
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

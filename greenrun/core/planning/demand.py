"""Jobs that are not here yet: what usually arrives, as fractions of jobs that press on the prices and hold no GPU.

A plan that fills every clean hour with the jobs at hand leaves none to those of the next hours. So classes of jobs by
length, with their mean demand for GPUs, take part in the search for prices as a fluid; no capacity is kept for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenrun.core.planning.candidates import Demands

CLASSES = 8
EVERY_S = 3600.0
AHEAD_S = 48 * 3600.0  # arrivals later than this do not change what is best now


@dataclass(frozen=True, slots=True, kw_only=True)
class PastJob:
    """A job as it once arrived: when, in epoch seconds, and what it asked for; it could be put off by `wait_s`."""

    submitted_s: float
    length_s: float
    gpus: int
    watts: float
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobClass:
    """Jobs of about one length; `gpus_per_s` is how many GPUs they ask for, per second, on the mean."""

    length_s: float
    wait_s: float
    gpus_per_s: float
    watts_per_gpu: float


Arrivals = tuple[JobClass, ...]


def learn_arrivals(past: Sequence[PastJob], span_s: float) -> Arrivals:
    """Learn the usual arrivals from all GPU jobs submitted over `span_s`; nothing from none.

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


def expected_demands(arrivals: Arrivals, now_s: float, pools: tuple[int, ...]) -> Demands:
    """Return a row for each class and hour to come: the GPUs it is expected to ask for, from the hour's middle on."""
    starts_s = now_s + EVERY_S * (np.arange(int(AHEAD_S / EVERY_S)) + 0.5)
    rows = len(starts_s)
    release_s = np.tile(starts_s, len(arrivals))
    length_s, wait_s, gpus, watts = (
        np.repeat(np.array([getattr(one, name) for one in arrivals]), rows)
        for name in ("length_s", "wait_s", "gpus_per_s", "watts_per_gpu")
    )
    units = gpus * EVERY_S
    return Demands(
        release_s=release_s,
        latest_s=release_s + wait_s,
        length_s=length_s,
        units=units,
        watts=units * watts,
        pools=(pools,) * len(release_s),
    )

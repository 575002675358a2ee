"""What the same runs would have emitted, had each job started as soon as it could on the same GPUs.

The rule is first come, first served: jobs take their turn by the instant from which they could start (submission,
start-after, the end of what they wait for), each waits until the GPUs that it truly had are free of those before it,
and its runs follow one another without a pause. So no GPU is held twice, here as little as in truth.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenrun.core.intensity import Floats, Series, SeriesId

UNSETTLED = -1  # in place of a series' index


@dataclass(frozen=True, slots=True, kw_only=True)
class Stint:
    """A run that ended, in epoch seconds; its first `loads_s` went by on loading what an interruption had saved."""

    run_id: int
    devices: tuple[str, ...]
    start_s: float
    end_s: float
    loads_s: float = 0.0

    @property
    def resumes_s(self) -> float:
        """When it began to do what it would have done without the interruption."""
        return min(self.start_s + self.loads_s, self.end_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A job that takes its turn: from when it could start, what it had to wait for, and its runs in order."""

    job_id: int
    ready_s: float
    after: tuple[int, ...] = ()
    stints: tuple[Stint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Profile:
    """The slices of runs as arrays of shape (n,): whose, when (epoch seconds), facility energy, settled grams.

    `series_index` points into `series`, or is UNSETTLED. What is not known is NaN.
    """

    run_ids: NDArray[np.int64]
    starts_s: Floats
    ends_s: Floats
    facility_kwh: Floats
    settled_g: Floats
    series_index: NDArray[np.int64]
    series: tuple[SeriesId, ...]


def as_soon_as_possible(turns: Sequence[Turn]) -> dict[int, float]:
    """Return when each run would have resumed, in epoch seconds; jobs that wait for one not listed wait for nothing."""
    by_id = {turn.job_id: turn for turn in turns}
    waits_for = {turn.job_id: {key for key in turn.after if key in by_id and key != turn.job_id} for turn in turns}
    waiting: defaultdict[int, list[int]] = defaultdict(list)
    for job_id, keys in waits_for.items():
        for key in keys:
            waiting[key].append(job_id)
    ready_s = {turn.job_id: turn.ready_s for turn in turns}
    queue = [(turn.ready_s, turn.job_id) for turn in turns if not waits_for[turn.job_id]]
    heapq.heapify(queue)
    free_s: dict[str, float] = {}
    begun: dict[int, float] = {}
    while queue:
        at_s, job_id = heapq.heappop(queue)
        end_s = _serve(by_id[job_id], at_s, free_s, begun)
        for later in waiting[job_id]:
            ready_s[later] = max(ready_s[later], end_s)
            waits_for[later].discard(job_id)
            if not waits_for[later]:
                heapq.heappush(queue, (ready_s[later], later))
    return begun


def baseline_g(profile: Profile, moved_s: Floats, measured: Mapping[SeriesId, Series]) -> Floats:
    """Return what each slice would have emitted, had it been `moved_s` later (shape (n,), negative: earlier), in grams.

    It is priced with the series that settled it, and no other: NaN where that does not cover it, or nothing settled it.
    """
    grams = np.full(len(profile.run_ids), np.nan)
    for index, series_id in enumerate(profile.series):
        mine = profile.series_index == index
        if series_id in measured and mine.any():
            starts_s = profile.starts_s[mine] + moved_s[mine]
            lengths_s = profile.ends_s[mine] - profile.starts_s[mine]
            means = measured[series_id].means_between(starts_s, starts_s + lengths_s)
            grams[mine] = profile.facility_kwh[mine] * means
    return grams


def _serve(turn: Turn, ready_s: float, free_s: dict[str, float], begun: dict[int, float]) -> float:
    """Let a job's runs follow one another, and return when the last would have ended."""
    at_s = ready_s
    for stint in turn.stints:
        at_s = max([at_s, *(free_s.get(device, at_s) for device in stint.devices)])
        begun[stint.run_id] = at_s
        at_s += stint.end_s - stint.resumes_s
        free_s |= dict.fromkeys(stint.devices, at_s)
    return at_s

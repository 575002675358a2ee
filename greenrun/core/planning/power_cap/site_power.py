"""What a site may draw by the clock, and what counts towards that: its host, its idle GPUs, and each job's own GPUs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil, fsum

from greenrun.core.accounting.weekly import WEEK_MIN, Weekly
from greenrun.core.formatting import instant_text, power_text
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import Reason, ReasonCode, because

UNKNOWN_GPU_W = 1000.0  # a GPU that does not tell its limit counts as this: no board on the market draws more alone
UNCAPPED_MW = 10**12  # where there is no cap: a gigawatt
MW = 1000  # milliwatts: whole numbers, so that what is taken and given back leaves nothing behind
_LEAST_AHEAD = timedelta(days=15)  # a week from anywhere in one week, and then one to spare
MOST_AHEAD = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePower:
    """The cap in watts by the clock, and what each device draws, in watts by its id.

    `host_w` is what the site states that the machine draws beside its GPUs. `idle_w` is what each GPU was learned to
    draw while nobody holds it (nothing where that is not known yet), `limit_w` its own limit. `drawn_w` is expected of
    the GPUs in use, be it by runs that stay where they are or by others; one that is missing there counts with its
    limit. `seen_w` is what jobs are expected to draw that run, or have run, by their id.
    """

    cap: Weekly
    host_w: float = 0.0
    idle_w: Mapping[str, float] = field(default_factory=dict)
    limit_w: Mapping[str, float] = field(default_factory=dict)
    drawn_w: Mapping[str, float] = field(default_factory=dict)
    seen_w: Mapping[int, float] = field(default_factory=dict)

    def idle_of(self, device: str) -> float:
        """Return what a GPU draws that nobody holds, in watts; never more than its limit."""
        return min(self.idle_w.get(device, 0.0), self.limit_of(device))

    def limit_of(self, device: str) -> float:
        """Return the most that a GPU draws, in watts."""
        return self.limit_w.get(device) or UNKNOWN_GPU_W

    def base_w(self, devices: Collection[str]) -> float:
        """Return what the host and all GPUs draw with nothing running."""
        return self.host_w + fsum(self.idle_of(device) for device in devices)

    def held_mw(self, device: str) -> int:
        """Return how much more a GPU in use draws than an idle one, in milliwatts."""
        return whole_mw(self.drawn_w.get(device, self.limit_of(device)) - self.idle_of(device))

    def watts_of(self, job: Job, devices: Sequence[str]) -> float:
        """Return what a job's GPUs draw, if they are some of these: its own figure, else their limit."""
        if job.id in self.seen_w:
            return self.seen_w[job.id]
        stated = job.spec.power_w
        return max(map(self.limit_of, devices), default=0.0) * job.spec.gpus if stated is None else stated

    def need_mw(self, job: Job, devices: Sequence[str]) -> int:
        """Return how much more is drawn with a job on some of these GPUs than without it, in milliwatts."""
        if not job.spec.gpus:
            return 0
        idle = min(map(self.idle_of, devices), default=0.0) * job.spec.gpus
        return whole_mw(self.watts_of(job, devices) - idle)

    def most_w(self) -> float | None:
        """Return the highest cap of the week; None where there is a time without one."""
        values = [value for value in self.cap.values if value is not None]
        return max(values) if len(values) == len(self.cap.values) else None

    def ahead(self, jobs: Sequence[Job], devices: Sequence[str]) -> timedelta:
        """Return how far ahead the cap matters: twice what the jobs take one after another under the mean cap."""
        if not jobs:
            return _LEAST_AHEAD
        base_w, most_w = self.base_w(devices), fsum(map(self.limit_of, devices))
        ends = (*self.cap.starts_min[1:], WEEK_MIN)
        free = [
            (end - start) * max(0.0, min(most_w, most_w if value is None else value - base_w))
            for start, end, value in zip(self.cap.starts_min, ends, self.cap.values, strict=True)
        ]
        mean_w = max(1.0, fsum(free) / WEEK_MIN)
        longest = max(job.remaining for job in jobs)
        work_ws = fsum(self.need_mw(job, devices) / MW * job.remaining.total_seconds() for job in jobs)
        return min(MOST_AHEAD, _LEAST_AHEAD + 2 * longest + timedelta(seconds=2 * work_ws / mean_w))

    def caps(self, start: datetime, end: datetime) -> list[tuple[float, float, int]]:
        """Return `(start, end, mw)`, in epoch seconds, for each time of `[start, end)` that has a cap."""
        steps = self.cap.steps(start, end)
        columns = (steps.starts_s.tolist(), steps.ends_s.tolist(), steps.values.tolist())
        return [(begin_s, end_s, int(watts * MW)) for begin_s, end_s, watts in zip(*columns, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePowerState:
    """The cap now, what is expected to be drawn under it and what was measured in the last half minute, in watts.

    None where there is no cap, and where a GPU that counts was not measured. `above_since` is since when more than the
    cap is drawn, without a break, `above_s` for how long that was so in all.
    """

    has_cap: bool = False
    cap_w: float | None = None
    expected_w: float | None = None
    measured_w: float | None = None
    above_since: datetime | None = None
    above_s: float = 0.0


def power_reason(
    site: SitePower, *, needs_w: float, left_w: float, at: datetime, until: datetime, runs: bool
) -> Reason:
    """Return why a job waits, or is suspended, for want of power at an instant; watts are beside those of idle GPUs."""
    cap_w = site.cap.at(at)
    cap = "the site's power cap" if cap_w is None else f"the site's power cap of {power_text(cap_w)}"
    return because(
        ReasonCode.POWER_CAP,
        what="suspended" if runs else "waits for power",
        at=instant_text(until),
        why=f"it draws {power_text(needs_w)} more than idle GPUs do, and {cap} leaves {power_text(left_w)} before that",
    )


def whole_mw(watts: float) -> int:
    """Return watts as whole milliwatts, rounded up; nothing below zero."""
    return max(0, ceil(watts * MW - 1e-6))

"""Whether the power limit of a run's GPUs is to be lowered now: in dirty hours, where no limit is missed for it.

Whether limits are kept is judged as if it stayed lowered to the end of the run, so that they are also kept if nobody is
there to raise it again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from greenrun.core.energy.power_limit import LimitEnd, LimitPeriod
from greenrun.core.formatting import intensity_text
from greenrun.core.jobs.job import Job, Run
from greenrun.core.planning.model import Placement, Plan
from greenrun.core.planning.power_capping.dirty_hours import DirtyHours

OVERDUE = 0.1  # of its duration is what a run is expected to take on that has taken longer than expected
NEAR = timedelta(minutes=1)


class CappingCode(StrEnum):
    """Why a power limit is lowered or not."""

    DIRTY = "dirty"
    CLEAN = "clean"
    NO_FORECAST = "no_forecast"
    OWN_LIMIT = "own_limit"
    TIME_LIMIT = "time_limit"
    OTHERS = "others"
    ENDING = "ending"
    NOT_OURS = "not_ours"
    SHARED = "shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capping:
    """What is wanted of a run's power limit now, and why. With `is_urgent` it is not to wait for its turn to change."""

    is_on: bool
    code: CappingCode
    why: str
    is_urgent: bool = False
    intensity_g_per_kwh: float | None = None
    threshold_g_per_kwh: float | None = None


def capping(
    job: Job,
    run: Run,
    hours: DirtyHours | None,
    periods: Sequence[LimitPeriod],
    *,
    slowdown: float,
    plan: Plan,
    queued: Mapping[int, Job],
    now: datetime,
) -> Capping:
    """Say whether the power limit of a run is to be lowered at `now`.

    `periods` are those in which it was, `slowdown` is the most that it costs, `queued` are the jobs that wait.
    """
    if any(period.end is LimitEnd.LEFT for period in periods):
        why = "somebody else has changed the power limit of its GPUs meanwhile, which is left as it is"
        return Capping(is_on=False, code=CappingCode.NOT_OURS, why=why)
    intensity = hours.intensity_at(now) if hours else None
    if hours is None or intensity is None:
        why = "the carbon intensity of the hours ahead is not known"
        return Capping(is_on=False, code=CappingCode.NO_FORECAST, why=why)
    value, facts = intensity_text(intensity, hours.outlook.id.signal), (intensity, hours.above_g_per_kwh)
    if not hours.is_dirty(now):
        return _capping(CappingCode.CLEAN, f"{value} is not above {hours.threshold_text}", facts)
    started = run.started_at or run.claimed_at
    end, at_full_power = _ends(job, started, periods, slowdown, now)
    if job.cancel_requested:
        return _capping(CappingCode.ENDING, "it is about to end", facts)
    if job.spec.time_limit is not None and end > started + job.spec.time_limit:
        return _capping(CappingCode.TIME_LIMIT, "it would be stopped at its time limit", facts, is_urgent=True)
    if job.misses_limit(started, end):
        return _capping(CappingCode.OWN_LIMIT, "it might miss its limit", facts, is_urgent=True)
    is_on = any(period.until is None for period in periods)
    if late := _made_late(plan, queued, end, at_full_power, is_on=is_on):
        return _capping(CappingCode.OTHERS, f"job {late} might miss its limit", facts, is_urgent=True)
    return _capping(CappingCode.DIRTY, f"{value} is above {hours.threshold_text}", facts)


def lost_time(periods: Sequence[LimitPeriod], slowdown: float, now: datetime) -> timedelta:
    """Return by how much a run is behind what it would have done at full power, after these periods."""
    spans: list[tuple[datetime, datetime]] = []
    for period in sorted((row for row in periods if row.kept_at), key=lambda row: row.kept_at or now):
        start, end = period.kept_at or now, period.until or now
        if spans and start <= spans[-1][1]:  # another of its GPUs, at the same time
            spans[-1] = spans[-1][0], max(end, spans[-1][1])
        elif end > start:
            spans.append((start, end))
    lowered = sum((end - start for start, end in spans), timedelta(0))
    return lowered * (slowdown / (1 + slowdown))


def _ends(
    job: Job, started: datetime, periods: Sequence[LimitPeriod], slowdown: float, now: datetime
) -> tuple[datetime, datetime]:
    """Return when a run ends at the latest under a limit to its end, and when at full power from now on."""
    whole = job.remaining_at_full_power
    done = now - started - lost_time(periods, slowdown, now)
    left = whole - done if whole > done else OVERDUE * whole
    return now + left * (1 + slowdown), now + left


def _made_late(
    plan: Plan, queued: Mapping[int, Job], end: datetime, at_full_power: datetime, *, is_on: bool
) -> int | None:
    """Return a job that the plan starts when these GPUs are back and that would miss its user's limit; None for none.

    Once the power limit is lowered the plan goes by that, so only what it says itself to be late counts.
    """
    for row in plan.placements:
        job = queued.get(row.job_id)
        limit = job.own_limit if job is not None else None
        if limit is None or not row.gpus or not at_full_power - NEAR <= row.start < end:
            continue
        if row.late or (not is_on and _late_by(row, end) > limit):
            return row.job_id
    return None


def _late_by(row: Placement, free_at: datetime) -> datetime:
    """Return when a placed job ends that starts no sooner than this."""
    return row.end + max(free_at - row.start, timedelta(0))


def _capping(code: CappingCode, why: str, facts: tuple[float, float], *, is_urgent: bool = False) -> Capping:
    return Capping(
        is_on=code is CappingCode.DIRTY,
        code=code,
        why=why,
        is_urgent=is_urgent,
        intensity_g_per_kwh=facts[0],
        threshold_g_per_kwh=facts[1],
    )

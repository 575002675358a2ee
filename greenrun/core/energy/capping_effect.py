"""What it saved and cost that a run's power limit was lowered for a part of its time: beside the rest of the same run.

The rest is the counterpart: what the same GPUs drew, and how fast the run got on, at full power. Where there is none,
or nobody knows how fast the run got on, the effect is not known. Nothing of this is ever booked.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import sqrt

from greenrun.core.energy.power_limit import LimitPeriod

LEAST_S = 300.0  # of either kind of time, for its mean power and its pace to tell anything
SAID_EVERY_S = 30.0  # what a run says to have done may be so old when it is noted
ONE_SLICE = 0.05  # the relative uncertainty of a mean power of which there is one value alone

TOO_SHORT = "it was at either power for less than five minutes, so there is nothing to compare"
NO_ENERGY = "a part of its energy, or of its emissions, is not known yet"
NO_PACE = (
    "it reports no work (docs/anomalies.md) and nobody has stated a slowdown, so how much slower it got is not known"
)


class SlowdownSource(StrEnum):
    """Where the slowdown of an effect comes from."""

    MEASURED = "measured"
    STATED = "stated"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedSlice:
    """A slice of a run: a device's facility energy over `[start, end)`, and what that emitted; None: not known."""

    device: str
    start: datetime
    end: datetime
    kwh: float | None
    grams: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CappingEffect:
    """What a lowered power limit did. Of what is not known `why` says so, and the figures are None.

    `lowered` is for how long it was lowered. `saved_g` is what would have been emitted beyond what was, had it done the
    same work in the same hours at full power, and may be negative; uncertainties are standard errors, None where a
    slowdown was stated. `full_power_ratio` is the energy at full power for each unit of that under the limit.
    """

    lowered: timedelta
    least_w: float
    full_power_ratio: float | None = None
    saved_kwh: float | None = None
    saved_g: float | None = None
    saved_g_uncertainty: float | None = None
    time_lost: timedelta | None = None
    time_lost_uncertainty: timedelta | None = None
    slowdown: float | None = None
    slowdown_source: SlowdownSource | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPart:
    """A run as far as its pace is concerned: when, and how much work it had done by its end; None: not said.

    `counts_from_zero`: it is its job's first, so it had done nothing when it began.
    """

    start: datetime
    end: datetime
    work: float | None
    counts_from_zero: bool


def capping_effect(
    run: RunPart, slices: Sequence[UsedSlice], periods: Sequence[LimitPeriod], stated_slowdown: float | None
) -> CappingEffect | None:
    """Return the effect of a run's lowered power limits; None if there were none."""
    kept = sorted((row for row in periods if row.kept_at is not None), key=lambda row: row.since)
    if not kept:
        return None
    spans = _union((_from(row), min(row.until or run.end, run.end)) for row in kept)
    lowered = sum((end - start for start, end in spans), timedelta(0))
    bare = CappingEffect(lowered=lowered, least_w=min(row.set_w for row in kept), why=TOO_SHORT)
    if any(row.kwh is None or row.grams is None for row in slices) or not slices:
        return CappingEffect(lowered=lowered, least_w=bare.least_w, why=NO_ENERGY)
    shares = [lowered_share(row.device, row.start, row.end, kept, run.end) for row in slices]
    low = _power(slices, shares)
    high = _power(slices, [1 - share for share in shares])
    if low is None or high is None:
        return bare
    pace = _pace(run, kept, spans) or (None if stated_slowdown is None else (stated_slowdown, None))
    if pace is None:
        return CappingEffect(lowered=lowered, least_w=bare.least_w, why=NO_PACE)
    slowdown, error = pace
    ratio = high[0] / (low[0] * (1 + slowdown))
    kwh = sum((row.kwh or 0.0) * share for row, share in zip(slices, shares, strict=True))
    grams = sum((row.grams or 0.0) * share for row, share in zip(slices, shares, strict=True))
    relative = None if error is None else sqrt(low[1] ** 2 + high[1] ** 2 + (error / (1 + slowdown)) ** 2)
    return CappingEffect(
        lowered=lowered,
        least_w=bare.least_w,
        full_power_ratio=ratio,
        saved_kwh=kwh * (ratio - 1),
        saved_g=grams * (ratio - 1),
        saved_g_uncertainty=None if relative is None else abs(grams) * ratio * relative,
        time_lost=lowered * (slowdown / (1 + slowdown)),
        time_lost_uncertainty=None if error is None else lowered * (error / (1 + slowdown) ** 2),
        slowdown=slowdown,
        slowdown_source=SlowdownSource.STATED if error is None else SlowdownSource.MEASURED,
    )


def lowered_share(
    device: str, start: datetime, end: datetime, periods: Iterable[LimitPeriod], run_end: datetime
) -> float:
    """Return for what part of `[start, end)` the limit of a device was lowered, 0 to 1."""
    length_s = (end - start).total_seconds()
    if length_s <= 0:
        return 0.0
    own = [(_from(row), min(row.until or run_end, run_end)) for row in periods if row.device == device and row.kept_at]
    held_s = sum(max(0.0, (min(end, until) - max(start, since)).total_seconds()) for since, until in own)
    return min(1.0, held_s / length_s)


def _power(slices: Sequence[UsedSlice], shares: Sequence[float]) -> tuple[float, float] | None:
    """Return the mean power of the time in these shares, in kW per device, and its relative standard error."""
    rows = [
        ((row.kwh or 0.0) * share, (row.end - row.start).total_seconds() * share)
        for row, share in zip(slices, shares, strict=True)
        if share > 0
    ]
    seconds = sum(length_s for _, length_s in rows)
    kwh = sum(used for used, _ in rows)
    if seconds < LEAST_S or kwh <= 0:
        return None
    mean = kwh / seconds
    if len(rows) < 2:
        return mean * 3600, ONE_SLICE
    spread = sum(length_s * (used / length_s - mean) ** 2 for used, length_s in rows if length_s > 0) / seconds
    return mean * 3600, sqrt(spread / (len(rows) - 1)) / mean


def _pace(
    run: RunPart, kept: Sequence[LimitPeriod], spans: Sequence[tuple[datetime, datetime]]
) -> tuple[float, float] | None:
    """Return by how much slower the run got on under the limit, and the standard error; None if that is not known."""
    done = {True: 0.0, False: 0.0}
    lasted_s = {True: 0.0, False: 0.0}
    for is_lowered, length_s, work in _stretches(run, kept, spans):
        done[is_lowered] += work
        lasted_s[is_lowered] += length_s
    if min(lasted_s.values()) < LEAST_S or min(done.values()) <= 0:
        return None
    slower = (done[False] / lasted_s[False]) / (done[True] / lasted_s[True])
    error = slower * sqrt(sum((SAID_EVERY_S / length_s) ** 2 for length_s in lasted_s.values()))
    return slower - 1, error


def _stretches(
    run: RunPart, kept: Sequence[LimitPeriod], spans: Sequence[tuple[datetime, datetime]]
) -> Iterator[tuple[bool, float, float]]:
    """Yield for each stretch of the run of which the work is known: whether it was lowered, its seconds, its work."""
    at, work = run.start, 0.0 if run.counts_from_zero else None
    for start, end in spans:
        inside = [row for row in kept if start <= _from(row) < end]
        before = next((row.work_before for row in inside), None)
        after = next((row.work_after for row in reversed(inside) if row.until is not None), None)
        after = run.work if end >= run.end and run.work is not None else after
        if work is not None and before is not None and before >= work:
            yield False, (start - at).total_seconds(), before - work
        if before is not None and after is not None and after >= before:
            yield True, (end - start).total_seconds(), after - before
        at, work = end, after
    if work is not None and run.work is not None and run.work >= work and at < run.end:
        yield False, (run.end - at).total_seconds(), run.work - work


def _from(period: LimitPeriod) -> datetime:
    return period.kept_at or period.since


def _union(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    found: list[tuple[datetime, datetime]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        elif end > start:
            found.append((start, end))
    return found

"""When a run would have been, had its job started as soon as it could on the same GPUs, and what it would have emitted.

Runs take their places in the order in which they truly started: each as early as its job could start and the very GPUs
that it had are free, for as long as it ran, of those before it, and not while one of them was drained. Whatever such a
place depends on has ended when the run starts, so it is known once the run has ended, whatever comes later, and it is
never later than the truth.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.intensity import Floats, Kind, Series, SeriesId, Signal

NO_SLICES = "nothing of it is in the books"
NOT_WHOLE = "for a part of its time nothing is in the books"
NO_ENERGY = "a part of its energy is not known"
NOT_AVERAGE = "a part of it is settled with a marginal signal, and only averages are compared"
NOT_AT_FULL_POWER = (
    "its power limit was lowered for a part of its time, and what it would have used without that is not known"
)
NOT_MEASURED = "no measured intensity of the same source is known for when it could have run"

Numbers = NDArray[np.int64]
Interval = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineInterval:
    """When a run would have been: `[start, end)`."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run that ended; its first `loads` went by on loading what an interruption had saved."""

    start: datetime
    end: datetime
    loads: timedelta = timedelta(0)

    @property
    def resumes(self) -> datetime:
        """When it began to do what it would have done without the interruption."""
        return min(self.start + self.loads, self.end)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SettledSlices:
    """The slices of a run as arrays of shape (n,): their ids, when (epoch seconds), facility energy, settled grams.

    `series_index` points into `series`: what settled each. What is not known is NaN.
    """

    ids: Numbers
    starts_s: Floats
    ends_s: Floats
    facility_kwh: Floats
    settled_g: Floats
    series_index: Numbers
    series: tuple[SeriesId, ...]

    @property
    def used(self) -> frozenset[SeriesId]:
        """Those series that settled any of them."""
        return frozenset(self.series[index] for index in np.unique(self.series_index).tolist() if index >= 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparable:
    """A run that ended with all of its slices settled: its place, and from when on it did more than load.

    `is_whole` unless less of its devices' time is in slices than it held them. `full_power` is what each slice would
    have used at full power, as a ratio of what it did: NaN where that is not known, None for a run whose power limit
    was never lowered.
    """

    run_id: int
    resumes: datetime
    interval: BaselineInterval
    slices: SettledSlices
    is_whole: bool = True
    full_power: Floats | None = None

    @property
    def moved_s(self) -> float:
        """How much later it would have been, in seconds: 0 or less."""
        return (self.interval.start - self.resumes).total_seconds()

    @property
    def span(self) -> tuple[datetime, datetime]:
        """From when to when its slices would have been, loading included; there must be some."""
        edges_s = (self.slices.starts_s.min() + self.moved_s, self.slices.ends_s.max() + self.moved_s)
        return datetime.fromtimestamp(float(edges_s[0]), UTC), datetime.fromtimestamp(float(edges_s[1]), UTC)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """What each slice of a run would have emitted, in grams, and at which mean intensity; or `why` that is not told.

    A slice that went by on loading has 0 g, and neither intensity (NaN) nor kind.
    """

    run_id: int
    slices: SettledSlices
    intensities: Floats | None = None
    grams: Floats | None = None
    kinds: tuple[Kind | None, ...] = ()
    why: str | None = None


def baseline_interval(
    stint: EndedRun, ready: datetime, held: Iterable[BaselineInterval], drained: Sequence[Interval] = ()
) -> BaselineInterval:
    """Return the earliest place from `ready` on at which a run meets none of `held`, and never one after the truth.

    `held` are the places of those that started before it on any of its GPUs. In the intervals `drained` nothing was to
    be started on one of them; what runs as such an interval begins runs on.
    """
    length, at = stint.end - stint.resumes, min(ready, stint.start)
    others = sorted((each for each in held if each.start < each.end), key=lambda each: each.start)
    while (free := _undrained(_gap(at, length, others), drained)) != at:
        at = free
    at = min(at, stint.start)  # later only where the clock was set back
    return BaselineInterval(start=at, end=at + length)


def _gap(at: datetime, length: timedelta, others: Sequence[BaselineInterval]) -> datetime:
    """Return the first instant from `at` on from which none of these, in the order of their starts, is met."""
    for other in others:
        if other.start >= at + length:
            break
        at = max(at, other.end)
    return at


def _undrained(at: datetime, drained: Sequence[Interval]) -> datetime:
    for since, until in sorted(drained):
        if since <= at < until:
            at = until
    return at


def compare(run: Comparable, measured: Mapping[SeriesId, Series]) -> Compared:
    """Return what a run would have emitted at its place, by the series that settled each slice, and no other."""
    slices = run.slices
    resumed_s = run.resumes.timestamp()
    kept = slices.ends_s > resumed_s
    starts_s = np.where(kept, np.maximum(slices.starts_s, resumed_s), slices.starts_s)
    kwh = slices.facility_kwh * (slices.ends_s - starts_s) / (slices.ends_s - slices.starts_s)
    kwh = kwh if run.full_power is None else kwh * run.full_power
    intensities, kinds = np.full(len(slices.ids), np.nan), np.full(len(slices.ids), None)
    for index, series_id in enumerate(slices.series):
        mine = kept & (slices.series_index == index)
        if series_id in measured and mine.any():
            moved_s = starts_s[mine] + run.moved_s
            lengths_s = slices.ends_s[mine] - starts_s[mine]
            intensities[mine] = measured[series_id].means_between(moved_s, moved_s + lengths_s)
            kinds[mine] = _kinds(measured[series_id], moved_s)
    why = _why_not(run, kept, intensities)
    if why is not None:
        return Compared(run_id=run.run_id, slices=slices, why=why)
    grams = np.where(kept, kwh * intensities, 0.0)
    return Compared(run_id=run.run_id, slices=slices, intensities=intensities, grams=grams, kinds=tuple(kinds))


def _kinds(series: Series, at_s: Floats) -> NDArray[np.object_]:
    """Return the kind of the slot that each instant is in, or of that before it."""
    known = np.array([*series.kinds, None], dtype=object)
    return np.asarray(known[np.searchsorted(series.starts_s, at_s, side="right") - 1])


def _why_not(run: Comparable, kept: NDArray[np.bool_], intensities: Floats) -> str | None:
    slices = run.slices
    marginal = [index for index, series_id in enumerate(slices.series) if series_id.signal is not Signal.AVERAGE]
    bad = {
        NO_SLICES: not len(slices.ids),
        NO_ENERGY: bool(np.isnan(slices.facility_kwh).any()),
        NOT_WHOLE: not run.is_whole,
        NOT_AT_FULL_POWER: run.full_power is not None and bool(np.isnan(run.full_power[kept]).any()),
        NOT_AVERAGE: bool(np.isin(slices.series_index, marginal).any()),
        NOT_MEASURED: bool(np.isnan(intensities[kept]).any()),
    }
    return next((why for why, is_so in bad.items() if is_so), None)

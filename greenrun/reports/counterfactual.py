"""What the runs of a period would have emitted, each started as soon as possible; apart from the inventory."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from greenrun.core.baseline import UNSETTLED, Profile, Stint, Turn, as_soon_as_possible, baseline_g
from greenrun.core.intensity import Floats, Series, SeriesId, Signal
from greenrun.core.job import Job, Outcome, Run
from greenrun.core.period import Period

UNFINISHED = "a run has not ended"
NO_SLICES = "nothing of it is booked in this period"
NO_ENERGY = "a part of its energy is not known"
NOT_SETTLED = "a part of it is not settled with the measured intensity"
NOT_AVERAGE = "a part of it is settled with a marginal signal, and only averages are compared"
NOT_MEASURED = "no measured intensity of the same source is known for when it could have run"

Flags = NDArray[np.bool_]
Intensities = Callable[[SeriesId, datetime, datetime], Series]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A run's grams as soon as possible and as it was, both settled; where they are None, `why` says it."""

    baseline_g: float | None = None
    actual_g: float | None = None
    why: str | None = None


def compare(period: Period, intensities: Intensities) -> dict[int, Compared]:
    """Return both figures of each run that has slices in the period or overlaps it."""
    stints = _stints(period.jobs, period.runs)
    begun = as_soon_as_possible(_turns(period.jobs, stints))
    resumes = {stint.run_id: stint.resumes_s for rows in stints.values() for stint in rows}
    found = {run.id: Compared(why=NO_SLICES if run.ended_at else UNFINISHED) for run in period.runs}
    ids, place = np.unique(period.profile.run_ids, return_inverse=True)
    known = np.array([run_id in begun for run_id in ids.tolist()], dtype=bool)
    resumed_s = np.array([resumes.get(run_id, 0.0) for run_id in ids.tolist()])
    moved_s = np.array([begun.get(run_id, 0.0) for run_id in ids.tolist()]) - resumed_s
    mine = known[place]
    if not mine.any():
        return found
    profile, resumed_s, moved_s = _only(period.profile, mine), resumed_s[place][mine], moved_s[place][mine]
    worked, kept = _without_loading(profile, resumed_s)
    grams = baseline_g(worked, moved_s, _measured(worked, moved_s, kept, intensities))
    return found | _by_run(profile, np.where(kept, grams, 0.0), kept)


def _stints(jobs: Sequence[Job], runs: Sequence[Run]) -> dict[int, list[Stint]]:
    loads_s = {job.id: job.spec.restart_cost.total_seconds() for job in jobs}
    stints: defaultdict[int, list[Stint]] = defaultdict(list)
    resumed: set[int] = set()
    for run in runs:
        if run.started_at is None or run.ended_at is None or run.ended_at < run.started_at:
            continue
        stint = Stint(
            run_id=run.id,
            devices=run.devices,
            start_s=run.started_at.timestamp(),
            end_s=run.ended_at.timestamp(),
            loads_s=loads_s[run.job_id] if run.job_id in resumed else 0.0,
        )
        stints[run.job_id].append(stint)
        resumed |= {run.job_id} if run.outcome is Outcome.CHECKPOINTED else set()
    return dict(stints)


def _turns(jobs: Sequence[Job], stints: Mapping[int, list[Stint]]) -> list[Turn]:
    return [
        Turn(
            job_id=job.id,
            ready_s=min(job.earliest_start.timestamp(), stints[job.id][0].start_s),
            after=tuple(row.job_id for row in job.spec.after),
            stints=tuple(stints[job.id]),
        )
        for job in jobs
        if job.id in stints
    ]


def _only(profile: Profile, wanted: Flags) -> Profile:
    names = ("run_ids", "starts_s", "ends_s", "facility_kwh", "settled_g", "series_index")
    return replace(profile, **{name: getattr(profile, name)[wanted] for name in names})


def _without_loading(profile: Profile, resumed_s: Floats) -> tuple[Profile, Flags]:
    """Cut off what was spent on loading; return the rest, and of which slices any is left."""
    kept = profile.ends_s > resumed_s
    starts_s = np.where(kept, np.maximum(profile.starts_s, resumed_s), profile.starts_s)
    share = (profile.ends_s - starts_s) / (profile.ends_s - profile.starts_s)
    return replace(profile, starts_s=starts_s, facility_kwh=profile.facility_kwh * share), kept


def _measured(profile: Profile, moved_s: Floats, kept: Flags, intensities: Intensities) -> dict[SeriesId, Series]:
    """Return what was measured when the slices would have been, as far as the latest slot that settled one."""
    found = {}
    for index, series_id in enumerate(profile.series):
        mine = (profile.series_index == index) & kept
        if series_id.signal is Signal.AVERAGE and mine.any():
            start_s, end_s = (profile.starts_s + moved_s)[mine].min(), (profile.ends_s + moved_s)[mine].max()
            start, final = _instant(start_s), _instant(profile.ends_s[mine].max())
            series = intensities(series_id, start, _instant(end_s))
            found[series_id] = series.between(start, final)
    return found


def _by_run(profile: Profile, grams: Floats, kept: Flags) -> dict[int, Compared]:
    signals = [row.signal for row in profile.series]
    marginal = np.array([*(signal is not Signal.AVERAGE for signal in signals), False])[profile.series_index]
    bad = {
        NO_ENERGY: np.isnan(profile.facility_kwh),
        NOT_SETTLED: (profile.series_index == UNSETTLED) | np.isnan(profile.settled_g),
        NOT_AVERAGE: marginal,
        NOT_MEASURED: np.isnan(grams) & kept,
    }
    ids, place = np.unique(profile.run_ids, return_inverse=True)
    causes = {why: np.bincount(place, flags, len(ids)) > 0 for why, flags in bad.items()}
    baseline = np.bincount(place, grams, len(ids))
    actual = np.bincount(place, profile.settled_g, len(ids))
    return {
        int(run_id): _compared(
            float(baseline[at]), float(actual[at]), [why for why, runs in causes.items() if runs[at]]
        )
        for at, run_id in enumerate(ids)
    }


def _compared(baseline: float, actual: float, why: Sequence[str]) -> Compared:
    return Compared(why=why[0]) if why else Compared(baseline_g=float(baseline), actual_g=float(actual))


def _instant(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(float(epoch_s), UTC)

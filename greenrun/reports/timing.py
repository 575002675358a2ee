"""When energy was used: by the hour of the day, and beside what the grid was in the same hours."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import fsum

import numpy as np

from greenrun.core.accounting.period import Part
from greenrun.core.carbon.intensity import Floats, Series, SeriesId, Signal
from greenrun.reports.emissions import brief
from greenrun.reports.period_models import GridComparison, HourOfDay, Verdict

HOUR_S = 3600.0

Measured = Callable[[SeriesId, datetime, datetime], Series]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHour:
    """An hour (UTC) with the mean of the intensity in the seconds of it of which that is known."""

    hour: datetime
    seconds: float
    g_per_kwh: float


def against_grid(
    parts: Sequence[Part], since: datetime | None, until: datetime | None, measured: Measured
) -> tuple[GridComparison, list[HourOfDay]]:
    """Return how clean the energy of runs was beside the grid of `[since, until)`, and all by the hour of the day."""
    of_runs = [part for part in parts if part.run_id is not None]
    main = _main_series(of_runs)
    if main is None or since is None or until is None:
        return GridComparison(why="no energy of runs has an average intensity"), _hours_of_day(parts, ())
    series = measured(main, since, until)
    by_hour = _hourly(series, since, until)
    return _compared(of_runs, main, by_hour), _hours_of_day(parts, by_hour)


def _compared(of_runs: Sequence[Part], main: SeriesId, by_hour: Sequence[KnownHour]) -> GridComparison:
    mine = [part for part in of_runs if part.price is not None and part.price.series == main]
    runs_ci, grid_ci = brief(mine).ci_avg_g_per_kwh, _mean(by_hour)
    difference = 100 * (runs_ci / grid_ci - 1) if runs_ci is not None and grid_ci else None
    return GridComparison(
        provider=main.provider,
        zone=main.zone,
        accounting=main.accounting,
        basis=main.basis,
        runs_ci_g_per_kwh=runs_ci,
        grid_ci_g_per_kwh=grid_ci,
        difference_pct=difference,
        hours=fsum(known.seconds for known in by_hour) / HOUR_S,
        verdict=_verdict(difference),
        why=None if by_hour else "no measured intensity of these hours is kept",
    )


def _mean(hours: Sequence[KnownHour]) -> float | None:
    """Return the mean intensity of hours, weighted by the time of each that is known; None for none."""
    seconds = fsum(known.seconds for known in hours)
    return fsum(known.g_per_kwh * known.seconds for known in hours) / seconds if seconds else None


def _verdict(difference_pct: float | None) -> Verdict | None:
    if difference_pct is None:
        return None
    return "same" if abs(difference_pct) < 0.5 else "cleaner" if difference_pct < 0 else "dirtier"


def _main_series(parts: Sequence[Part]) -> SeriesId | None:
    """Return the series of averages that priced most of this energy."""
    used_j: defaultdict[SeriesId, float] = defaultdict(float)
    for part in parts:
        if part.price is not None and part.price.series.signal is Signal.AVERAGE:
            used_j[part.price.series] += part.energy_j or 0.0
    return max(used_j, key=lambda each: used_j[each], default=None)


def _hourly(series: Series, since: datetime, until: datetime) -> list[KnownHour]:
    """Return each hour (UTC) of `[since, until)` of which anything is known, with the mean of that."""
    first = since.replace(minute=0, second=0, microsecond=0)
    count = max(0, -int((first - until) // timedelta(hours=1)))
    hours = [first + timedelta(hours=number) for number in range(count)]
    if not hours or not len(series):
        return []
    edges_s: Floats = np.array([max(since, hour).timestamp() for hour in hours] + [until.timestamp()])
    knots_s, integral, covered_s = series.curves
    seconds = np.diff(np.interp(edges_s, knots_s, covered_s))
    sums = np.diff(np.interp(edges_s, knots_s, integral))
    return [
        KnownHour(hour=hour, seconds=known_s, g_per_kwh=total / known_s)
        for hour, known_s, total in zip(hours, seconds.tolist(), sums.tolist(), strict=True)
        if known_s > 0
    ]


def _hours_of_day(parts: Sequence[Part], by_hour: Sequence[KnownHour]) -> list[HourOfDay]:
    used: defaultdict[int, list[Part]] = defaultdict(list)
    for part in parts:
        used[part.hour.hour].append(part)
    grid: defaultdict[int, list[KnownHour]] = defaultdict(list)
    for known in by_hour:
        grid[known.hour.hour].append(known)
    return [_hour_of_day(hour, used[hour], grid[hour]) for hour in range(24)] if parts else []


def _hour_of_day(hour: int, parts: Sequence[Part], grid: Sequence[KnownHour]) -> HourOfDay:
    runs = brief([part for part in parts if part.run_id is not None])
    return HourOfDay(
        hour=hour,
        runs_energy_kwh=runs.it_energy_kwh,
        runs_emissions_g=runs.emissions_location_g,
        runs_ci_g_per_kwh=runs.ci_avg_g_per_kwh,
        unallocated_energy_kwh=brief([part for part in parts if part.run_id is None]).it_energy_kwh,
        grid_ci_g_per_kwh=_mean(grid),
    )

"""When energy was used: by the hour of the day, and beside what the grid was in the same hours."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import fsum

import numpy as np

from greenrun.core.accounting.grouping import Grouping
from greenrun.core.accounting.parts import NO_SERIES, Parts
from greenrun.core.carbon.intensity import Floats, Series, SeriesId, Signal
from greenrun.reports.emissions import brief, only
from greenrun.reports.period_models import GridComparison, HourOfDay, Verdict
from greenrun.reports.rows.groups import GroupedParts, rows_of

HOUR_S = 3600.0
DAY_H = 24

Measured = Callable[[SeriesId, datetime, datetime], Series]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHour:
    """An hour (UTC) with the mean of the intensity in the seconds of it of which that is known."""

    hour: datetime
    seconds: float
    g_per_kwh: float


def against_grid(
    parts: Parts, since: datetime | None, until: datetime | None, measured: Measured
) -> tuple[GridComparison, list[HourOfDay]]:
    """Return how clean the energy of runs was beside the grid of `[since, until)`, and all by the hour of the day."""
    main = _main_series(parts)
    if main is None or since is None or until is None:
        return GridComparison(why="no energy of runs has an average intensity"), _hours_of_day(parts, ())
    series = measured(main, since, until)
    by_hour = _hourly(series, since, until)
    return _compared(parts, main, by_hour), _hours_of_day(parts, by_hour)


def _compared(parts: Parts, main: SeriesId, by_hour: Sequence[KnownHour]) -> GridComparison:
    mine = parts.is_held & (parts.priced_by == parts.series.index(main))
    used = GroupedParts(parts, Grouping(np.where(mine, 0, -1), 1))
    runs_ci = only(brief(used)["ci_avg_g_per_kwh"])
    grid_ci = _mean(by_hour)
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


def _main_series(parts: Parts) -> SeriesId | None:
    """Return the series of averages that priced most of the energy of runs."""
    by_series = Grouping(np.where(parts.is_held, parts.priced_by, NO_SERIES).astype(np.int64), len(parts.series))
    is_there = by_series.any(np.ones(len(parts), dtype=np.bool_)).tolist()
    used_j = zip(by_series.sums(parts.energy_j).tolist(), is_there, parts.series, strict=True)
    averages = [(joules, series) for joules, is_used, series in used_j if is_used and series.signal is Signal.AVERAGE]
    return max(averages, key=lambda row: row[0], default=(0.0, None))[1]


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


def _hours_of_day(parts: Parts, by_hour: Sequence[KnownHour]) -> list[HourOfDay]:
    if not len(parts):
        return []
    hour = parts.hour.astype(np.int64) % DAY_H
    runs = brief(GroupedParts(parts, Grouping(np.where(parts.is_held, hour, -1), DAY_H)))
    free = brief(GroupedParts(parts, Grouping(np.where(parts.is_held, -1, hour), DAY_H)))
    grid: defaultdict[int, list[KnownHour]] = defaultdict(list)
    for known in by_hour:
        grid[known.hour.hour].append(known)
    made = {
        "hour": list(range(DAY_H)),
        "runs_energy_kwh": runs["it_energy_kwh"],
        "runs_emissions_g": runs["emissions_location_g"],
        "runs_ci_g_per_kwh": runs["ci_avg_g_per_kwh"],
        "unallocated_energy_kwh": free["it_energy_kwh"],
        "grid_ci_g_per_kwh": [_mean(grid[each]) for each in range(DAY_H)],
    }
    return [HourOfDay(**row) for row in rows_of(made, DAY_H, HourOfDay.model_fields)]

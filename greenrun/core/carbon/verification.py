"""How good forecasts were, by how far ahead they looked: their error in grams, and what following them was worth.

Everything is told by whole hours, the first of which begins at the first full hour after the forecast was known. Looked
at are the same issues as `calibration.calibrate` looks at: the first of every six hours of the last eight weeks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil

import numpy as np

from greenrun.core.carbon.calibration import thinned
from greenrun.core.carbon.intensity import Floats, Forecast, Kind, Series
from greenrun.core.carbon.outlook import comparability_key

HOUR_S = 3_600.0
HOURS = 48
LEADS_H = ((0, 6), (6, 12), (12, 24), (24, 48))  # blend.LEADS_H are their middles
DAY_H = (0, 24)
HORIZONS_H = (1, 24)  # at which the error of single hours is counted
OLD_H = 24  # a forecast not repeated for longer was not active any more
WINDOW_H, WITHIN_H = 4, 24
DECIMALS = 6  # what means differ by beyond these is rounding, and hours that differ no more are alike
ENOUGH = 8  # issues that a figure is made of: those of two days

MISSING_WINDOW = f"a window of {WINDOW_H} h in {WITHIN_H} h needs more hours than these"
MISSING_MEASURED = "nothing was measured that these forecasts can be compared with"
MISSING_ORDER = "too few forecasts put these hours into an order"
MISSING_SAVING = "starting at once was always the best"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastScores:
    """How `issues` forecasts turned out from `lead_h[0]` to `lead_h[1]` hours ahead, over `hours` that were measured.

    `bias_g_per_kwh` is forecast minus measured. `rank_correlation` is Spearman's, of the hours of one issue with one
    another, and the mean over the issues of which all these hours are known. `captured_ratio` is what choosing the
    cleanest window of 4 hours in 24 by the forecast saved, of what the truly cleanest would have saved, both against
    the first window and summed over the issues; windows begin on the hour. What is None has its reason in `missing`.
    """

    lead_h: tuple[int, int]
    issues: int
    hours: int
    mean_absolute_error_g_per_kwh: float | None = None
    bias_g_per_kwh: float | None = None
    rank_correlation: float | None = None
    captured_ratio: float | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


def verify(issues: Sequence[Forecast], measured: Series | None, now: datetime) -> tuple[ForecastScores, ...]:
    """Return the quality of one series' forecasts at each lead time of `LEADS_H`, and over the day ahead (`DAY_H`).

    Slots of an issue that it calls measured are not judged, nor hours after `now` or of which a part is not known.
    """
    chosen = thinned(issues, now)
    comparable = [
        row
        for row in chosen
        if measured is not None and comparability_key(row.series.id) == comparability_key(measured.id)
    ]
    if measured is None or not comparable:
        why = MISSING_MEASURED if chosen else _too_few(0)
        return tuple(_unknown(lead_h, 0, 0, why) for lead_h in (*LEADS_H, DAY_H))
    starts_s = np.stack([_hours_s(row) for row in comparable])
    told = np.stack([_forecast(row).means(hours_s, HOUR_S) for row, hours_s in zip(comparable, starts_s, strict=True)])
    truth = measured.means(starts_s.ravel(), HOUR_S).reshape(starts_s.shape)
    both = np.isfinite(told) & np.isfinite(truth) & (starts_s + HOUR_S <= now.timestamp())
    told, truth = (np.where(both, means, np.nan).round(DECIMALS) for means in (told, truth))
    return tuple(_quality(lead_h, told[:, slice(*lead_h)], truth[:, slice(*lead_h)]) for lead_h in (*LEADS_H, DAY_H))


def absolute_errors(issues: Sequence[Forecast], measured: Series, start_s: float, end_s: float) -> dict[int, Floats]:
    """Return how far off, in g/kWh, forecasts were of the full hours from `start_s` to `end_s`, by horizon in hours.

    Of each hour counts the last forecast of the same question that was known that long before it began. Hours that
    none told of then, or that are not wholly measured, are left out.
    """
    hours_s = np.arange(start_s, end_s, HOUR_S)
    truth = measured.means(hours_s, HOUR_S)
    comparable = [row for row in issues if comparability_key(row.series.id) == comparability_key(measured.id)]
    told = {horizon_h: np.full(len(hours_s), np.nan) for horizon_h in HORIZONS_H}
    for issue in sorted(comparable, key=lambda row: row.known_at):
        means, ahead_h = _forecast(issue).means(hours_s, HOUR_S), (hours_s - issue.known_at.timestamp()) / HOUR_S
        for horizon_h, known in told.items():
            is_told = np.isfinite(means) & (ahead_h >= horizon_h) & (ahead_h <= horizon_h + OLD_H)
            known[is_told] = means[is_told]
    errors = {horizon_h: np.abs(known - truth) for horizon_h, known in told.items()}
    return {horizon_h: found[np.isfinite(found)] for horizon_h, found in errors.items()}


def captured(told: Floats, truth: Floats) -> float | None:
    """Return the share of the perfect-foresight saving that is had by following `told`, as `ForecastScores` explains.

    Both have shape (issues, 24), in g/kWh, without NaN. Of windows told alike the first is taken. None: nothing could
    be saved.
    """
    means = [np.lib.stride_tricks.sliding_window_view(rows, WINDOW_H, axis=1).mean(axis=2) for rows in (told, truth)]
    seen, came = means
    chosen = came[np.arange(len(came)), seen.argmin(axis=1)]
    possible = float((came[:, 0] - came.min(axis=1)).sum())
    return float((came[:, 0] - chosen).sum()) / possible if possible > 0 else None


def rank_correlations(told: Floats, truth: Floats) -> Floats:
    """Return Spearman's rank correlation of each pair of rows; NaN where all values of a row are equal."""
    ranks = [_ranks(rows) for rows in (told, truth)]
    one, other = (rows - rows.mean(axis=1, keepdims=True) for rows in ranks)
    size = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    found: Floats = np.divide((one * other).sum(axis=1), size, out=np.full(len(size), np.nan), where=size > 0)
    return found


def _quality(lead_h: tuple[int, int], told: Floats, truth: Floats) -> ForecastScores:
    known = np.isfinite(told)
    issues, hours = int(known.any(axis=1).sum()), int(known.sum())
    if issues < ENOUGH:
        return _unknown(lead_h, issues, hours, _too_few(issues))
    errors = (told - truth)[known]
    whole = known.all(axis=1)
    figures = {
        "rank_correlation": _rank_correlation(told[whole], truth[whole]),
        "captured_ratio": _captured(lead_h, told[whole], truth[whole]),
    }
    return ForecastScores(
        lead_h=lead_h,
        issues=issues,
        hours=hours,
        mean_absolute_error_g_per_kwh=float(np.abs(errors).mean()),
        bias_g_per_kwh=float(errors.mean()),
        missing={name: found for name, found in figures.items() if isinstance(found, str)},
        **{name: found for name, found in figures.items() if isinstance(found, float)},
    )


def _rank_correlation(told: Floats, truth: Floats) -> float | str:
    found = rank_correlations(told, truth)
    found = found[np.isfinite(found)]
    return float(found.mean()) if len(found) >= ENOUGH else MISSING_ORDER


def _captured(lead_h: tuple[int, int], told: Floats, truth: Floats) -> float | str:
    if lead_h[1] - lead_h[0] < WITHIN_H:
        return MISSING_WINDOW
    if len(told) < ENOUGH:
        return _too_few(len(told))
    share = captured(told, truth)
    return MISSING_SAVING if share is None else share


def _unknown(lead_h: tuple[int, int], issues: int, hours: int, why: str) -> ForecastScores:
    names = ("mean_absolute_error_g_per_kwh", "bias_g_per_kwh", "rank_correlation", "captured_ratio")
    return ForecastScores(lead_h=lead_h, issues=issues, hours=hours, missing=dict.fromkeys(names, why))


def _too_few(issues: int) -> str:
    return f"{issues} forecasts are over and were measured; {ENOUGH} are needed, six hours apart"


def _hours_s(issue: Forecast) -> Floats:
    first = ceil(issue.known_at.timestamp() / HOUR_S)
    hours_s: Floats = HOUR_S * (first + np.arange(HOURS, dtype=np.float64))
    return hours_s


def _forecast(issue: Forecast) -> Series:
    """What an issue says of the hours to come, without what it says was measured."""
    series = issue.series
    if Kind.MEASURED not in series.kinds:
        return series
    told = np.array([kind is not Kind.MEASURED for kind in series.kinds])
    kinds = tuple(kind for kind in series.kinds if kind is not Kind.MEASURED)
    return Series(series.id, series.starts_s[told], series.ends_s[told], series.values[told], kinds)


def _ranks(values: Floats) -> Floats:
    """The place of each value in the order of its row, from 0 on; equal ones share the middle of theirs."""
    below = (values[:, None, :] < values[:, :, None]).sum(axis=2)
    equal = (values[:, None, :] == values[:, :, None]).sum(axis=2)
    ranks: Floats = below + (equal - 1) / 2
    return ranks

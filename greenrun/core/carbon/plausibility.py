"""Whether values can be carbon intensities at all: missing data must never look like clean power.

A unit of power has emissions somewhere in its life cycle: IPCC AR5, Annex III gives wind, the cleanest, 11 g/kWh as its
median, so that no zone's life-cycle mean is below some 5. A direct mean and a marginal intensity may be zero, but in
runs: of a night with wind alone, of a day on which solar power is curtailed. Zeros that last on are a source that
has nothing to say.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from math import log

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.intensity import Basis, Kind, Series, SeriesId, Signal
from greenrun.core.formatting import number_text

LOWEST_LIFECYCLE_G_PER_KWH = 5.0
LONGEST_ZERO = timedelta(hours=12)  # of a real grid: longer than any day of curtailment
NOTHING_BUT_ZERO = timedelta(hours=6)  # of a forecast that says nothing else: some reach no further than a few hours
NEARLY_ZERO_G_PER_KWH = 20.0
TOO_CLEAN, ZEROS = "too clean", "zeros to the end"  # causes of dropped values

_LIKE_MEAN = 5.0  # a day's median is within this factor of the yearly mean of all but the windiest grids
_UNITS = {"kg/kWh": 1000.0, "lb/kWh": 453.59237, "lb/MWh": 0.45359237, "mg/kWh": 0.001}  # of one of each in g/kWh


def believable(series: Series, *, trusts_zeros: bool = False) -> tuple[Series, Counter[str]]:
    """Return the series without values that cannot be intensities, and how many were dropped, by cause.

    With `trusts_zeros` those of a direct mean are no missing values, however long they last.
    """
    if _is_lifecycle_mean(series.id):
        wrong, cause = series.values < LOWEST_LIFECYCLE_G_PER_KWH, TOO_CLEAN
    else:
        wrong, cause = np.zeros(len(series), dtype=bool) if trusts_zeros else _last_zeros(series), ZEROS
    count = int(wrong.sum())
    return (series, Counter()) if not count else (_where(series, ~wrong), Counter({cause: count}))


def is_garbage(series: Series, dropped: Mapping[str, int]) -> bool:
    """Whether nothing of the series is to be believed, after so many values of it were not."""
    return bool(dropped.get(ZEROS)) or 2 * sum(dropped.values()) > len(series)


def is_all_zero(series: Series) -> bool:
    """Whether there are values and each is zero."""
    return len(series) > 0 and not series.values.any()


def unit_doubt(series: Series, yearly_mean_g_per_kwh: float | None) -> str | None:
    """Return why the values may be of another unit than g/kWh, in a sentence; None where they look as they should.

    `yearly_mean_g_per_kwh` is the mean of the zone's country; None where that is not known. A marginal intensity is not
    near the mean, so of it only the order of magnitude is judged.
    """
    if not len(series):
        return None
    median = float(np.median(series.values))
    slack = _LIKE_MEAN if series.id.signal is Signal.AVERAGE else 4 * _LIKE_MEAN
    if yearly_mean_g_per_kwh is None:
        if median >= 1.0 or not median:
            return None
        return f"their median is {number_text(median)}; are they in kg/kWh?"
    if not median or 1 / slack <= median / yearly_mean_g_per_kwh <= slack:
        return None
    unit = min(_UNITS, key=lambda name: abs(log(median * _UNITS[name] / yearly_mean_g_per_kwh)))
    other = "no intensities but power, as in watts" if median > yearly_mean_g_per_kwh else "no intensities"
    return (
        f"their median is {number_text(median)}, where the year's mean of that country is"
        f" {number_text(yearly_mean_g_per_kwh)} g/kWh; are they in {unit}, or {other}?"
    )


def _is_lifecycle_mean(series_id: SeriesId) -> bool:
    return series_id.signal is Signal.AVERAGE and series_id.basis is Basis.LIFECYCLE


def _last_zeros(series: Series) -> NDArray[np.bool_]:
    """Return which values are of the zeros at the end, where these last longer than any real ones.

    Power that gets clean by and by may stay so: zeros after values that are nearly zero are believed.
    """
    zero = np.zeros(len(series), dtype=bool)
    positive = np.flatnonzero(series.values > 0)
    first = int(positive[-1]) + 1 if len(positive) else 0
    if first == len(series) or (first and series.values[first - 1] <= NEARLY_ZERO_G_PER_KWH):
        return zero
    says_nothing_else = not first and Kind.FORECAST in series.kinds
    longest = NOTHING_BUT_ZERO if says_nothing_else else LONGEST_ZERO
    zero[first:] = series.ends_s[-1] - series.starts_s[first] >= longest.total_seconds()
    return zero


def _where(series: Series, kept: NDArray[np.bool_]) -> Series:
    return Series.of(series.id, [slot for slot, keep in zip(series, kept, strict=True) if keep])

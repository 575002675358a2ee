"""Which hours are dirty: those whose intensity is above a threshold, which may depend on the day ahead."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from greenrun.core.carbon.intensity import Series
from greenrun.core.energy.power_limit import DirtyThreshold, ThresholdKind
from greenrun.core.formatting import intensity_text

DAY = timedelta(hours=24)
LEAST_OF_A_DAY = 0.5  # of the day ahead that has to be known, for its mean to be one of a day
ABOVE = 1e-6  # relative: sums of equal values are rounded


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtyHours:
    """An outlook, and from which intensity on its hours are dirty by a threshold."""

    outlook: Series
    threshold: DirtyThreshold
    above_g_per_kwh: float

    def intensity_at(self, instant: datetime) -> float | None:
        """Return the intensity in g/kWh; None where the outlook does not reach."""
        return self.outlook.at(instant)

    def is_dirty(self, instant: datetime) -> bool:
        """Whether an instant is in a dirty hour; one of which nothing is known is not."""
        value = self.outlook.at(instant)
        return value is not None and value > self.above_g_per_kwh * (1 + ABOVE)

    @property
    def threshold_text(self) -> str:
        """The threshold as people say it: `the mean of the 24 hours ahead, 240 g/kWh`."""
        value = intensity_text(self.above_g_per_kwh, self.outlook.id.signal)
        if self.threshold.kind is ThresholdKind.STATED:
            return f"the threshold of {value}"
        share = f"{self.threshold.value * 100:.0f} % quantile"
        what = "mean" if self.threshold.kind is ThresholdKind.MEAN else share
        return f"the {what} of the 24 hours ahead, {value}"


def dirty_hours(outlook: Series | None, threshold: DirtyThreshold, now: datetime) -> DirtyHours | None:
    """Return which hours are dirty as seen at `now`; None where too little of the day ahead is known to tell.

    The day ahead begins with the hour, so that the threshold changes with the hours and not with every look at it.
    """
    if outlook is None or not len(outlook):
        return None
    if threshold.kind is ThresholdKind.STATED:
        return DirtyHours(outlook=outlook, threshold=threshold, above_g_per_kwh=threshold.value)
    begin_s = now.replace(minute=0, second=0, microsecond=0).timestamp()
    end_s = begin_s + DAY.total_seconds()
    widths_s = np.maximum(np.minimum(outlook.ends_s, end_s) - np.maximum(outlook.starts_s, begin_s), 0.0)
    known_s = float(widths_s.sum())
    if known_s < LEAST_OF_A_DAY * DAY.total_seconds():
        return None
    if threshold.kind is ThresholdKind.MEAN:
        above = float((outlook.values * widths_s).sum()) / known_s
    else:
        order = np.argsort(outlook.values, kind="stable")
        reached = np.cumsum(widths_s[order])
        place = int(np.searchsorted(reached, threshold.value * known_s * (1 - 1e-12)))
        above = float(outlook.values[order[min(place, len(order) - 1)]])
    return DirtyHours(outlook=outlook, threshold=threshold, above_g_per_kwh=above)

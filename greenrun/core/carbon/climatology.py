"""What an hour of the day usually emits, learned from the days before: what is known where a forecast ends."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from greenrun.core.carbon.intensity import Floats, Series

DAY_S = 86_400.0
WEEKLY_DAYS = 7
SAME_WEEKDAY = 3.0  # what a day of the same weekday counts beside the others: 2 to 6 do alike
SAME_WEEKDAYS_NEEDED = 3  # ... once so many of them are known


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Climatology:
    """The mean of the last `days` days at the same time of day, in UTC. Build with `Climatology.of`.

    Of `series` only what ends by `known_until_s` is looked at: the end of the last slot that was over at the instant it
    was learned at, in epoch seconds. `last_s` is how long that slot is.
    """

    series: Series
    known_until_s: float
    last_s: float
    days: int

    @classmethod
    def of(cls, series: Series, now: datetime, days: int = 28) -> "Climatology | None":
        """Learn from the slots that were over at `now`; None when none of the last `days` days is known at all."""
        if days < 1:
            raise ValueError(f"a climatology needs at least one day, not {days}")
        last = int(np.searchsorted(series.ends_s, now.timestamp(), side="right")) - 1
        if last < 0 or series.ends_s[last] <= now.timestamp() - days * DAY_S:
            return None
        until_s = float(series.ends_s[last])
        return cls(series=series, known_until_s=until_s, last_s=until_s - float(series.starts_s[last]), days=days)

    def expect(self, starts_s: Floats, length_s: float) -> tuple[Floats, Floats]:
        """Return what slots that begin at `starts_s` usually emit, in g/kWh, and of how many days: both shape (n,).

        The value is NaN, and the number 0, where no day is known. A day with a hole at that time is left out. A day of
        the same weekday counts `SAME_WEEKDAY` times once three of them are known.
        """
        ago = np.maximum(0.0, np.ceil((starts_s + length_s - self.known_until_s) / DAY_S))  # days back to a known one
        times, row = np.unique(starts_s - ago * DAY_S, return_inverse=True)
        back = np.arange(self.days)
        values = self.series.means((times[:, None] - back * DAY_S).ravel(), length_s).reshape(-1, self.days)[row]
        known = np.isfinite(values)
        same_weekday = known & ((ago[:, None] + back) % WEEKLY_DAYS == 0)
        enough = same_weekday.sum(axis=1, keepdims=True) >= SAME_WEEKDAYS_NEEDED
        weights = np.where(same_weekday & enough, SAME_WEEKDAY, known)
        total = weights.sum(axis=1)
        sums = (weights * np.where(known, values, 0.0)).sum(axis=1)
        means = np.divide(sums, total, out=np.full(len(total), np.nan), where=total > 0)
        return means, known.sum(axis=1).astype(np.float64)

"""Who holds how many GPUs when: reservations over time, and the starts at which a job still fits."""

import numpy as np

from greenrun.core.carbon.intensity import Floats

EPSILON_S = 1e-6  # instants closer than a microsecond, the resolution of a datetime, are the same


class Timeline:
    """`units` identical GPUs (or CPU slots) and how many are taken, as a step function of epoch seconds."""

    __slots__ = ("_at_s", "_count", "_used", "units")

    def __init__(self, units: int) -> None:
        self.units = units
        self._at_s = np.full(32, -np.inf)
        self._used = np.zeros(32, dtype=np.int64)
        self._count = 1

    def reserve(self, start_s: float, end_s: float, units: int) -> None:
        """Take `units` over `[start_s, end_s)`; a negative number gives them back."""
        first = self._split(start_s)
        last = self._split(end_s)  # before the array is named below: making room replaces it
        self._used[first:last] += units

    def copy(self) -> "Timeline":
        """Return an independent copy, without the instants at which nothing changes any more."""
        twin = Timeline(self.units)
        used = self._used[: self._count]
        keep = np.concatenate([[True], used[1:] != used[:-1]])
        twin._count = int(keep.sum())
        twin._at_s = np.full(2 * twin._count + 32, -np.inf)
        twin._used = np.zeros(2 * twin._count + 32, dtype=np.int64)
        twin._at_s[: twin._count] = self._at_s[: self._count][keep]
        twin._used[: twin._count] = used[keep]
        return twin

    def blocked(self, units: int) -> tuple[Floats, Floats]:
        """Return the starts and ends, shape (n,), of the merged intervals in which fewer than `units` are free."""
        full = self._used[: self._count] > self.units - units
        turns = np.flatnonzero(full[1:] != full[:-1]) + 1  # before the first instant, and after the last, all is free
        times = self._at_s[turns]
        return times[0::2], times[1::2]

    def is_free(self, start_s: float, end_s: float, units: int) -> bool:
        """Tell whether `units` are free over `[start_s, end_s)`."""
        at_s = self._at_s[: self._count]
        first, last = at_s.searchsorted((start_s + EPSILON_S, end_s - EPSILON_S), side="right")
        return bool(self._used[first - 1 : last].max() <= self.units - units)

    def fits(self, starts_s: Floats, duration_s: float, units: int) -> np.ndarray:
        """Tell for each start whether `units` are free over `[start, start + duration_s)`."""
        if units > self.units:
            return np.zeros(len(starts_s), bool)
        begins, ends = self.blocked(units)
        if not len(begins):
            return np.ones(len(starts_s), bool)
        following = ends.searchsorted(starts_s + EPSILON_S, side="right")
        return np.asarray(np.append(begins, np.inf)[following] >= starts_s + (duration_s - EPSILON_S))

    def first_fit(self, earliest_s: float, duration_s: float, units: int) -> float | None:
        """Return the earliest start at or after `earliest_s` that fits; None when there never are that many units."""
        if units > self.units:
            return None
        if self.is_free(earliest_s, earliest_s + duration_s, units):
            return earliest_s
        _, ends = self.blocked(units)
        candidates = ends[ends > earliest_s]
        return float(candidates[np.argmax(self.fits(candidates, duration_s, units))])

    def means(self, knots_s: Floats) -> Floats:
        """Return the mean number of units taken between successive knots: shape (n,) to (n - 1,)."""
        at_s, used = self._at_s[1 : self._count], self._used[: self._count]
        if not len(at_s):
            return np.zeros(len(knots_s) - 1)
        area = np.concatenate([[0.0], np.cumsum(np.diff(at_s) * used[1:-1])])
        return np.asarray(np.diff(np.interp(knots_s, at_s, area)) / np.diff(knots_s))

    def _split(self, at_s: float) -> int:
        """Return the index of the step that begins at this instant, made if need be."""
        count = self._count
        index = int(self._at_s[:count].searchsorted(at_s - EPSILON_S))
        if index < count and self._at_s[index] <= at_s + EPSILON_S:
            return index
        if count == len(self._at_s):
            self._at_s = np.concatenate([self._at_s, np.full(count, -np.inf)])
            self._used = np.concatenate([self._used, np.zeros(count, dtype=np.int64)])
        self._at_s[index + 1 : count + 1] = self._at_s[index:count]
        self._used[index + 1 : count + 1] = self._used[index:count]
        self._at_s[index] = at_s
        self._used[index] = self._used[index - 1]
        self._count += 1
        return index

"""Who holds how many GPUs when: reservations over time, and the starts at which a job still fits."""

from dataclasses import dataclass, field

import numpy as np

from greenrun.core.intensity import Floats

EPSILON_S = 1e-6  # instants closer than a microsecond, the resolution of a datetime, are the same


@dataclass(slots=True)
class Capacity:
    """`units` identical GPUs (or CPU slots) and the intervals, in epoch seconds, over which some of them are taken."""

    units: int
    _starts_s: list[float] = field(default_factory=list)
    _ends_s: list[float] = field(default_factory=list)
    _used: list[int] = field(default_factory=list)

    def reserve(self, start_s: float, end_s: float, units: int) -> None:
        """Take `units` over `[start_s, end_s)`."""
        self._starts_s.append(start_s)
        self._ends_s.append(end_s)
        self._used.append(units)

    def copy(self) -> "Capacity":
        """Return an independent copy."""
        return Capacity(self.units, list(self._starts_s), list(self._ends_s), list(self._used))

    def blocked(self, units: int) -> tuple[Floats, Floats]:
        """Return the starts and ends, shape (n,), of the merged intervals in which fewer than `units` are free."""
        if not self._starts_s or units <= 0:
            return np.zeros(0), np.zeros(0)
        times, usage = self._usage()
        full = usage > self.units - units
        if not full.any():
            return np.zeros(0), np.zeros(0)
        rises = np.flatnonzero(full & ~np.concatenate([[False], full[:-1]]))
        falls = np.flatnonzero(full & ~np.concatenate([full[1:], [False]])) + 1
        return times[rises], times[falls]

    def fits(self, starts_s: Floats, duration_s: float, units: int) -> np.ndarray:
        """Tell for each start whether `units` are free over `[start, start + duration_s)`."""
        begin, end = self.blocked(units)
        if units > self.units:
            return np.zeros(len(starts_s), bool)
        if not len(begin):
            return np.ones(len(starts_s), bool)
        following = np.searchsorted(end, starts_s + EPSILON_S, side="right")
        next_begin = np.append(begin, np.inf)[following]
        return np.asarray(next_begin >= starts_s + duration_s - EPSILON_S)

    def first_fit(self, earliest_s: float, duration_s: float, units: int) -> float | None:
        """Return the earliest start at or after `earliest_s` that fits; None when there never are that many units."""
        if units > self.units:
            return None
        _, ends = self.blocked(units)
        candidates = np.concatenate([[earliest_s], ends[ends > earliest_s]])
        return float(candidates[np.argmax(self.fits(candidates, duration_s, units))])

    def _usage(self) -> tuple[Floats, Floats]:
        times, where = np.unique(np.concatenate([self._starts_s, self._ends_s]), return_inverse=True)
        steps = np.zeros(len(times))
        np.add.at(steps, where, np.concatenate([self._used, np.negative(self._used)]))
        return times, np.cumsum(steps)

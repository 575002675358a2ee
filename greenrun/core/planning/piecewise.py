"""Piecewise linear functions: sums of what is a step function of time, such as the intensity, from some instant on."""

from bisect import bisect_right

import numpy as np

from greenrun.core.carbon.intensity import Floats


class PiecewiseLinear:
    """A piecewise linear function, flat outside its knots, for one instant at a time, where numpy costs too much."""

    __slots__ = ("_at", "_values")

    def __init__(self, knots_s: Floats, values: Floats) -> None:
        self._at: list[float] = knots_s.tolist() or [0.0]
        self._values: list[float] = values.tolist() or [0.0]

    def at(self, at_s: float) -> float:
        """Return its value at an instant."""
        index = bisect_right(self._at, at_s)
        if not 0 < index < len(self._at):
            return self._values[0] if not index else self._values[-1]
        begin, end = self._at[index - 1], self._at[index]
        low, high = self._values[index - 1], self._values[index]
        return low + (high - low) * (at_s - begin) / (end - begin)


def rise(starts_s: Floats, ends_s: Floats, knots_s: Floats, values: Floats) -> Floats:
    """Return by how much the piecewise linear function through these values rises from each start to its end."""
    return np.asarray(np.interp(ends_s, knots_s, values) - np.interp(starts_s, knots_s, values))

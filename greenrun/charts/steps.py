"""Step functions to draw, such as the grid over time: coarser where there are more steps than pixels."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from greenrun.core.carbon.intensity import Floats, Series

Stretch = tuple[float, float]
Part = tuple[Sequence[float], Sequence[float]]  # n + 1 edges, and the n values between them

_DAY_S = 86_400.0
_ROUND_S = (60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepCurve:
    """A step function: n values between n + 1 edges in epoch seconds; NaN where nothing is known.

    `step_s` is how long a step is when the values are means over equal steps, None when they are exact.
    """

    edges_s: Floats
    values: Floats
    step_s: float | None = None

    @classmethod
    def of_slots(cls, slots: Iterable[tuple[float, float, float | None]]) -> "StepCurve":
        """Return slots as steps: start, end (epoch seconds) and value, in order; they do not overlap."""
        edges_s: list[float] = []
        values: list[float] = []
        for start_s, end_s, value in slots:
            if edges_s and start_s > edges_s[-1]:
                values.append(np.nan)
            if not edges_s or start_s > edges_s[-1]:
                edges_s.append(start_s)
            edges_s.append(end_s)
            values.append(np.nan if value is None else value)
        return cls(edges_s=np.array(edges_s), values=np.array(values))

    @property
    def top(self) -> float:
        """The greatest value; 0 when none is known."""
        return float(np.nanmax(self.values)) if np.isfinite(self.values).any() else 0.0

    def parts(self) -> Iterator[Part]:
        """The steps without holes, from hole to hole."""
        known = np.isfinite(self.values)
        for part in np.split(np.arange(len(known)), np.flatnonzero(np.diff(known.astype(int))) + 1):
            if len(part) and known[part[0]]:
                yield self.edges_s[part[0] : part[-1] + 2].tolist(), self.values[part].tolist()

    def coarser(self, most: int) -> "StepCurve":
        """Return these steps, or where there are more than `most` means over longer ones, NaN if not all is known.

        They are of a round length and lie at its multiples in UTC, so that the first and last may be cut off.
        """
        if len(self.values) <= most:
            return self
        known, widths_s = np.isfinite(self.values), np.diff(self.edges_s)
        first_s, last_s = self.edges_s[0], self.edges_s[-1]
        step_s = _round_step_s((last_s - first_s) / most)
        inner_s = np.arange(first_s // step_s + 1, ceil(last_s / step_s)) * step_s
        edges_s = np.concatenate([[first_s], inner_s, [last_s]])
        total = _between(self.edges_s, widths_s * np.where(known, self.values, 0.0), edges_s)
        holes_s = _between(self.edges_s, widths_s * ~known, edges_s)
        means = np.where(holes_s > 0.0, np.nan, total / np.diff(edges_s))
        return StepCurve(edges_s=edges_s, values=means, step_s=step_s)

    def lowest(self, share: float) -> Iterator[Stretch]:
        """The stretches with the lowest values, which together are about `share` of the time that is known."""
        known = np.flatnonzero(np.isfinite(self.values))
        order = known[np.argsort(self.values[known], kind="stable")]
        spent_s = np.cumsum(np.diff(self.edges_s)[order])
        limit_s = share * spent_s[-1] if len(order) else 0.0
        chosen = np.zeros(len(self.values) + 2, bool)
        chosen[1 + order[spent_s <= limit_s * (1 + 1e-9)]] = True
        firsts, lasts = (np.flatnonzero(np.diff(chosen.astype(int)) == sign) for sign in (1, -1))
        yield from zip(self.edges_s[firsts].tolist(), self.edges_s[lasts].tolist(), strict=True)


def intensity_steps(series: Series, start_s: float, end_s: float) -> StepCurve:
    """Return the grid from `start_s` to `end_s`, in g/kWh."""
    knots_s = np.concatenate([series.starts_s, series.ends_s])
    inside_s = np.unique(knots_s[(knots_s > start_s) & (knots_s < end_s)])
    edges_s = np.concatenate([[start_s], inside_s, [end_s]])
    return StepCurve(edges_s=edges_s, values=series.means_between(edges_s[:-1], edges_s[1:]))


def _round_step_s(least_s: float) -> float:
    return next((step_s for step_s in _ROUND_S if step_s >= least_s), _DAY_S * ceil(least_s / _DAY_S))


def _between(knots_s: Floats, parts: Floats, edges_s: Floats) -> Floats:
    return np.diff(np.interp(edges_s, knots_s, np.concatenate([[0.0], np.cumsum(parts)])))

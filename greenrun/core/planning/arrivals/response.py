"""How expected arrivals answer prices, and which GPUs are kept for them.

They are a fluid: of each class a little arrives in each hour, and spreads over its possible starts the more evenly the
less these differ in cost. That is the dual of a problem with an entropy term, whose value and gradient are exact: the
bound that they are part of is one, and the steps of the prices do not flip between starts that cost the same.

Per row with costs c of its starts and s a share of their least grams: weights exp(-c / s) / W and the value -s ln W,
where W = Σ exp(-c / s) (Boyd & Vandenberghe 2004, Convex Optimization, 3.1.5: log-sum-exp).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from greenrun.core.carbon.intensity import Floats, Series
from greenrun.core.planning.candidates import CellPositions, Ints
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.planning.lagrangian import spendings
from greenrun.core.planning.model import Arrivals
from greenrun.core.units import J_PER_KWH

EVERY_S = 3600.0  # one row stands for what arrives in this time
AHEAD_S = 48 * 3600.0  # arrivals later than this do not change what is best now
STEP_S = 1800.0  # their starts lie on a grid of instants, whatever the time is now: nothing jitters from plan to plan
SOFTNESS = 0.02  # a share of the least emissions: starts that cost so much more are chosen e times less
SMALLEST_POWER = -600.0  # e to this is more than 0, so that a window of dear starts has weights as well


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedArrivals:
    """The arrivals that a problem has to expect: k classes, r rows each (by hour of arrival), t starts.

    `grams` (k, t) are those of one GPU from each start, 0 where they are unknown; `softness_g` (k,) of one GPU.
    `allowed` (k, r, t) is 1 where the row may start, `gpus` (k, r) how many it asks for, 0 where it has no start.
    `begin` (t,) and `end` (k · t,) lie among the cells, `pools` are those of GPUs.
    """

    pools: tuple[int, ...]
    knots_s: Floats
    grams: Floats
    softness_g: Floats
    allowed: Floats
    gpus: Floats
    begin: CellPositions
    end: CellPositions

    @classmethod
    def of(
        cls, arrivals: Arrivals, now_s: float, pools: Sequence[int], knots_s: Floats, intensity: Series
    ) -> "ExpectedArrivals":
        """Put what arrives in the `AHEAD_S` after `now_s` into numbers."""
        length_s, wait_s, gpus_per_s, watts = (
            np.array([getattr(one, name) for one in arrivals])[:, None]
            for name in ("length_s", "wait_s", "gpus_per_s", "watts_per_gpu")
        )
        borders_s = np.append(now_s, EVERY_S * (np.floor(now_s / EVERY_S) + 1 + np.arange(AHEAD_S / EVERY_S)))
        release_s = (borders_s[1:] + borders_s[:-1]) / 2
        starts_s = STEP_S * np.arange(
            np.ceil(release_s[0] / STEP_S), np.ceil((release_s[-1] + wait_s.max()) / STEP_S) + 1
        )
        soonest_s = starts_s[starts_s.searchsorted(release_s - EPSILON_S)]
        latest_s = np.maximum(soonest_s, release_s + wait_s)[:, :, None] + EPSILON_S
        ends_s = starts_s + length_s
        means = intensity.means_between(np.broadcast_to(starts_s, ends_s.shape).ravel(), ends_s.ravel())
        means = means.reshape(ends_s.shape)
        allowed = (starts_s >= soonest_s[:, None] - EPSILON_S) & (starts_s <= latest_s) & ~np.isnan(means)[:, None, :]
        grams = np.nan_to_num(means) * length_s * watts / J_PER_KWH
        least = np.where(allowed, grams[:, None, :], np.inf).min(axis=2)
        has_start = np.isfinite(least)
        total = np.where(has_start, least, 0.0).sum(axis=1) / np.maximum(1, has_start.sum(axis=1))
        return cls(
            pools=tuple(pools),
            knots_s=knots_s,
            grams=grams,
            softness_g=np.maximum(SOFTNESS * total, 1e-9),
            allowed=allowed.astype(np.float64),
            gpus=np.where(has_start, gpus_per_s * np.diff(borders_s), 0.0),
            begin=CellPositions.of(starts_s, knots_s),
            end=CellPositions.of(ends_s.ravel(), knots_s),
        )

    def respond(self, prices: Floats) -> tuple[float, Floats]:
        """Return what all cost at prices (pools, cells) in g per GPU-second, and the mean GPUs that they use: alike."""
        widths = np.diff(self.knots_s)
        padded = prices * widths
        spent = spendings(prices, self.knots_s)
        shape = (len(self.grams), len(self.pools), self.grams.shape[1])
        costs = np.empty(shape)
        for nth, pool in enumerate(self.pools):
            rent = spent[pool][self.end.cell] + self.end.share * padded[pool][self.end.cell]
            begun = spent[pool][self.begin.cell] + self.begin.share * padded[pool][self.begin.cell]
            costs[:, nth] = self.grams + rent.reshape(self.grams.shape) - begun
        least = costs.min(axis=(1, 2))
        powers = (least[:, None, None] - costs) / self.softness_g[:, None, None]
        weights = np.exp(np.maximum(powers, SMALLEST_POWER))
        total = (self.allowed @ weights.sum(axis=1)[:, :, None])[:, :, 0]
        has_start = self.gpus > 0
        total = np.where(has_start, total, 1.0)
        value = float((self.gpus * (least[:, None] - self.softness_g[:, None] * np.log(total))).sum())
        weights *= (self.gpus / total)[:, None, :] @ self.allowed
        usage = np.zeros_like(prices)
        for nth, pool in enumerate(self.pools):
            usage[pool] = self._usage(weights[:, nth])
        return value, usage

    def held(self, prices: Floats) -> Ints:
        """Return how many GPUs to keep for them at these prices, shape (pools, cells)."""
        return np.floor(self.respond(prices)[1] + 1e-9).astype(np.int64)

    def _usage(self, started: Floats) -> Floats:
        """Return the mean GPUs in use by cell, where so many (k, t) start."""
        size, ended, begun = len(self.knots_s), started.ravel(), started.sum(axis=0)
        steps = np.bincount(self.begin.cell, begun, size) - np.bincount(self.end.cell, ended, size)
        parts = np.bincount(self.end.cell, ended * self.end.share, size)
        parts -= np.bincount(self.begin.cell, begun * self.begin.share, size)
        return np.asarray((np.cumsum(steps) + parts)[:-1], dtype=np.float64)

"""Every start that can be the best one of a job, priced for all jobs at once.

Intensity and prices are step functions, so what a start costs is piecewise linear in it: under any prices the best one
lies where the run begins or ends at a knot (a border of a step), or at a limit of the job's own.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.intensity import Floats, Series
from greenrun.core.planning.gpu_timelines.timeline import EPSILON_S
from greenrun.core.units import J_PER_KWH

Ints = NDArray[np.int64]
FARTHEST = 10.0  # temperatures above the least cost from which on a candidate's weight is none to speak of


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What is to be placed, one row each, shape (n,): GPUs for `length_s` from a start in `[release_s, latest_s]`.

    `pools[i]` are the pools that row i may use; `units` and `watts` may be fractions where a row stands for a mean.
    `alike[p]` is the first pool that is as good as pool p to every row that has a choice; () when none is like another.
    `mw` is what each draws of the site's power in each pool, in milliwatts, shape (pools, n); None without a cap.
    """

    release_s: Floats
    latest_s: Floats
    length_s: Floats
    units: Floats
    watts: Floats
    pools: tuple[tuple[int, ...], ...]
    alike: tuple[int, ...] = ()
    mw: Ints | None = None

    def __len__(self) -> int:
        return len(self.length_s)

    def of_power(self, row: int, pool: int) -> int:
        """Return what a row draws of the site's power in a pool, in milliwatts; 0 where that is not capped."""
        return 0 if self.mw is None else int(self.mw[pool, row])

    @property
    def kinds(self) -> tuple[tuple[int, ...], ...]:
        """The pools of which each row is given candidates: of like ones the first only, since prices are the same."""
        if not self.alike:
            return self.pools
        seen: dict[tuple[int, ...], tuple[int, ...]] = {
            own: tuple(sorted({self.alike[pool] for pool in own})) for own in set(self.pools)
        }
        return tuple(seen[own] for own in self.pools)


def _like_rows(demands: Demands) -> tuple[Ints, Floats]:
    """Return the first row of each kind that asks for the same, in order, and how many rows each kind has."""
    nth = {own: number for number, own in enumerate(dict.fromkeys(demands.pools))}
    pools = np.array([nth[own] for own in demands.pools], dtype=np.float64)
    columns = (pools, demands.watts, demands.units, demands.latest_s, demands.release_s, demands.length_s)
    order = np.lexsort(columns)
    new = np.any([np.diff(column[order], prepend=np.nan) != 0 for column in columns], axis=0)
    begins = np.flatnonzero(new)
    firsts, counts = order[begins], np.diff(np.append(begins, len(order)))  # sorting keeps the order of equals
    ranked = firsts.argsort()
    return firsts[ranked], counts[ranked].astype(np.float64)


def like_pools(wishes: Collection[tuple[int, ...]], count: int) -> tuple[int, ...]:
    """Return for each of so many pools the first one that the same rows may use; `wishes` are the pools of each row."""
    users = [frozenset(nth for nth, own in enumerate(dict.fromkeys(wishes)) if pool in own) for pool in range(count)]
    return tuple(users.index(own) if own else pool for pool, own in enumerate(users))


@dataclass(frozen=True, slots=True, kw_only=True)
class CellPositions:
    """Instants among the knots, shape (n,): `cell` holds the index of the cell, `share` (0-1) how far into it."""

    cell: Ints
    share: Floats

    @classmethod
    def of(cls, at_s: Floats, knots_s: Floats) -> "CellPositions":
        """Find the cell of each instant; before the first knot and after the last is the border itself."""
        cell = np.clip(knots_s.searchsorted(at_s + EPSILON_S, side="right") - 1, 0, len(knots_s) - 2)
        share = np.clip((at_s - knots_s[cell]) / (knots_s[cell + 1] - knots_s[cell]), 0.0, 1.0)
        share[share < 1e-9] = 0.0
        return cls(cell=cell, share=share)

    def only(self, which: Ints) -> "CellPositions":
        """Return those with these indices."""
        return CellPositions(cell=self.cell[which], share=self.share[which])


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The candidate starts of all rows, flat: those of row i lie in `first[i]:first[i + 1]`, in order of start by pool.

    Of like pools only the first is listed.
    `grams` is what the energy of each emits. `begin` and `end` place each run among the cells of all pools, `stride`
    cells to a pool.
    """

    demands: Demands
    knots_s: Floats
    first: Ints
    row: Ints
    pool: Ints
    starts_s: Floats
    grams: Floats
    begin: CellPositions
    end: CellPositions
    stride: int
    _units: Floats = field(init=False, repr=False)  # by candidate; kept, since each step of the prices needs them
    _filled: Ints = field(init=False, repr=False)  # the rows that have candidates
    _merged: "tuple[Candidates, ...] | None" = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_units", self.demands.units[self.row])
        object.__setattr__(self, "_filled", np.flatnonzero(np.diff(self.first)))

    @classmethod
    def of(cls, demands: Demands, knots_s: Floats, intensity: Series, without: Collection[int] = ()) -> "Candidates":
        """List the starts whose whole run has a known intensity; a row without any has none, nor those `without`."""
        row, starts_s = _starts(demands, knots_s)
        if without:
            wanted = ~np.isin(row, list(without))
            row, starts_s = row[wanted], starts_s[wanted]
        ends_s = starts_s + demands.length_s[row]
        means = intensity.means_between(starts_s, ends_s)
        known = np.flatnonzero(~np.isnan(means))
        row, starts_s, ends_s, means = row[known], starts_s[known], ends_s[known], means[known]
        pool = np.zeros(len(row), dtype=np.int64)
        if any(pools != (0,) for pools in demands.kinds):
            row, pool, pick = _over_pools(row, demands.kinds)
            starts_s, ends_s, means = starts_s[pick], ends_s[pick], means[pick]
        stride = len(knots_s)
        begin, end = CellPositions.of(starts_s, knots_s), CellPositions.of(ends_s, knots_s)
        return cls(
            demands=demands,
            knots_s=knots_s,
            first=np.searchsorted(row, np.arange(len(demands) + 1)),
            row=row,
            pool=pool,
            starts_s=starts_s,
            grams=means * (ends_s - starts_s) * demands.watts[row] / J_PER_KWH,
            begin=CellPositions(cell=begin.cell + pool * stride, share=begin.share),
            end=CellPositions(cell=end.cell + pool * stride, share=end.share),
            stride=stride,
        )

    def costs(self, prices: Floats) -> Floats:
        """Return grams plus what the GPUs cost at `prices`, shape (pools, cells), in g per GPU-second."""
        widths = np.diff(self.knots_s)
        padded = np.zeros((len(prices), self.stride))  # each pool's last cell is a border of no width
        padded[:, :-1] = prices * widths
        total = np.zeros_like(padded)
        np.cumsum(padded[:, :-1], axis=1, out=total[:, 1:])
        cells, sums = padded.ravel(), total.ravel()
        spent = sums[self.end.cell] + self.end.share * cells[self.end.cell]
        spent -= sums[self.begin.cell] + self.begin.share * cells[self.begin.cell]
        spent *= self._units
        spent += self.grams
        return spent

    def cheapest(self, costs: Floats) -> tuple[Ints, Floats]:
        """Return the rows' cheapest candidates, the earliest of equals, and what they cost, for rows with any."""
        if not len(self._filled):
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        begins = self.first[self._filled]
        least = np.minimum.reduceat(costs, begins)
        hits = np.flatnonzero(costs <= np.repeat(least * (1 + 1e-12), self.first[self._filled + 1] - begins))
        return hits[np.searchsorted(hits, begins)], least

    def merged(self) -> "Candidates":
        """Return the same with one row for all that are alike, which asks for as much as they do together.

        At any prices it costs, chooses and uses the same as they do, since all of them prefer the same starts.
        """
        if self._merged is None:  # kept, since plans ask twice; without itself in itself it is gone as soon as unused
            made = self._with_like_rows_as_one()
            object.__setattr__(self, "_merged", () if made is self else (made,))
        return self._merged[0] if self._merged else self

    def _with_like_rows_as_one(self) -> "Candidates":
        firsts, counts = _like_rows(self.demands)
        if len(firsts) == len(self.demands):
            return self
        demands, number = self.demands, np.full(len(self.demands), -1)
        number[firsts] = np.arange(len(firsts))
        kept = np.flatnonzero(number[self.row] >= 0)
        row = number[self.row[kept]]
        return replace(
            self,
            demands=replace(
                demands,
                release_s=demands.release_s[firsts],
                latest_s=demands.latest_s[firsts],
                length_s=demands.length_s[firsts],
                units=demands.units[firsts] * counts,
                watts=demands.watts[firsts] * counts,
                pools=tuple(demands.pools[first] for first in firsts.tolist()),
            ),
            first=np.searchsorted(row, np.arange(len(firsts) + 1)),
            row=row,
            pool=self.pool[kept],
            starts_s=self.starts_s[kept],
            grams=self.grams[kept] * counts[row],
            begin=self.begin.only(kept),
            end=self.end.only(kept),
        )

    def shared(self, costs: Floats, temperatures: Floats) -> tuple[Ints, Floats, Floats]:
        """Share each row out among its nearly cheapest candidates: (candidates, their weights, least cost by row).

        A candidate that costs x more than the row's cheapest weighs exp(-x / temperature); a row's weights add up to
        1. `temperatures` are in g, above 0, shape (n,); only rows that have candidates are answered for.
        """
        filled = np.flatnonzero(np.diff(self.first))
        if not len(filled):
            return np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0)
        begins, temperatures = self.first[filled], temperatures[filled]
        least = np.minimum.reduceat(costs, begins)
        counts = np.diff(np.append(begins, len(costs)))
        near = np.flatnonzero(costs <= np.repeat(least + FARTHEST * temperatures, counts))
        begins = np.searchsorted(near, begins)
        counts = np.diff(np.append(begins, len(near)))
        weights = np.exp((np.repeat(least, counts) - costs[near]) / np.repeat(temperatures, counts))
        weights /= np.repeat(np.add.reduceat(weights, begins), counts)
        return near, weights, least

    def usage(self, chosen: Ints, pools: int, weights: Floats | None = None) -> Floats:
        """Return the mean number of GPUs that the chosen candidates take in each cell: shape (pools, cells).

        `weights` are the shares, 0-1, in which candidates are chosen, if not wholly.
        """
        units = self.demands.units[self.row[chosen]]
        if weights is not None:
            units = units * weights
        size = pools * self.stride
        begin, end = self.begin.cell[chosen], self.end.cell[chosen]
        steps = np.bincount(begin, units, size) - np.bincount(end, units, size)
        parts = np.bincount(end, units * self.end.share[chosen], size)
        parts -= np.bincount(begin, units * self.begin.share[chosen], size)
        used = np.cumsum(steps.reshape(pools, self.stride), axis=1) + parts.reshape(pools, self.stride)
        return np.asarray(used[:, :-1])


def _starts(demands: Demands, knots_s: Floats) -> tuple[Ints, Floats]:
    """Return the row and the instant of each candidate start, rows in order and starts in order within each."""
    rows, starts = [], []
    for offsets in (np.zeros(len(demands)), demands.length_s):  # the run begins at a knot, or it ends at one
        low = knots_s.searchsorted(demands.release_s + offsets + EPSILON_S, side="right")
        high = knots_s.searchsorted(demands.latest_s + offsets - EPSILON_S)
        counts = np.maximum(high - low, 0)
        row = np.repeat(np.arange(len(demands)), counts)
        within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows.append(row)
        starts.append(knots_s[low[row] + within] - offsets[row])
    every = np.arange(len(demands))
    row = np.concatenate([*rows, every, every])
    start = np.concatenate([*starts, demands.release_s, demands.latest_s])
    order = np.lexsort((start, row))
    row, start = row[order], start[order]
    new = np.ones(len(row), bool)
    new[1:] = (np.diff(row) > 0) | (np.diff(start) > EPSILON_S)
    return row[new], start[new]


def _over_pools(row: Ints, pools: tuple[tuple[int, ...], ...]) -> tuple[Ints, Ints, Ints]:
    """Repeat each candidate for every pool its row may use: (row, pool, index of the candidate)."""
    counts = np.array([len(own) for own in pools], dtype=np.int64)[row]
    pick = np.repeat(np.arange(len(row)), counts)
    nth = np.arange(len(pick)) - np.repeat(np.cumsum(counts) - counts, counts)
    flat = np.concatenate([np.array(own, dtype=np.int64) for own in pools]) if pools else np.zeros(0, dtype=np.int64)
    begins = np.concatenate([[0], np.cumsum([len(own) for own in pools])])
    again = row[pick]
    return again, flat[begins[again] + nth], pick

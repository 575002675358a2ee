"""The least that any schedule of given jobs could have emitted, known with hindsight: what no policy can undercut.

A price per GPU-second replaces the limit on GPUs (Lagrangian relaxation; Fisher 1981). With prices given the jobs
separate, and each takes its cheapest start (or, when it is interruptible, its cheapest seconds); what they pay, less
what all GPUs would earn, is at most what any schedule that meets all limits emits. Prices are steps on a grid, but
starts are not: the bound holds in continuous time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.intensity import Floats, Series
from greenrun.core.units import J_PER_KWH
from greenrun.simulation.policies import Arrival

Indices = NDArray[np.int64]

GRID_S = 900.0  # prices that change more often raised no bound by more than 0.01 %: measured
_PROOF_ITERATIONS, _PROOF_SHARE = 200, 1e-6  # to disprove a schedule; the share of all GPU time is no rounding
MOST_CANDIDATES = 1_500_000  # starts looked at in each iteration; the grid is made coarser to stay below it
_PATIENCE, _SHRINK = 8, 0.7  # iterations without a better bound after which the step is made smaller, and by how much


@dataclass(frozen=True, slots=True, kw_only=True)
class HindsightBound:
    """Grams CO2e that no schedule meeting every limit can undercut, else None and why: a clause for people."""

    grams: float | None
    why_none: str = ""


def hindsight_bound(
    jobs: Sequence[Arrival],
    gpus: int | None,
    series: Series,
    *,
    iterations: int = 400,
    feasible: bool = False,
) -> HindsightBound:
    """Return the least that any schedule meeting every limit emits, and none where there is no such schedule.

    `gpus` None: there are always enough, and the bound is what the best schedule emits, restart costs aside.
    `feasible`: a schedule is known that meets all limits, so that it need not be tried to disprove one.
    """
    if not jobs:
        return HindsightBound(grams=0.0)
    grid = _Grid.over(jobs, series)
    if grid is None:
        return HindsightBound(grams=None, why_none="the intensity is not known for all of the time")
    groups = [group for group in (_whole(jobs, grid), _divisible(jobs, grid)) if group is not None]
    if gpus is None:
        return HindsightBound(grams=sum(group.least(np.zeros(len(grid.widths_s)))[0] for group in groups))
    if not feasible and _is_infeasible(jobs, groups, grid, gpus):
        return HindsightBound(grams=None, why_none="no schedule keeps every limit")
    return HindsightBound(grams=_ascend(groups, grid, gpus, iterations))


def _is_infeasible(jobs: Sequence[Arrival], groups: Sequence["_Whole | _Divisible"], grid: "_Grid", gpus: int) -> bool:
    """Tell whether it is proved that no schedule keeps every limit; it may be so unproved.

    If nothing is emitted, a schedule costs nothing: prices at which the jobs pay more than all GPUs earn disprove it
    (Farkas' lemma).
    """
    if any(job.gpus > gpus for job in jobs):
        return True
    scale = gpus * float(grid.widths_s.sum())
    free = [group.without_emissions() for group in groups]
    return _ascend(free, grid, gpus, _PROOF_ITERATIONS, guess=scale, enough=_PROOF_SHARE * scale) > _PROOF_SHARE * scale


def _ascend(
    groups: Sequence["_Whole | _Divisible"],
    grid: "_Grid",
    gpus: int,
    iterations: int,
    *,
    guess: float = 0.0,
    enough: float = inf,
) -> float:
    """Raise the prices where more GPUs are wanted than there are (Polyak's step); return the best bound seen.

    `guess` is how far above the first bound the best may be, by default a fifth of it; a bound above `enough` will do.
    """
    prices = np.zeros(len(grid.widths_s))
    best, step, stalled = -inf, 1.0, 0
    for _ in range(iterations):
        answers = [group.least(prices) for group in groups]
        bound = sum(value for value, _ in answers) - gpus * float(prices @ grid.widths_s)
        guess = guess or 0.2 * abs(bound)
        stalled = 0 if bound > best else stalled + 1
        best = max(best, bound)
        if best > enough:
            break
        if stalled >= _PATIENCE:
            step, stalled = step * _SHRINK, 0
        excess = sum(usage for _, usage in answers) - gpus * grid.widths_s
        excess = np.where((prices <= 0) & (excess < 0), 0.0, excess)
        norm = float(excess @ excess)
        if norm <= 1e-9:
            break
        prices = np.maximum(0.0, prices + step * guess / norm * excess)
    return best


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    """Cells, shape (n,), on which intensity and prices are constant; `grams` per watt over each whole cell."""

    edges_s: Floats
    widths_s: Floats
    grams: Floats

    @classmethod
    def over(cls, jobs: Sequence[Arrival], series: Series) -> "_Grid | None":
        start_s = min(job.submitted_s for job in jobs)
        end_s = max(job.latest_end_s for job in jobs)
        wait_s = sum(job.max_delay_s for job in jobs if not job.interruptible)
        step_s = GRID_S * max(1.0, np.ceil(2 * wait_s / GRID_S / MOST_CANDIDATES)) if wait_s else end_s - start_s
        inner = np.concatenate([series.starts_s, np.arange(start_s, end_s, step_s)])
        edges_s = np.unique(np.concatenate([[start_s, end_s], inner[(inner > start_s) & (inner < end_s)]]))
        edges_s = edges_s[np.append(True, np.diff(edges_s) > 1e-6)]
        slot = np.searchsorted(series.starts_s, edges_s[:-1], side="right") - 1
        if slot[0] < 0 or np.any(series.ends_s[slot] < edges_s[1:] - 1e-3):
            return None
        widths_s = np.diff(edges_s)
        return cls(edges_s=edges_s, widths_s=widths_s, grams=series.values[slot] * widths_s / J_PER_KWH)

    def place(self, at_s: Floats) -> tuple[Indices, Floats]:
        """Return the cell that holds each instant, and which share of the cell lies before it."""
        cell = np.clip(np.searchsorted(self.edges_s, at_s, side="right") - 1, 0, len(self.widths_s) - 1)
        return cell, np.clip((at_s - self.edges_s[cell]) / self.widths_s[cell], 0.0, 1.0)

    def integral(self, per_cell: Floats, cell: Indices, share: Floats) -> Floats:
        """Return the sum of what the cells hold up to each place."""
        total = np.concatenate([[0.0], np.cumsum(per_cell)])
        return np.asarray(total[cell] + share * per_cell[cell])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Whole:
    """Jobs that run in one piece: every start at which the best can lie, job after job, each from `first` on."""

    grid: _Grid
    first: Indices
    job: Indices
    gpus: Floats
    grams: Floats
    starts: tuple[Indices, Floats]
    ends: tuple[Indices, Floats]

    def least(self, prices: Floats) -> tuple[float, Floats]:
        """Return what the jobs pay at their cheapest starts, and the GPU-seconds they then use of each cell."""
        cost_of_cell = prices * self.grid.widths_s
        rent = self.grid.integral(cost_of_cell, *self.ends) - self.grid.integral(cost_of_cell, *self.starts)
        cost = self.grams + self.gpus * rent
        least = np.minimum.reduceat(cost, self.first)
        at_least = np.flatnonzero(cost <= least[self.job])
        chosen = at_least[np.unique(self.job[at_least], return_index=True)[1]]
        return float(least.sum()), self._usage(chosen)

    def without_emissions(self) -> "_Whole":
        """Return the same jobs as if no energy emitted anything."""
        return replace(self, grams=np.zeros_like(self.grams))

    def _usage(self, chosen: Indices) -> Floats:
        steps = np.zeros(len(self.grid.widths_s) + 1)
        partial = np.zeros(len(self.grid.widths_s))
        for (cell, share), sign in ((self.starts, 1.0), (self.ends, -1.0)):
            here, gpus = cell[chosen], sign * self.gpus[chosen]
            np.add.at(steps, here, gpus)
            np.add.at(partial, here, -gpus * share[chosen])
        return np.asarray((np.cumsum(steps[:-1]) + partial) * self.grid.widths_s)


def _whole(jobs: Sequence[Arrival], grid: _Grid) -> _Whole | None:
    own = [job for job in jobs if not job.interruptible]
    if not own:
        return None
    starts = [_candidates(job, grid) for job in own]
    counts = np.array([len(each) for each in starts])
    job = np.repeat(np.arange(len(own)), counts)
    starts_s = np.concatenate(starts)
    ends_s = starts_s + np.array([each.duration_s for each in own])[job]
    begin, end = grid.place(starts_s), grid.place(ends_s)
    watts = np.array([each.power_w for each in own])[job]
    return _Whole(
        grid=grid,
        first=np.concatenate([[0], np.cumsum(counts)[:-1]]),
        job=job,
        gpus=np.array([float(each.gpus) for each in own])[job],
        grams=watts * (grid.integral(grid.grams, *end) - grid.integral(grid.grams, *begin)),
        starts=begin,
        ends=end,
    )


def _candidates(job: Arrival, grid: _Grid) -> Floats:
    """The starts at which a window begins or ends at an edge, and the limits themselves."""
    edges_s = grid.edges_s
    first, last = np.searchsorted(edges_s, [job.submitted_s, job.latest_start_s])
    first_end, last_end = np.searchsorted(edges_s, [job.submitted_s + job.duration_s, job.latest_end_s])
    inner = np.concatenate([edges_s[first:last], edges_s[first_end:last_end] - job.duration_s])
    return np.unique(np.concatenate([[job.submitted_s, job.latest_start_s], inner]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Divisible:
    """Jobs that may be interrupted at no cost: the cells open to each, shape (jobs, cells), padded with width 0."""

    grid: _Grid
    cells: Indices
    widths_s: Floats
    duration_s: Floats
    watts: Floats
    gpus: Floats

    def least(self, prices: Floats) -> tuple[float, Floats]:
        """Return what the jobs pay for their cheapest seconds, and the GPU-seconds they then use of each cell."""
        rate = self.grid.grams / self.grid.widths_s
        cost = self.watts[:, None] * rate[self.cells] + self.gpus[:, None] * prices[self.cells]
        order = np.argsort(cost, axis=1, kind="stable")
        width = np.take_along_axis(self.widths_s, order, axis=1)
        before = np.cumsum(width, axis=1) - width
        taken = np.clip(self.duration_s[:, None] - before, 0.0, width)
        usage = np.zeros(len(self.grid.widths_s))
        np.add.at(usage, np.take_along_axis(self.cells, order, axis=1), taken * self.gpus[:, None])
        return float((np.take_along_axis(cost, order, axis=1) * taken).sum()), usage

    def without_emissions(self) -> "_Divisible":
        """Return the same jobs as if no energy emitted anything."""
        return replace(self, watts=np.zeros_like(self.watts))


def _divisible(jobs: Sequence[Arrival], grid: _Grid) -> _Divisible | None:
    own = [job for job in jobs if job.interruptible]
    if not own:
        return None
    begin_s = np.array([job.submitted_s for job in own])
    end_s = np.array([job.latest_end_s for job in own])
    first = np.searchsorted(grid.edges_s, begin_s, side="right") - 1
    last = np.searchsorted(grid.edges_s, end_s)
    cells = np.minimum(first[:, None] + np.arange((last - first).max()), len(grid.widths_s) - 1)
    is_own = first[:, None] + np.arange((last - first).max()) < last[:, None]
    opened = np.minimum(grid.edges_s[cells + 1], end_s[:, None]) - np.maximum(grid.edges_s[cells], begin_s[:, None])
    return _Divisible(
        grid=grid,
        cells=cells,
        widths_s=np.where(is_own, np.maximum(opened, 0.0), 0.0),
        duration_s=np.array([job.duration_s for job in own]),
        watts=np.array([job.power_w for job in own]),
        gpus=np.array([float(job.gpus) for job in own]),
    )

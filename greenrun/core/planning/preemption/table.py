"""The cheapest cells for an interruptible job to run in, by dynamic programming: exact, and dear for many jobs."""

from dataclasses import dataclass

import numpy as np

from greenrun.core.carbon.intensity import Floats

Cells = list[tuple[int, int]]  # half-open intervals of cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is asked for, in cells: so many of work, in runs of at least `min_run`, each restart taking `restart` more.

    `begun`: some of the work was done before, so that the first start is a restart too. `running`: it runs on into the
    first cell unless it is suspended, which it cannot be before it ran for `forced` more cells.
    """

    work: int
    min_run: int = 1
    restart: int = 0
    begun: bool = False
    running: bool = False
    forced: int = 0


def cheapest_cells(costs: Floats, shape: Shape) -> tuple[float, Cells] | None:
    """Return the least cost and the runs that have it; None when the work does not fit.

    `costs`, shape (n,), are what running over each cell costs, infinite where the job cannot run. Of equals the
    earliest cells are taken.
    """
    if np.count_nonzero(np.isfinite(costs)) < shape.work:
        return None
    if shape.restart == 0 and shape.min_run <= 1 and not shape.forced:
        return _cheapest_apart(costs, shape.work)
    return _Table(costs, shape).best()


def _cheapest_apart(costs: Floats, work: int) -> tuple[float, Cells]:
    """Where suspending costs nothing the cheapest cells are the best ones."""
    taken = np.sort(costs.round(12).argsort(kind="stable")[:work])
    breaks = (taken[1:] - taken[:-1] > 1).nonzero()[0]
    begins, ends = taken[[0, *(breaks + 1)]], taken[[*breaks, -1]] + 1
    return float(costs[taken].sum()), list(zip(begins.tolist(), ends.tolist(), strict=True))


class _Table:
    """The least cost of finishing from each state, filled from the last cell to the first."""

    def __init__(self, costs: Floats, shape: Shape) -> None:
        self._costs, self._shape = costs, shape
        cells, self._start = len(costs), int(shape.begun or shape.running)
        self._work = (
            shape.work + self._start
        )  # a job that was begun has done one cell, so that its next start is a restart
        done = np.arange(self._work + 1)
        self._least = np.minimum(max(1, shape.min_run), self._work - done)
        self._length = self._least + np.where(done > 0, shape.restart, 0)
        blocked = ~np.isfinite(costs)
        self._sums = np.concatenate([[0.0], np.cumsum(np.where(blocked, 0.0, costs))])
        self._blocked = np.concatenate([[0], np.cumsum(blocked)])
        self._idle = np.full((cells + 1, self._work + 1), np.inf)
        self._run = np.full((cells + 1, self._work + 1), np.inf)
        self._idle[:, self._work] = self._run[:, self._work] = 0.0
        for cell in range(cells - 1, -1, -1):
            self._fill(cell, done)

    def _fill(self, cell: int, done: np.ndarray) -> None:
        ends = cell + self._length
        inside = (ends < len(self._sums)) & (done < self._work)
        ends = np.where(inside, ends, cell)
        begun = self._sums[ends] - self._sums[cell] + self._run[ends, np.minimum(done + self._least, self._work)]
        begun[~inside | (self._blocked[ends] > self._blocked[cell])] = np.inf
        idle, run = self._idle[cell], self._run[cell]
        np.minimum(self._idle[cell + 1], begun, out=idle)
        run[:-1] = np.minimum(self._costs[cell] + self._run[cell + 1, 1:], idle[:-1])
        idle[self._work] = run[self._work] = 0.0

    def best(self) -> tuple[float, Cells] | None:
        """Walk from the first state along what it cost."""
        forced = min(self._shape.forced, self._shape.work) if self._shape.running else 0
        if forced > len(self._costs) or self._blocked[forced]:
            return None
        cell, done, running = forced, self._start + forced, self._shape.running
        total = self._sums[forced] + (self._run if running else self._idle)[cell, done]
        if not np.isfinite(total):
            return None
        runs: Cells = [(0, forced)] if forced else []
        while done < self._work:
            cell, done, running, ran = self._step(cell, done, running)
            if ran is not None:
                runs.append(ran)
        return float(total), _joined(runs)

    def _step(self, cell: int, done: int, running: bool) -> tuple[int, int, bool, tuple[int, int] | None]:
        if running:
            on = self._costs[cell] + self._run[cell + 1, done + 1] if cell < len(self._costs) else np.inf
            if on <= self._idle[cell, done]:
                return cell + 1, done + 1, True, (cell, cell + 1)
            return cell, done, False, None
        end, gained = cell + int(self._length[done]), int(self._least[done])
        if end < len(self._sums) and self._blocked[end] == self._blocked[cell]:
            begun = self._sums[end] - self._sums[cell] + self._run[end, done + gained]
            if begun <= self._idle[cell + 1, done]:
                return end, done + gained, True, (cell, end)
        return cell + 1, done, False, None


def _joined(runs: Cells) -> Cells:
    """Put runs together that follow one another without a break."""
    joined: Cells = []
    for begin, end in runs:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined

"""What jobs that may be suspended cost at least at given prices of GPUs, and which GPUs they then ask for.

With a price on the time that a job still needs (Lagrangian relaxation once more) each cell is run in or not, which two
states decide: one pass over the cells does it for all rows, and for some prices of time at once. Any price of time
gives a lower bound, whatever the instants at which a job is suspended and continued; the best one is looked for. Runs
at that price do a little more than is needed or a little less: what is asked for is the mix of both that does just that
(Geoffrion 1974, Mathematical Programming Study 2: the relaxation's optimum is a mix of such choices).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.intensity import Floats
from greenrun.core.planning.preemption.intervals import Interruptible

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

SIDES = np.array([-1.0, 0.0, 1.0])  # prices of time are tried below the best so far, at it, and above
MIDDLE, FURTHER = 1, 1.5
FIRST_ROUNDS, CLOSEST = 8, 5e-3  # how often the search closes in at first; how near two prices of time are at least
MOST_LINES, FURTHER_UP, TINY, WHOLE_S = 40, 4.0, 1e-10, 1e-6
BLOCKED = 1e30  # running where no intensity is known; infinite costs have no difference


@dataclass(slots=True)
class _Bracket:
    """The best price of time so far of each row, shape (rows,), and how far around it to look next, in g/s."""

    middle: Floats
    half: Floats


@dataclass(slots=True)
class _Line:
    """What one choice of runs of each row costs and how much of the work it does, shape (rows,)."""

    cost: Floats
    work_s: Floats

    @classmethod
    def nothing(cls, rows: int) -> "_Line":
        return cls(np.zeros(rows), np.zeros(rows))

    def at(self, price: Floats, length_s: Floats) -> Floats:
        """Return the bound that it gives on the best one at a price of time."""
        return self.cost + price * (length_s - self.work_s)

    def where(self, is_new: Bools, other: "_Line") -> "_Line":
        return _Line(np.where(is_new, other.cost, self.cost), np.where(is_new, other.work_s, self.work_s))


class SuspendableRows:
    """All rows of one pool that may be suspended, cell by cell from each row's first; shapes are (cells, rows).

    `open_s` are the seconds of each cell in which a row may run.
    """

    def __init__(self, jobs: Sequence[Interruptible], watts_g_per_j: Floats, knots_s: Floats, means: Floats) -> None:
        """`means`, shape (cells,), are g/kWh, NaN where unknown; `watts_g_per_j`, shape (rows,), take them to g/s."""
        release_s, deadline_s, self.length_s, self._restart_s = np.array(
            [(job.release_s, job.ends_s, job.length_s, job.restart_s) for job in jobs]
        ).T
        self._begun = np.array([job.is_running for job in jobs])
        self._units = np.array([float(job.units) for job in jobs])
        first = np.maximum(knots_s.searchsorted(release_s + 1e-6, side="right") - 1, 0)
        last = np.minimum(knots_s.searchsorted(deadline_s - 1e-6), len(knots_s) - 1)
        count = max(1, int((last - first).max(initial=1)))
        cell = first + np.arange(count)[:, None]
        inside = cell < np.maximum(last, first + 1)
        self._cell = np.minimum(cell, len(knots_s) - 2)
        begins_s, ends_s = knots_s[self._cell], knots_s[self._cell + 1]
        open_s = np.maximum(0.0, np.minimum(ends_s, deadline_s) - np.maximum(begins_s, release_s)) * inside
        mean = means[self._cell]
        self._known = ~np.isnan(mean)
        self._blocked = ~self._known & (open_s > 0)
        self._open_s = np.where(self._known, open_s, 0.0)
        self._rates = np.where(self._known, mean, 0.0) * watts_g_per_j
        self._width_s = ends_s - begins_s
        self._cells = len(knots_s) - 1
        self._bracket: _Bracket | None = None

    @property
    def cells(self) -> int:
        """How many cells there are of all rows."""
        return int(self._open_s.size)

    def least(self, prices: Floats) -> Floats:
        """Return what each row costs at least at `prices`, shape (cells of the pool,): the best bound of all prices.

        Each choice of runs bounds the cost at all prices of time by a line. Where the lines of two choices meet, one
        that does too little and one that does enough, is the next price to try, until no choice there is below both.
        """
        rates, length_s = self._rates + prices[self._cell] * self._units, self.length_s
        tried = (self._bracket or self._first_bracket(rates)).middle
        low, high = _Line.nothing(len(length_s)), _Line.nothing(len(length_s))
        best, has_high = np.zeros(len(length_s)), np.zeros(len(length_s), bool)
        for _ in range(MOST_LINES):
            value, chosen = self._chosen(rates, tried[:, None])
            work_s = chosen.work_s(self._open_s, self._restart_s)[:, 0]
            line = _Line(value[:, 0] + tried * work_s, work_s)
            bound = value[:, 0] + tried * length_s
            is_known = has_high & (bound >= np.minimum(low.at(tried, length_s), high.at(tried, length_s)) * (1 - TINY))
            best = np.maximum(best, bound)
            does_enough = work_s >= length_s - WHOLE_S
            low, high = low.where(~does_enough, line), high.where(does_enough, line)
            has_high |= does_enough
            if is_known.all():
                break
            with np.errstate(divide="ignore", invalid="ignore"):
                meet = (high.cost - low.cost) / (high.work_s - low.work_s)
            tried = np.where(is_known, tried, np.where(has_high, meet, tried * FURTHER_UP))
        return best

    def _first_bracket(self, rates: Floats) -> _Bracket:
        high = 2 * np.where(self._open_s > 0, rates, 0.0).max(axis=0, initial=0.0) + 1e-12
        return _Bracket(high / 2, high / 2)

    def _tried(self, bracket: _Bracket) -> Floats:
        return np.asarray(np.maximum(0.0, bracket.middle[:, None] + bracket.half[:, None] * SIDES))

    def respond(self, prices: Floats) -> tuple[Floats, Floats]:
        """Return what each row costs at least, shape (rows,), and the GPUs that each asks for, shape (cells, rows).

        It begins with the prices of time that were the best the last time.
        """
        rates = self._rates + prices[self._cell] * self._units
        rounds = 1
        if self._bracket is None:
            self._bracket, rounds = self._first_bracket(rates), FIRST_ROUNDS
        for nth in range(rounds):
            tried = self._tried(self._bracket)
            if nth < rounds - 1:
                value, chosen = self._values(rates, tried), None
            else:
                value, chosen = self._chosen(rates, tried)
            value += tried * self.length_s[:, None]
            at = _best(value)
            self._bracket = _closer(self._bracket, tried, at, CLOSEST * (nth == rounds - 1))
        assert chosen is not None
        return self._mixed(value, chosen, at)

    def _mixed(self, value: Floats, chosen: "_Chosen", at: Ints) -> tuple[Floats, Floats]:
        """Return the best bounds, and the mix of two choices beside each that does just the work."""
        every = np.arange(len(at))
        work_s = chosen.work_s(self._open_s, self._restart_s)
        mine = work_s[every, at]
        does_less = mine < self.length_s
        other = np.clip(at + np.where(does_less, 1, -1), 0, len(SIDES) - 1)
        gained = work_s[every, other] - mine
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(np.abs(gained) > 1e-6, (self.length_s - mine) / gained, 0.0)
        share = np.clip(share, 0.0, 1.0)
        on = chosen.on[:, every, at] * (1 - share) + chosen.on[:, every, other] * share
        return value[every, at], on * self._open_s / self._width_s * self._units

    def usage(self, asked: Floats) -> Floats:
        """Return the GPUs asked for in each cell of the pool, from those of each row, shape (cells, rows)."""
        return np.asarray(np.bincount(self._cell.ravel(), asked.ravel(), minlength=self._cells), dtype=np.float64)

    def _values(self, rates: Floats, tried: Floats) -> Floats:
        """Return the least of cost less work, each second of it worth `tried`; shape (rows, prices tried)."""
        return _pass(self._gains(rates, tried), tried * self._restart_s[:, None], self._begun, None)

    def _chosen(self, rates: Floats, tried: Floats) -> tuple[Floats, "_Chosen"]:
        """Return the same, and the choices."""
        shape = (len(rates), *tried.shape)
        chosen = _Chosen(shape)
        value = _pass(self._gains(rates, tried), tried * self._restart_s[:, None], self._begun, chosen)
        chosen.trace()
        return value, chosen

    def _gains(self, rates: Floats, tried: Floats) -> Floats:
        """Return what running over each cell costs less what it is worth; shape (cells, rows, prices tried)."""
        gains = (rates[:, :, None] - tried) * self._open_s[:, :, None]
        if self._blocked.any():
            gains[self._blocked] = BLOCKED
        return gains


class _Chosen:
    """The choices that a pass takes, shape (cells, rows, prices tried): in which cells to run."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.on, self.started, self.fresh, self.stopped = (np.zeros(shape, bool) for _ in range(4))
        self._restarts = np.zeros(shape[1:])

    def trace(self) -> None:
        """Follow the choices from the last cell to the first."""
        is_on, is_done = np.zeros(self.on.shape[1:], bool), np.zeros(self.on.shape[1:], bool)
        for cell in range(len(self.on) - 1, -1, -1):
            np.logical_or(is_on, self.stopped[cell], out=is_on)
            np.logical_and(is_on, ~is_done, out=is_on)
            self.on[cell] = is_on
            begins = is_on & self.started[cell]
            is_done |= begins & self.fresh[cell]
            self._restarts += begins & ~self.fresh[cell]
            is_on &= ~begins

    def work_s(self, open_s: Floats, restart_s: Floats) -> Floats:
        """Return how much of the work is done, in s: shape (rows, prices tried)."""
        return np.asarray(np.einsum("crk,cr->rk", self.on, open_s) - self._restarts * restart_s[:, None])


def _pass(gains: Floats, restarts: Floats, begun: Bools, chosen: _Chosen | None) -> Floats:
    """Return the least of cost less worth of time; `begun` rows run already, so that their first start is a restart.

    `gains`, shape (cells, rows, prices tried), are what running in each cell adds; `restarts` what each restart does.
    """
    off, again = np.zeros_like(restarts), np.empty_like(restarts)
    on, untouched = (np.broadcast_to(np.where(one[:, None], 0.0, BLOCKED), off.shape).copy() for one in (begun, ~begun))
    for cell, gain in enumerate(gains):
        np.add(off, restarts, out=again)
        if chosen is not None:
            np.less(untouched, again, out=chosen.fresh[cell])
        np.minimum(again, untouched, out=again)
        if chosen is not None:
            np.less(again, on, out=chosen.started[cell])
        np.minimum(on, again, out=on)
        np.add(on, gain, out=on)
        if chosen is not None:
            np.less(on, off, out=chosen.stopped[cell])
        np.minimum(off, on, out=off)
    return off


def _best(value: Floats) -> Ints:
    """Return which of the prices tried is the best, the middle one of equals."""
    return np.where(value[:, MIDDLE] >= value.max(axis=1), MIDDLE, value.argmax(axis=1))


def _closer(bracket: _Bracket, tried: Floats, at: Ints, closest: float) -> _Bracket:
    """Return where to look next: around the best price, nearer where it lay within what was tried, else further."""
    best = tried[np.arange(len(at)), at]
    half = np.where(at == MIDDLE, bracket.half / 2, bracket.half * (FURTHER if closest else 1.0))
    return _Bracket(best, np.maximum(half, closest * best))


class SuspendableResponse:
    """How all rows that may be suspended answer prices; each in its cheapest pool."""

    def __init__(self, pools: Sequence[tuple[Ints, SuspendableRows] | None], rows: int) -> None:
        """`pools` holds for each pool which of the rows, numbered from 0, may run there."""
        self._pools, self._rows = pools, rows

    @property
    def cells(self) -> int:
        """How many cells there are of all rows in all pools: what an answer takes grows with them."""
        return sum(own[1].cells for own in self._pools if own is not None)

    def __call__(self, prices: Floats) -> tuple[float, Floats]:
        """Return what all cost at least together, a lower bound, and the GPUs that they ask for, as `prices`."""
        least, chosen = np.full(self._rows, np.inf), np.zeros(self._rows, dtype=np.int64)
        asked: dict[int, Floats] = {}
        for pool, own in enumerate(self._pools):
            if own is not None:
                cost, asked[pool] = own[1].respond(prices[pool])
                better = cost < least[own[0]]
                chosen[own[0][better]], least[own[0][better]] = pool, cost[better]
        usage = np.zeros_like(prices)
        for pool, answer in asked.items():
            own = self._pools[pool]
            assert own is not None
            usage[pool] = own[1].usage(answer * (chosen[own[0]] == pool))
        return float(least.sum()), usage

    def least_g(self, prices: Floats) -> float:
        """Return the best bound on what all cost at these prices, in g."""
        least = np.full(self._rows, np.inf)
        for pool, own in enumerate(self._pools):
            if own is not None:
                least[own[0]] = np.minimum(least[own[0]], own[1].least(prices[pool]))
        return float(least.sum())

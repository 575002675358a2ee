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
MOST_RESTARTS, FAN = 5, np.linspace(-1.0, 1.0, 9)  # restarts told apart, and prices of time tried at once for each
WIDEST, CLOSER, CLOSINGS = 0.3, 0.275, 4  # a fan's half width as a share of the price, and how it closes in
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
            done = self._passed(rates, tried[:, None])
            _, work_s = self._chosen(done, np.zeros(len(tried), dtype=np.int64))
            line = _Line(done.value[:, 0] + tried * work_s, work_s)
            bound = done.value[:, 0] + tried * length_s
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
        pays = np.flatnonzero(self._restart_s > 0)
        if len(pays):
            best[pays] = np.maximum(best[pays], self._least_by_restarts(pays, rates[:, pays], tried[pays]))
        return best

    def _least_by_restarts(self, rows: Ints, rates: Floats, middle: Floats) -> Floats:
        """Return a higher bound on what these rows cost: the least over how often they restart, each bounded by itself.

        A mix of runs with one restart and of runs with two is no way to run; a bound for each number does not have it.
        That of the most restarts counts any more as free. `middle` is a price of time near the best, shape (rows,).
        """
        restarts = np.arange(MOST_RESTARTS + 1)[:, None]
        needed_s = self.length_s[rows] + restarts * self._restart_s[rows]
        open_s, blocked = self._open_s[:, rows, None], self._blocked[:, rows]
        best, half = np.zeros(needed_s.shape), np.full(len(rows), WIDEST)
        every = np.arange(len(rows))
        for _ in range(CLOSINGS):
            tried = middle[:, None] * (1 + half[:, None] * FAN)
            gains = (rates[:, :, None] - tried) * open_s
            gains[blocked] = BLOCKED
            value = _values_by_restarts(gains, self._begun[rows]) + tried * needed_s[:, :, None]
            best = np.maximum(best, value.max(axis=2))
            at = value[best.argmin(axis=0), every].argmax(axis=1)
            middle, is_inside = tried[every, at], (at > 0) & (at < len(FAN) - 1)
            half = np.where(is_inside, half * CLOSER, half)
        return np.asarray(best.min(axis=0))

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
        for nth in reversed(range(rounds)):
            tried = self._tried(self._bracket)
            done = self._passed(rates, tried)
            value = done.value + tried * self.length_s[:, None]
            at = _best(value)
            self._bracket = _closer(self._bracket, tried, at, 0.0 if nth else CLOSEST)
        return value[np.arange(len(at)), at], self._mixed(done, at)

    def preferred(self, prices: Floats) -> tuple[Floats, Bools]:
        """Return the same costs, and of each pair of a row and a cell of the pool whether the row would run there."""
        rates = self._rates + prices[self._cell] * self._units
        tried = (self._bracket or self._first_bracket(rates)).middle[:, None]
        done = self._passed(rates, tried)
        on, _ = self._chosen(done, np.zeros(len(tried), dtype=np.int64))
        cells = np.zeros((len(tried), self._cells), bool)
        cell, row = np.nonzero(on & (self._open_s > 0))
        cells[row, self._cell[cell, row]] = True
        return done.value[:, 0] + tried[:, 0] * self.length_s, cells

    def least_emitted(self) -> Floats:
        """Return what each row emits at least, in g, as if suspending cost nothing and all GPUs were free: (rows,)."""
        order = np.argsort(self._rates, axis=0)
        open_s, rates = (np.take_along_axis(one, order, axis=0) for one in (self._open_s, self._rates))
        before_s = np.cumsum(open_s, axis=0) - open_s
        return np.asarray((np.clip(self.length_s - before_s, 0.0, open_s) * rates).sum(axis=0))

    def _mixed(self, done: "_Pass", at: Ints) -> Floats:
        """Return the GPUs asked for by the mix of two choices, the best and one beside it, that does just the work."""
        on, mine = self._chosen(done, at)
        others_on, others = self._chosen(done, np.clip(at + np.where(mine < self.length_s, 1, -1), 0, len(SIDES) - 1))
        gained = others - mine
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(np.abs(gained) > 1e-6, (self.length_s - mine) / gained, 0.0)
        share = np.clip(share, 0.0, 1.0)
        mixed = on * (1 - share) + others_on * share
        return np.asarray(mixed * self._open_s / self._width_s * self._units)

    def usage(self, asked: Floats) -> Floats:
        """Return the GPUs asked for in each cell of the pool, from those of each row, shape (cells, rows)."""
        return np.asarray(np.bincount(self._cell.ravel(), asked.ravel(), minlength=self._cells), dtype=np.float64)

    def _passed(self, rates: Floats, tried: Floats) -> "_Pass":
        """Find the least of cost less work, each second of it worth `tried`, shape (rows, prices tried)."""
        return _Pass(self._gains(rates, tried), tried * self._restart_s[:, None], self._begun)

    def _chosen(self, done: "_Pass", at: Ints) -> tuple[Bools, Floats]:
        """Return where each row runs at one of its prices, (cells, rows), and how much of the work that does, in s."""
        on, restarts = done.traced(at)
        return on, np.einsum("cr,cr->r", on, self._open_s) - restarts * self._restart_s

    def _gains(self, rates: Floats, tried: Floats) -> Floats:
        """Return what running over each cell costs less what it is worth; shape (cells, rows, prices tried)."""
        gains = (rates[:, :, None] - tried) * self._open_s[:, :, None]
        if self._blocked.any():
            gains[self._blocked] = BLOCKED
        return gains


class _Pass:
    """The least of cost less worth of time, from the first cell to the last; shapes are (cells, rows, prices tried).

    `gains` are what running in each cell adds, `restarts` what each restart does; `begun` rows run already, so that
    their first start is a restart. `gains` is used up: it comes to hold what being in a run costs after each cell.
    """

    def __init__(self, gains: Floats, restarts: Floats, begun: Bools) -> None:
        self._restarts = restarts
        self._untouched = np.where(begun, BLOCKED, 0.0)
        self._before = np.where(begun, 0.0, BLOCKED)[:, None]
        self._on, self._off, self._again = gains, np.empty((len(gains) + 1, *restarts.shape)), np.empty_like(gains)
        self._off[0] = 0.0
        on, off, untouched = self._before + np.zeros_like(restarts), self._off[0], self._untouched[:, None]
        for gain, again, next_off in zip(gains, self._again, self._off[1:], strict=True):
            np.add(off, restarts, out=again)
            np.minimum(again, untouched, out=again)
            np.add(gain, np.minimum(on, again), out=gain)
            np.minimum(off, gain, out=next_off)
            on, off = gain, next_off

    @property
    def value(self) -> Floats:
        """What the best choices cost less what their time is worth, shape (rows, prices tried)."""
        return np.asarray(self._off[-1])

    def traced(self, at: Ints) -> tuple[Bools, Ints]:
        """Return in which cells each row's best choice at one of its prices runs, (cells, rows), and its restarts.

        Going back, a run is on from where to stop was better than not to run, to where to begin was better than to
        have gone on: a cell is run in if, from it on, a stop comes before the next begin.
        """
        cells, every = len(self._on), np.arange(len(at))
        on_s, off_s, again = self._on[:, every, at], self._off[:, every, at], self._again[:, every, at]
        stopped, started = on_s < off_s[:-1], np.empty_like(on_s, dtype=bool)
        np.less(again[0], self._before[:, 0], out=started[0])
        np.less(again[1:], on_s[:-1], out=started[1:])
        nth = np.arange(cells, dtype=np.int32)[:, None]
        stop, begin = (np.where(one, nth, cells)[::-1] for one in (stopped, started))
        stop, begin = (np.minimum.accumulate(one, axis=0)[::-1] for one in (stop, begin))
        on = stopped  # as it is at the last cell
        np.less(stop[:-1], begin[1:], out=on[:-1])
        started &= on
        fresh = self._untouched < off_s[:-1] + self._restarts[every, at]
        first = np.where(started & fresh, nth, -1).max(axis=0)  # the first run of all; a row is in none before it
        on &= nth >= first
        return on, (started & ~fresh & (nth > first)).sum(axis=0)


def _values_by_restarts(gains: Floats, begun: Bools) -> Floats:
    """Return the least of cost less worth of time for each number of restarts, or fewer: (restarts, rows, prices).

    `gains`, shape (cells, rows, prices tried), are as those of a pass. Being in a run or in none is told apart by how
    many restarts there were; `off[0]` is not having run yet.
    """
    counts = (MOST_RESTARTS + 1, *gains.shape[1:])
    on, off = np.full(counts, BLOCKED), np.zeros((counts[0] + 1, *counts[1:]))
    on[0, begun], off[0, begun] = 0.0, BLOCKED
    for gain in gains:
        np.minimum(on, off[:-1], out=on)
        np.minimum(on[-1], off[-1], out=on[-1])
        np.add(on, gain, out=on)
        np.minimum(off[1:], on, out=off[1:])
    return off[1:]


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

    def preferred(self, prices: Floats) -> tuple[Floats, Ints, Bools]:
        """Return what each row costs about at least, in which pool, and in which cells it would run: (rows, cells)."""
        least, chosen = np.full(self._rows, np.inf), np.zeros(self._rows, dtype=np.int64)
        cells = np.zeros((self._rows, prices.shape[1]), bool)
        for pool, own in enumerate(self._pools):
            if own is not None:
                cost, on = own[1].preferred(prices[pool])
                better = cost < least[own[0]]
                rows = own[0][better]
                chosen[rows], least[rows], cells[rows] = pool, cost[better], on[better]
        return least, chosen, cells

    def least_emitted(self) -> Floats:
        """Return a lower bound on what each row emits, in g: shape (rows,)."""
        least = np.full(self._rows, np.inf)
        for own in self._pools:
            if own is not None:
                least[own[0]] = np.minimum(least[own[0]], own[1].least_emitted())
        return least

    def least_g(self, prices: Floats) -> float:
        """Return the best bound on what all cost at these prices, in g."""
        least = np.full(self._rows, np.inf)
        for pool, own in enumerate(self._pools):
            if own is not None:
                least[own[0]] = np.minimum(least[own[0]], own[1].least(prices[pool]))
        return float(least.sum())

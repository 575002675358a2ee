"""The least that interruptible jobs can cost at given prices: a true bound, though we search in cells only.

Whatever the instants at which a job is suspended and continued, it needs its time, and each restart adds to that. With
a price on that time (Lagrangian relaxation once more) each stretch of equal intensity is run or not, which two states
decide. Of the minimum run only counts whether it leaves room for a second one. The best price of time gives the bound,
and any other one gives a bound as well.
"""

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.units import J_PER_KWH

NEVER_S = 1e9  # a restart that no job can afford
TRIED, ROUNDS = 12, 8  # prices of time tried at once, and how often the search closes in on the best


def least_suspended_g(problem: PlanningProblem, prices: Floats) -> float:
    """Return what all rows that may be suspended cost at least at `prices`, in g; their GPUs' prices are part of it."""
    least: dict[int, float] = {}
    for pool in range(len(problem.pools)):
        rows = [row for row in problem.flexible if pool in problem.rows.demands.pools[row]]
        for row, cost in zip(rows, _least(problem, rows, prices[pool]), strict=True):
            least[row] = min(cost, least.get(row, np.inf))
    return sum(least.values())


def _least(problem: PlanningProblem, rows: list[int], prices: Floats) -> list[float]:
    """Return what each row costs at least in one pool, shape (rows,)."""
    if not rows:
        return []
    knots_s, demands, shapes = problem.knots_s, problem.rows.demands, [problem.flexible[row] for row in rows]
    begins_s = demands.release_s[rows]
    length_s = demands.length_s[rows]
    ends_s = np.maximum(np.array([shape.deadline_s for shape in shapes]), begins_s + length_s)
    open_s = np.minimum(knots_s[1:], ends_s[:, None]) - np.maximum(knots_s[:-1], begins_s[:, None])
    open_s = np.maximum(open_s, 0.0)
    means = problem.intensity.means_between(knots_s[:-1], knots_s[1:])
    rates = means * demands.watts[rows, None] / J_PER_KWH + prices * demands.units[rows, None]
    high = 2 * np.nanmax(np.where(open_s > 0, rates, 0.0), axis=1, initial=0.0)
    restart_s = np.array([shape.restart_s if shape.is_divisible else NEVER_S for shape in shapes])
    apart = restart_s == 0
    best = np.zeros(len(rows))
    best[apart] = _filled(rates[apart], open_s[apart], length_s[apart], high[apart])
    tied = ~apart
    if tied.any():
        begun = np.array([shape.is_running for shape in shapes])[tied]
        best[tied] = _searched(rates[tied], open_s[tied], length_s[tied], high[tied], restart_s[tied], begun)
    return [float(value) for value in best]


def _filled(rates: Floats, open_s: Floats, length_s: Floats, high: Floats) -> Floats:
    """Return what the time costs in the cheapest stretches, shape (rows,), where suspending costs nothing.

    Time for which there is no room costs `high`.
    """
    known = ~np.isnan(rates)
    rates, open_s = np.where(known, rates, 0.0), np.where(known, open_s, 0.0)
    order = np.argsort(rates, axis=1)
    widths_s = np.take_along_axis(open_s, order, axis=1)
    left_s = np.maximum(length_s[:, None] - (np.cumsum(widths_s, axis=1) - widths_s), 0.0)
    taken_s = np.minimum(widths_s, left_s)
    cost = (np.take_along_axis(rates, order, axis=1) * taken_s).sum(axis=1)
    return np.asarray(cost + high * np.maximum(length_s - taken_s.sum(axis=1), 0.0))


def _searched(
    rates: Floats, open_s: Floats, length_s: Floats, high: Floats, restart_s: Floats, begun: np.ndarray
) -> Floats:
    """Return the best bound that a price of time is found to give, shape (rows,)."""
    low, best = np.zeros(len(rates)), np.zeros(len(rates))
    for _ in range(ROUNDS):
        tried = np.linspace(low, high, TRIED, axis=1)
        found = _dual(rates, open_s, tried, restart_s, begun) + tried * length_s[:, None]
        at, every = found.argmax(axis=1), np.arange(len(rates))
        best = np.maximum(best, found[every, at])
        low, high = tried[every, np.maximum(at - 1, 0)], tried[every, np.minimum(at + 1, TRIED - 1)]
    return best


def _dual(rates: Floats, open_s: Floats, tried: Floats, restart_s: Floats, begun: np.ndarray) -> Floats:
    """Return the least of cost less time run, each second of it worth `tried`; shape (rows, prices tried).

    `rates`, in g/s, are NaN where the intensity is unknown, and no job runs there. `begun` rows run already, so
    that their first start is a restart.
    """
    restarts = tried * restart_s[:, None]
    off = np.zeros_like(tried)
    on, untouched = (np.where(one[:, None], 0.0, np.inf) for one in (begun, ~begun))
    for cell in range(rates.shape[1]):
        gains = (rates[:, cell, None] - tried) * open_s[:, cell, None]
        on = np.minimum(np.minimum(on, off + restarts), untouched) + np.where(np.isnan(gains), np.inf, gains)
        off = np.minimum(off, on)
    return np.asarray(off)


def bound_at(problem: PlanningProblem, prices: Floats) -> float:
    """Return what all rows cost at least at `prices`, shape (pools, cells), less the value of all GPUs, in g.

    Any prices give a bound (Lagrangian relaxation of the GPUs' capacity, see prices.py).
    """
    _, least = problem.rows.cheapest(problem.rows.costs(prices))
    suspended_g = least_suspended_g(problem, prices) if problem.flexible else 0.0
    return float(least.sum()) + suspended_g - float((prices * problem.free * np.diff(problem.knots_s)).sum())

"""A price for every GPU and cell of time: what makes jobs that know nothing of each other choose starts that fit.

Lagrangian relaxation of the GPUs' capacity. With prices fixed the jobs separate, and what they then cost together, less
the value of all GPUs, is a lower bound on every plan that fits (Fisher 1981, Management Science 27(1)).

Prices are first found roughly, by iterative scaling of a smoothed problem: each row is shared out among its nearly
cheapest starts, in proportion to exp(-cost / temperature), and a price moves by the logarithm of what is asked for over
what there is (Sinkhorn's iteration; Darroch and Ratcliff 1972, Annals of Mathematical Statistics 43(5)) while the
temperature falls. So like jobs do not all run after one price, nor all turn to the same of several pools, which is
where subgradients stall. These then refine what was found, by Polyak's step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.planning.candidates import Candidates, Ints

HOTTEST, COLDEST = 0.1, 5e-4  # temperatures at first and at last, as shares of what the cheapest starts emit
FAR = 0.05  # of a plan: a bound further below it than this is raised by scaling first, a nearer one refined first
STALLED = 0.01  # of a plan: a bound that is still further below it has stalled at kinks that many rows share
FEWEST_STEPS, MOST_STEPS, CHEAP = 30, 120, 1_000_000  # of scaling; more than the fewest up to so many candidates in all
FRICTION = 3  # the nth move is made again by n / (n + FRICTION) (Nesterov 1983)
SCARCEST = 1e-3  # ratios of use to capacity are taken for no smaller or larger than this allows

PATIENCE = 3  # steps without a better bound before they are made smaller
SHRINK = 0.5
NEGLIGIBLE = 1e-6  # a share of the bound; less than this is no progress
MEMORY = 0.7  # how much of the last direction is kept, which damps the zigzag of plain subgradients


Respond = Callable[[Floats], tuple[float, Floats]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DualSolution:
    """The best prices found, shape (pools, cells), in g per GPU-second, and the lower bound they prove, in g.

    `chosen` are the candidates that the rows prefer at these prices, `costs` those of all candidates.
    """

    prices: Floats
    bound_g: float
    chosen: Ints
    costs: Floats


def find_prices(
    rows: Candidates,
    free: Floats,
    start: Floats,
    *,
    iterations: int,
    upper_g: float,
    gap: float,
    others: Sequence[Respond] = (),
    may_scale: bool = True,
) -> DualSolution:
    """Raise the bound from the prices `start` on, at most `iterations` times, or until it is within `gap` of `upper_g`.

    `free` is the mean number of GPUs that can be had in each cell, shape (pools, cells); `upper_g` what some plan
    that fits emits. `others` answer prices with the least they cost all together and the GPUs that they then use.
    Where the bound is far below, scaling comes first, and where it stalls, last, unless not `may_scale`; its steps are
    fewer, the more candidates there are. Others take long to answer, so that then only one of both is done.
    """
    every, rows = rows, rows.merged()
    dual = _Dual(rows, free, others, upper_g=upper_g, gap=gap)
    start = dual.merged(start) / dual.merged(np.ones_like(start))
    best, _ = dual.at(start)
    if others and may_scale:
        is_short = iterations < FEWEST_STEPS  # a few steps of scaling raise the bound further, many do not
        best = _scaled(dual, best, iterations) if is_short else _refined(dual, best, iterations)
        return best if rows is every else _Dual(every, free, others, upper_g=upper_g, gap=gap).at(best.prices)[0]
    steps = 0
    if may_scale and iterations and dual.is_far(best, FAR):
        zero = np.zeros_like(start)  # prices of another problem may be worse than none
        best = max(best, dual.at(zero)[0], key=lambda found: found.bound_g) if start.any() else best
        steps = dual.steps
        best = _scaled(dual, best, steps)
    best = _refined(dual, best, iterations - steps)
    shares_kinks = 2 * len(rows.demands) < len(every.demands)
    if may_scale and iterations and dual.is_far(best, 0.0 if shares_kinks else STALLED):
        best = _scaled(dual, best, dual.steps)
    return best if rows is every else _Dual(every, free, others, upper_g=upper_g, gap=gap).at(best.prices)[0]


class _Dual:
    """The rows and all others that answer prices, and the GPUs that are free for them."""

    def __init__(
        self, rows: Candidates, free: Floats, others: Sequence[Respond], *, upper_g: float, gap: float
    ) -> None:
        self.rows, self.others, self.upper_g, self.gap_g = rows, others, upper_g, gap * abs(upper_g)
        self.widths = np.diff(rows.knots_s)
        self.alike = np.array(rows.demands.alike or range(len(free)))
        self.firsts = np.unique(self.alike)
        self.free = self.merged(free)
        self.work = np.maximum(rows.demands.units * rows.demands.length_s, 1.0)
        self.steps = min(MOST_STEPS, max(FEWEST_STEPS, CHEAP // max(1, len(rows.row))))

    def is_far(self, found: DualSolution, share: float) -> bool:
        """Whether the bound is further below the plan than is asked for, and than this share of what it emits."""
        return self.upper_g - found.bound_g > max(self.gap_g, share * abs(self.upper_g))

    def merged(self, cells: Floats) -> Floats:
        """Return for each pool the sums over all pools that are like it, which have one price: shape (pools, cells)."""
        if len(self.firsts) == len(cells):
            return cells
        sums = np.zeros_like(cells)
        np.add.at(sums, self.alike, cells)
        return np.asarray(sums[self.alike])

    def at(self, prices: Floats) -> tuple[DualSolution, Floats]:
        """Return what all choose at these prices, and by how many GPUs too much is asked for in each cell."""
        costs = self.rows.costs(prices)
        chosen, least = self.rows.cheapest(costs)
        bound, over = self._with_others(prices, float(least.sum()), self.rows.usage(chosen, len(prices)))
        return DualSolution(prices=prices, bound_g=bound, chosen=chosen, costs=costs), over

    def shared_at(self, prices: Floats, temperature: float) -> tuple[float, Floats]:
        """Return the bound at these prices, and the GPUs asked for when rows are shared out among near choices.

        `temperature` is in g per GPU-second.
        """
        chosen, weights, least = self.rows.shared(self.rows.costs(prices), temperature * self.work)
        return self._with_others(prices, float(least.sum()), self.rows.usage(chosen, len(prices), weights))

    def _with_others(self, prices: Floats, cost: float, usage: Floats) -> tuple[float, Floats]:
        bound = cost - float((prices * self.free * self.widths)[self.firsts].sum())
        over = self.merged(usage) - self.free
        for respond in self.others:
            own, used = respond(prices)
            bound += own
            over += self.merged(used)
        return bound, over


def _scaled(dual: _Dual, best: DualSolution, steps: int) -> DualSolution:
    """Return the best prices met in some steps of iterative scaling; the nearer the first bound, the cooler."""
    least_g = float(dual.rows.grams[best.chosen].sum())
    if least_g <= 0 or dual.upper_g <= 0:
        return best
    mean = least_g / float(dual.work[dual.rows.row[best.chosen]].sum())
    share = min(HOTTEST, max(COLDEST, 1 - best.bound_g / dual.upper_g))
    cooling = (COLDEST / share) ** (1 / max(1, steps))
    scarce = SCARCEST * float(dual.free.max(initial=1.0))
    free = np.maximum(dual.free, scarce)
    prices, last, bound_g, found = best.prices, best.prices, best.bound_g, best.prices
    for nth in range(steps):
        at = np.maximum(0.0, prices + nth / (nth + FRICTION) * (prices - last))
        bound, over = dual.shared_at(at, share * mean)
        if bound > bound_g:
            bound_g, found = bound, at
            if dual.upper_g - bound_g <= dual.gap_g:
                break
        usage = np.maximum(over + dual.free, scarce)
        prices, last = np.maximum(0.0, at + share * mean * np.log(usage / free)), prices
        share *= cooling
    return max(best, dual.at(found)[0], key=lambda own: own.bound_g) if bound_g > best.bound_g else best


def _refined(dual: _Dual, best: DualSolution, steps: int) -> DualSolution:
    """Return the best prices met in some steps along subgradients."""
    found, over = dual.at(best.prices)
    prices, theta, stalled, direction = best.prices, 1.0, 0, np.zeros_like(best.prices)
    for _ in range(steps):
        if dual.upper_g - best.bound_g <= dual.gap_g:
            break
        if stalled >= PATIENCE:
            prices, theta, stalled, direction = best.prices, theta * SHRINK, 0, np.zeros_like(prices)
            found, over = dual.at(prices)
        direction = over * dual.widths + MEMORY * direction
        direction[(prices <= 0) & (direction < 0)] = 0.0
        norm = float((direction[dual.firsts] ** 2).sum())
        if norm <= 0:
            break
        prices = np.maximum(0.0, prices + theta * max(dual.upper_g - found.bound_g, dual.gap_g) / norm * direction)
        found, over = dual.at(prices)
        stalled = 0 if found.bound_g > best.bound_g + NEGLIGIBLE * abs(best.bound_g) else stalled + 1
        best = found if found.bound_g > best.bound_g else best
    return best


def spendings(prices: Floats, knots_s: Floats) -> Floats:
    """Return what a GPU costs from the first knot up to each, in g: shape (pools, cells) to (pools, knots)."""
    return np.concatenate([np.zeros((len(prices), 1)), np.cumsum(prices * np.diff(knots_s), axis=1)], axis=1)

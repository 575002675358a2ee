"""A price for every GPU and cell of time: what makes jobs that know nothing of each other choose starts that fit.

Lagrangian relaxation of the GPUs' capacity. With prices fixed the jobs separate, and what they then cost together, less
the value of all GPUs, is a lower bound on every plan that fits (Fisher 1981, Management Science 27(1)). Prices rise
where more is asked for than there is, and fall where less is, by the subgradient method with Polyak's step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.planning.candidates import Candidates, Ints

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
) -> DualSolution:
    """Raise the bound from the prices `start` on, at most `iterations` times, or until it is within `gap` of `upper_g`.

    `free` is the mean number of GPUs that can be had in each cell, shape (pools, cells); `upper_g` what some plan
    that fits emits. `others` answer prices with the least they cost all together and the GPUs that they then use.
    """
    widths = np.diff(rows.knots_s)
    prices, theta, stalled, direction = start, 1.0, 0, np.zeros_like(start)
    best, over = _at(prices, rows, others, free, widths)
    found = best
    for _ in range(iterations):
        if upper_g - best.bound_g <= gap * abs(upper_g):
            break
        if stalled >= PATIENCE:
            prices, theta, stalled, direction = best.prices, theta * SHRINK, 0, np.zeros_like(start)
            found, over = _at(prices, rows, others, free, widths)
        direction = over * widths + MEMORY * direction
        direction[(prices <= 0) & (direction < 0)] = 0.0
        norm = float((direction**2).sum())
        if norm <= 0:
            break
        prices = np.maximum(0.0, prices + theta * max(upper_g - found.bound_g, gap * abs(upper_g)) / norm * direction)
        found, over = _at(prices, rows, others, free, widths)
        stalled = 0 if found.bound_g > best.bound_g + NEGLIGIBLE * abs(best.bound_g) else stalled + 1
        best = found if found.bound_g > best.bound_g else best
    return best


def _at(
    prices: Floats, rows: Candidates, others: Sequence[Respond], free: Floats, widths: Floats
) -> tuple[DualSolution, Floats]:
    """Return what all choose at these prices, and by how many GPUs too much is asked for in each cell."""
    costs = rows.costs(prices)
    chosen, least = rows.cheapest(costs)
    over = rows.usage(chosen, len(prices)) - free
    bound = float(least.sum()) - float((prices * free * widths).sum())
    for respond in others:
        cost, usage = respond(prices)
        bound += cost
        over += usage
    return DualSolution(prices=prices, bound_g=bound, chosen=chosen, costs=costs), over


def spendings(prices: Floats, knots_s: Floats) -> Floats:
    """Return what a GPU costs from the first knot up to each, in g: shape (pools, cells) to (pools, knots)."""
    return np.concatenate([np.zeros((len(prices), 1)), np.cumsum(prices * np.diff(knots_s), axis=1)], axis=1)

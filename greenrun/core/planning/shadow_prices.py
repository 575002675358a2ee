"""The prices of GPUs as they are kept from plan to plan, and on the cells of a problem."""

from datetime import UTC, datetime

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.planning.model import ShadowPrices
from greenrun.core.planning.problem import PlanningProblem


def priced_cells(prices: ShadowPrices, problem: PlanningProblem) -> Floats:
    """Return last plan's prices on this problem's cells, shape (pools, cells), in g per GPU-second; 0 where unknown."""
    cells = np.zeros((len(problem.pools), len(problem.knots_s) - 1))
    middles = (problem.knots_s[1:] + problem.knots_s[:-1]) / 2
    for index, pool in enumerate(problem.pools):
        known = sorted((at.timestamp(), price) for (name, at), price in prices.items() if name == pool.name)
        if known:
            at_s, values = np.array(known).T
            where = at_s.searchsorted(middles, side="right") - 1
            cells[index] = np.where(where >= 0, values[where], 0.0) / 3600
    return cells


def named_prices(cells: Floats, problem: PlanningProblem) -> ShadowPrices:
    """Return prices as they are kept: by pool and instant from which they hold, in g per GPU-hour."""
    named: dict[tuple[str, datetime], float] = {}
    for pool, row in zip(problem.pools, cells, strict=True):
        if not row.any():
            continue
        turns = np.flatnonzero(np.concatenate([[True], np.diff(row) != 0]))
        at = [(problem.knots_s[turn], row[turn]) for turn in turns] + [(problem.knots_s[-1], 0.0)]
        named |= {(pool.name, datetime.fromtimestamp(at_s, UTC)): float(price) * 3600 for at_s, price in at}
    return named

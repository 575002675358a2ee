"""The least that interruptible jobs can cost at given prices, with the other rows: a true bound on every plan."""

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.planning.preemption.dual import SuspendableResponse, SuspendableRows
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.units import J_PER_KWH


def suspendable_response(problem: PlanningProblem) -> SuspendableResponse:
    """Return how all rows that may be suspended answer prices."""
    demands, knots_s = problem.rows.demands, problem.knots_s
    rows = sorted(problem.flexible)
    means = problem.intensity.means_between(knots_s[:-1], knots_s[1:])
    pools: list[tuple[np.ndarray, SuspendableRows] | None] = []
    for pool in range(len(problem.pools)):
        own = np.array([nth for nth, row in enumerate(rows) if pool in demands.kinds[row]], dtype=np.int64)
        if not len(own):
            pools.append(None)
            continue
        jobs = [problem.flexible[rows[nth]] for nth in own]
        watts = demands.watts[[rows[nth] for nth in own]] / J_PER_KWH
        pools.append((own, SuspendableRows(jobs, watts, knots_s, means)))
    return SuspendableResponse(pools, len(rows))


def least_suspended_g(problem: PlanningProblem, prices: Floats, respond: SuspendableResponse | None = None) -> float:
    """Return what all rows that may be suspended cost at least at `prices`, in g; their GPUs' prices are part of it."""
    return (respond or suspendable_response(problem)).least_g(prices) if problem.flexible else 0.0


def bound_at(problem: PlanningProblem, prices: Floats, respond: SuspendableResponse | None = None) -> float:
    """Return what all rows cost at least at `prices`, shape (pools, cells), less the value of all GPUs, in g.

    Any prices that are the same for like pools give a bound (Lagrangian relaxation of the GPUs' capacity, see
    lagrangian.py). `respond` is what has answered prices near these before, if there is such.
    """
    _, least = problem.rows.cheapest(problem.rows.costs(prices))
    value_g = float((prices * problem.free * np.diff(problem.knots_s)).sum())
    return float(least.sum()) + least_suspended_g(problem, prices, respond) - value_g

"""The least that any plan within the limits can emit: what prices prove, resting on no choice of greenrun's own."""

import numpy as np

from greenrun.core.carbon.intensity import Floats
from greenrun.core.planning.preemption_bound import least_suspended_g
from greenrun.core.planning.problem import Problem


def bound_at(problem: Problem, prices: Floats) -> float:
    """Return what all rows cost at least at `prices`, shape (pools, cells), less the value of all GPUs, in g.

    Any prices give a bound (Lagrangian relaxation of the GPUs' capacity, see prices.py).
    """
    _, least = problem.rows.cheapest(problem.rows.costs(prices))
    suspended_g = least_suspended_g(problem, prices) if problem.flexible else 0.0
    return float(least.sum()) + suspended_g - float((prices * problem.free * np.diff(problem.knots_s)).sum())

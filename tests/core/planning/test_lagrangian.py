"""Prices make jobs choose starts that fit, and what they prove is never more than a plan that fits can emit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.planning.candidates import Candidates, Demands
from greenrun.core.planning.lagrangian import DualSolution, find_prices
from tests.core.build import T0, grid
from tests.core.exhaustive import Small, best_g
from tests.sampling import examples

SLOTS, STEPS, WATTS = 8, 24, 1000.0
KNOTS_S = T0.timestamp() + 1800.0 * np.arange(SLOTS + 1)

values = st.lists(st.integers(1, 9).map(lambda v: 50.0 * v), min_size=SLOTS, max_size=SLOTS)
rows = st.tuples(st.integers(1, 6), st.integers(0, 12), st.integers(1, 2))  # length and slack in ten minutes, GPUs


def prices_for(
    wanted: list[tuple[int, int, int]], values: list[float], gpus: int, *, iterations: int = 80, upper_g: float = 1e4
) -> DualSolution:
    length, slack, units = (np.array(column, dtype=float) for column in zip(*wanted, strict=True))
    release_s = np.full(len(wanted), KNOTS_S[0])
    demands = Demands(
        release_s=release_s, latest_s=release_s + 600 * slack, length_s=600 * length, units=units,
        watts=np.full(len(wanted), WATTS), pools=((0,),) * len(wanted),
    )  # fmt: skip
    made = Candidates.of(demands, KNOTS_S, grid(values))
    free = np.full((1, SLOTS), float(gpus))
    return find_prices(made, free, np.zeros_like(free), iterations=iterations, upper_g=upper_g, gap=1e-4)


@examples(40)
@given(values, st.lists(rows, min_size=1, max_size=4), st.integers(2, 3))
def test_the_bound_is_never_above_the_best_plan(
    values: list[float], wanted: list[tuple[int, int, int]], gpus: int
) -> None:
    jobs = [Small(length=length, gpus=own, earliest=0, latest=slack, watts=WATTS) for length, slack, own in wanted]
    best = best_g(jobs, [value for value in values for _ in range(3)], gpus, 10)
    found = prices_for(wanted, values, gpus, upper_g=best or 1e4)
    assert (found.prices >= 0).all()
    if best is not None:
        assert found.bound_g <= best * (1 + 1e-9)


def test_where_all_fit_gpus_cost_nothing_and_the_bound_is_what_is_emitted() -> None:
    found = prices_for([(3, 12, 1), (3, 12, 1)], [300, 100, 300, 300, 300, 300, 300, 300], gpus=2, upper_g=100.0)
    assert not found.prices.any()
    assert found.bound_g == pytest.approx(100.0)


def test_the_one_clean_slot_is_priced_at_what_it_is_worth() -> None:
    """Two jobs want it: the price rises to the 100 g that the second loses, 200 g per GPU-hour, or nearly."""
    found = prices_for([(3, 9, 1), (3, 9, 1)], [300, 100, 300, 300, 300, 300, 300, 300], gpus=1, upper_g=200.0)
    assert found.bound_g == pytest.approx(200.0, rel=0.01)
    assert found.prices[0, 1] * 1800 == pytest.approx(100.0, rel=0.05)


def test_more_steps_never_give_a_worse_bound_and_none_are_the_prices_given() -> None:
    wanted = [(3, 12, 1), (4, 12, 2), (5, 9, 1), (2, 12, 2)]
    shape = [300.0, 100, 250, 150, 300, 50, 200, 300]
    bounds = [prices_for(wanted, shape, 2, iterations=n, upper_g=900.0).bound_g for n in (0, 5, 20, 80)]
    assert bounds == sorted(bounds)
    assert not prices_for(wanted, shape, 2, iterations=0).prices.any()

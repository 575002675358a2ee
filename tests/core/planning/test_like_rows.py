"""Rows that are alike count as one in the search for prices, and like pools share one price: the bound stays true."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.planning.candidates import Candidates, Demands, like_pools
from greenrun.core.planning.lagrangian import find_prices
from greenrun.core.planning.model import DeviceKind, Situation
from greenrun.core.planning.planner import plan
from tests.core.build import SLOT, T0, grid, job
from tests.sampling import examples

SLOTS = 8
KNOTS_S = T0.timestamp() + 1800.0 * np.arange(SLOTS + 1)
values = st.lists(st.integers(1, 9).map(lambda v: 50.0 * v), min_size=SLOTS, max_size=SLOTS)
rows = st.tuples(st.integers(1, 6), st.integers(0, 12), st.integers(1, 2), st.sampled_from([(0, 1), (1, 2), (2,)]))
prices = st.lists(st.lists(st.floats(0, 1), min_size=SLOTS, max_size=SLOTS), min_size=3, max_size=3)


def candidates(wanted: list[tuple[int, int, int, tuple[int, ...]]], shape: list[float]) -> Candidates:
    length, slack, units = (np.array([row[nth] for row in wanted], dtype=float) for nth in range(3))
    release_s = np.full(len(wanted), KNOTS_S[0])
    demands = Demands(
        release_s=release_s, latest_s=release_s + 600 * slack, length_s=600 * length, units=units, watts=300 * units,
        pools=tuple(row[3] for row in wanted),
    )  # fmt: skip
    return Candidates.of(demands, KNOTS_S, grid(shape))


@examples(40)
@given(values, st.lists(rows, min_size=1, max_size=3), st.lists(st.integers(1, 4), min_size=3, max_size=3), prices)
def test_merged_rows_cost_and_use_what_the_rows_do_one_by_one(
    shape: list[float],
    wanted: list[tuple[int, int, int, tuple[int, ...]]],
    times: list[int],
    at: list[list[float]],
) -> None:
    every = candidates([row for row, count in zip(wanted, times, strict=False) for _ in range(count)], shape)
    merged, priced = every.merged(), np.array(at)
    assert len(merged.demands) == len(set(wanted))
    (chosen, least), (few, little) = every.cheapest(every.costs(priced)), merged.cheapest(merged.costs(priced))
    assert np.isclose(least.sum(), little.sum())
    assert np.allclose(every.usage(chosen, 3), merged.usage(few, 3))


def test_pools_are_alike_that_the_same_rows_may_use() -> None:
    assert like_pools([(0, 1, 2), (0, 1, 2), (3,)], 5) == (0, 0, 0, 3, 4)
    assert like_pools([(0, 1, 2), (1,)], 3) == (0, 1, 0)
    assert like_pools([], 2) == (0, 1)


lengths = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2)), min_size=1, max_size=8)


@examples(30)
@given(values, lengths, st.integers(1, 3))
def test_the_bound_in_like_pools_is_below_the_plan_and_equal_inputs_give_equal_plans(
    shape: list[float], wanted: list[tuple[int, int]], pools: int
) -> None:
    devices = tuple(f"GPU-{number}" for number in range(2 * pools))
    jobs = tuple(
        job(number, gpus=gpus, duration=length * SLOT / 2, max_delay=timedelta(hours=2), power_w=300.0)
        for number, (length, gpus) in enumerate(wanted, 1)
    )
    asked = Situation(now=T0, jobs=jobs, devices=devices, forecast=grid(shape))
    kinds = {device: DeviceKind(model=f"M{nth // 2}") for nth, device in enumerate(devices)}
    made = plan(replace(asked, kinds=kinds))
    assert made == plan(replace(asked, kinds=kinds))
    if made.expected_g is not None and made.bound_g is not None and not any(row.late for row in made.placements):
        assert made.bound_g <= made.expected_g * (1 + 1e-9)


@examples(30)
@given(values, st.integers(2, 40), st.integers(1, 3), st.floats(0, 2))
def test_prices_of_any_start_prove_no_more_than_what_a_plan_of_like_rows_emits(
    shape: list[float], count: int, gpus: int, level: float
) -> None:
    """The plan is made by hand: as many as there are GPUs run in each of the cleanest slots."""
    wanted = [(3, 21, 1, (0,))] * min(count, gpus * SLOTS)
    made = candidates(wanted, shape)
    emitted = sum(sorted(value for value in shape for _ in range(gpus))[: len(wanted)]) * 0.3 * 0.5
    free = np.full((3, SLOTS), float(gpus))
    found = find_prices(made, free, np.full_like(free, level), iterations=30, upper_g=emitted, gap=1e-4)
    assert (found.prices >= 0).all()
    assert found.bound_g <= emitted * (1 + 1e-9)
    assert found.bound_g >= emitted * 0.97

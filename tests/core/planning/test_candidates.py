"""Among the candidates is a best start under any prices, and what they cost and use is exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.planning.candidates import Candidates, Demands
from tests.core.build import T0, grid
from tests.core.situations import holed
from tests.sampling import examples

T0_S, SLOT_S, SLOTS = T0.timestamp(), 1800.0, 8
KNOTS_S = T0_S + SLOT_S * np.arange(SLOTS + 1)

values = st.lists(st.integers(0, 9).map(float), min_size=SLOTS, max_size=SLOTS)
rows = st.tuples(st.integers(0, 60), st.integers(0, 90), st.integers(5, 90), st.integers(1, 3))
prices_of = st.lists(
    st.lists(st.integers(0, 5).map(lambda v: v / 3600), min_size=SLOTS, max_size=SLOTS), min_size=2, max_size=2
)


def demands(wanted: list[tuple[int, int, int, int]]) -> Demands:
    """Rows of (release, slack, length in minutes, units), 3.6 kW each, on both of two pools."""
    release, slack, length, units = (np.array(column, dtype=float) for column in zip(*wanted, strict=True))
    return Demands(
        release_s=T0_S + 60 * release,
        latest_s=T0_S + 60 * (release + slack),
        length_s=60 * length,
        units=units,
        watts=np.full(len(wanted), 3600.0),
        pools=((0, 1),) * len(wanted),
    )


@examples(60)
@given(values, st.lists(rows, min_size=1, max_size=4), prices_of)
def test_no_start_on_any_minute_is_cheaper_than_the_cheapest_candidate(
    values: list[float], wanted: list[tuple[int, int, int, int]], prices: list[list[float]]
) -> None:
    made = Candidates.of(demands(wanted), KNOTS_S, grid(values))
    chosen, least = made.cheapest(made.costs(np.array(prices)))
    for nth, (release, slack, length, units) in enumerate(wanted):
        minute_g = [
            np.repeat(np.array(values), 30) * 60 / 1000 + np.repeat(np.array(p), 30) * 60 * units for p in prices
        ]
        costs = [each[at : at + length].sum() for each in minute_g for at in range(release, release + slack + 1)]
        assert least[nth] == pytest.approx(min(costs), abs=1e-6)
        assert made.row[chosen[nth]] == nth


@examples(60)
@given(values, st.lists(rows, min_size=1, max_size=4), prices_of)
def test_usage_is_the_time_that_the_chosen_take_in_each_cell(
    values: list[float], wanted: list[tuple[int, int, int, int]], prices: list[list[float]]
) -> None:
    made = Candidates.of(demands(wanted), KNOTS_S, grid(values))
    chosen, _ = made.cheapest(made.costs(np.array(prices)))
    expected = np.zeros((2, SLOTS))
    for at in chosen:
        begin, length = made.starts_s[at], made.demands.length_s[made.row[at]]
        inside = np.minimum(KNOTS_S[1:], begin + length) - np.maximum(KNOTS_S[:-1], begin)
        expected[made.pool[at]] += np.maximum(inside, 0) / SLOT_S * made.demands.units[made.row[at]]
    assert np.allclose(made.usage(chosen, 2), expected)


def test_starts_lie_within_limits_in_order_by_row_and_pool_and_never_across_a_hole() -> None:
    wanted = [(0, 120, 30, 1), (10, 0, 20, 1), (0, 90, 500, 1)]
    made = Candidates.of(demands(wanted), KNOTS_S, holed([1, None, 1, 1, 1, 1, 1, 1]))
    minutes = [(row, pool, (at - T0_S) / 60) for row, pool, at in zip(made.row, made.pool, made.starts_s, strict=True)]
    assert minutes == [(0, pool, at) for at in (0, 60, 90, 120) for pool in (0, 1)] + [(1, 0, 10), (1, 1, 10)]
    assert made.first.tolist() == [0, 8, 10, 10]


def test_the_earliest_of_equals_is_the_cheapest() -> None:
    made = Candidates.of(demands([(0, 150, 30, 1)]), KNOTS_S, grid([0.1 + 0.2, 0.3, 0.1 + 0.2, 0.3, 9, 9, 9, 9]))
    chosen, _ = made.cheapest(made.costs(np.zeros((2, SLOTS))))
    assert made.starts_s[chosen].tolist() == [T0_S]


def test_rows_that_are_left_out_have_no_candidates() -> None:
    made = Candidates.of(demands([(0, 60, 30, 1)] * 2), KNOTS_S, grid([1.0] * SLOTS), without=[0])
    assert set(made.row.tolist()) == {1}

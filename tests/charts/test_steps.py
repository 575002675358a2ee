"""Steps that are drawn keep the integral of the grid's own, and holes stay holes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.charts.steps import StepCurve, intensity_steps
from tests.simulation.build import HOUR, START_S, grid

steps = st.lists(st.floats(0, 1000), min_size=1, max_size=40).map(
    lambda values: StepCurve(edges_s=np.arange(len(values) + 1) * HOUR, values=np.array(values))
)


@given(steps, st.integers(1, 50))
def test_coarser_steps_keep_the_integral(fine: StepCurve, most: int) -> None:
    coarse = fine.coarser(most)
    assert len(coarse.values) <= most + 1
    before, after = (float(row.values @ np.diff(row.edges_s)) for row in (fine, coarse))
    assert after == pytest.approx(before, abs=1e-3)


@given(steps, st.floats(0, 1))
def test_the_lowest_stretches_are_no_longer_than_asked_and_lower_than_the_rest(fine: StepCurve, share: float) -> None:
    inside = np.zeros(len(fine.values), bool)
    for first_s, last_s in fine.lowest(share):
        inside |= (fine.edges_s[:-1] >= first_s) & (fine.edges_s[1:] <= last_s)
    assert inside.sum() <= share * len(inside) * (1 + 1e-9)
    if inside.any() and not inside.all():
        assert fine.values[inside].max() <= fine.values[~inside].min()


def test_intensities_are_the_grid_s_own_between_any_instants() -> None:
    cut = intensity_steps(grid([10, 20, 30]), START_S + 1800, START_S + 2.5 * HOUR)
    assert cut.values.tolist() == [10, 20, 30]
    assert np.diff(cut.edges_s).tolist() == [1800, 3600, 1800]


def test_parts_end_at_holes() -> None:
    nan = float("nan")
    row = StepCurve(edges_s=np.arange(7) * HOUR, values=np.array([nan, 1, 2, nan, nan, 3]))
    assert list(row.parts()) == [([HOUR, 2 * HOUR, 3 * HOUR], [1, 2]), ([5 * HOUR, 6 * HOUR], [3])]


def test_slots_become_steps_with_holes_where_nothing_is_known() -> None:
    row = StepCurve.of_slots([(0, 1, 5.0), (1, 2, None), (2, 3, 6.0), (4, 6, 7.0)])
    assert row.edges_s.tolist() == [0, 1, 2, 3, 4, 6]
    assert [None if np.isnan(value) else value for value in row.values] == [5, None, 6, None, 7]

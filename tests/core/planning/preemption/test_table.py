"""The cheapest cells are those that trying every set of cells finds, under the same rules."""

from itertools import product
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.planning.preemption.table import Cells, Shape, cheapest_cells
from tests.sampling import examples

costs_of = st.lists(st.integers(0, 9).map(float) | st.just(inf), min_size=1, max_size=10)
shapes = st.builds(
    Shape,
    work=st.integers(1, 5),
    min_run=st.integers(1, 3),
    restart=st.integers(0, 2),
    begun=st.booleans(),
)
going = st.builds(
    Shape,
    work=st.integers(1, 5),
    min_run=st.integers(1, 3),
    restart=st.integers(0, 2),
    running=st.just(True),
    forced=st.integers(0, 3),
)


def _runs(cells: tuple[int, ...]) -> Cells:
    """The runs of cells that are on."""
    edges = np.flatnonzero(np.diff([0, *cells, 0]))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _is_allowed(runs: Cells, shape: Shape) -> bool:
    """Whether the runs do the work: each restart costs, each run but one that ends the work lasts long enough."""
    done = 0
    for nth, (begin, end) in enumerate(runs):
        goes_on = shape.running and nth == 0 and begin == 0
        is_restart = not goes_on and (nth > 0 or shape.begun or shape.running)
        gained = end - begin - (shape.restart if is_restart else 0)
        least = min(shape.forced, shape.work) if goes_on else min(shape.min_run, shape.work - done)
        if gained < max(least, 1):
            return False
        done += gained
    return done == shape.work


def _brute(costs: list[float], shape: Shape) -> float | None:
    found = [
        sum(cost for cost, on in zip(costs, cells, strict=True) if on)
        for cells in product((0, 1), repeat=len(costs))
        if _is_allowed(_runs(cells), shape)
        and not (shape.running and shape.forced and not all(cells[: min(shape.forced, shape.work)]))
    ]
    return min((cost for cost in found if cost < inf), default=None)


@examples(150)
@given(costs_of, shapes | going)
def test_no_set_of_cells_that_is_allowed_costs_less(costs: list[float], shape: Shape) -> None:
    found, best = cheapest_cells(np.array(costs), shape), _brute(costs, shape)
    assert (found is None) == (best is None)
    if found is not None:
        assert found[0] == pytest.approx(best)
        assert sum(sum(costs[begin:end]) for begin, end in found[1]) == pytest.approx(found[0])
        assert _is_allowed(found[1], shape)


@pytest.mark.parametrize(
    ("drawn", "shape", "expected"),
    [
        pytest.param("31313", Shape(work=2), [(1, 2), (3, 4)], id="31313: both ones"),
        pytest.param("31313", Shape(work=2, restart=1), [(0, 2)], id="31313, restart 1: at 1 and 3 costs as much"),
        pytest.param("91991", Shape(work=2, restart=1), [(0, 2)], id="a restart runs in a cell, too"),
        pytest.param("31133", Shape(work=2, min_run=2), [(1, 3)], id="31133: a run of two"),
        pytest.param("22222", Shape(work=2), [(0, 2)], id="flat: at once"),
        pytest.param("19911", Shape(work=2, running=True, forced=2), [(0, 2)], id="it must go on for two"),
        pytest.param("19911", Shape(work=2, running=True), [(0, 1), (4, 5)], id="restart 0: suspended at once"),
    ],
)
def test_examples(drawn: str, shape: Shape, expected: Cells) -> None:
    found = cheapest_cells(np.array([float(c) for c in drawn]), shape)
    assert found is not None
    costs = sum(sum(float(c) for c in drawn[a:b]) for a, b in expected)
    assert found[0] == pytest.approx(costs)


def test_a_job_that_does_not_fit_has_no_cells() -> None:
    assert cheapest_cells(np.array([1.0, inf, 1.0]), Shape(work=3)) is None
    assert cheapest_cells(np.zeros(0), Shape(work=1)) is None

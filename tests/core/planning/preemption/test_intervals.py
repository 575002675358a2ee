"""Interruptible jobs on the clock: their plans are near the best there is, and the bound is a true one."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.planning.gpu_timelines.timeline import Timeline
from greenrun.core.planning.model import Running
from greenrun.core.planning.planner import plan
from greenrun.core.planning.preemption.intervals import cells_of, step_for
from greenrun.core.planning.preemption.table import Shape, cheapest_cells
from tests.core.build import SLOT, T0, grid, job
from tests.core.situations import holed, situation
from tests.sampling import examples

T0_S, SLOT_S, CELL = T0.timestamp(), SLOT.total_seconds(), timedelta(seconds=30)
STEPS = 60  # half minutes in a slot
CENTURY_S = 100 * 365 * 86_400.0
values = st.lists(st.integers(1, 9).map(lambda v: 50.0 * v), min_size=8, max_size=8)


@examples(60)
@given(
    values, st.integers(10, 240), st.integers(0, 60), st.integers(0, 40), st.integers(0, 240),
    st.integers(0, STEPS - 1), st.booleans(),
)  # fmt: skip
def test_a_plan_is_near_the_best_on_half_minutes_and_its_bound_below_it(
    values: list[float], work: int, min_run: int, restart: int, slack: int, off: int, runs: bool
) -> None:
    """`cheapest_cells` is proved by trying all sets of cells, so here it is the judge, on cells of half a minute."""
    now = T0 + off * CELL
    spec = {"interruptible": True, "min_run": min_run * CELL, "restart_cost": restart * CELL, "max_delay": slack * CELL}
    own = job(1, duration=work * CELL, submitted=now, **spec)
    run = Running(job=own, devices=("gpu0",), since=now)
    made = plan(situation([] if runs else [own], values, now=now, running=(run,) if runs else ()))
    costs = np.repeat(np.array(values) / 120, STEPS)[off : off + work + slack]
    shape = Shape(work=work, min_run=max(1, min_run), restart=restart, running=runs, forced=min(work, min_run) * runs)
    best = cheapest_cells(costs, shape) if len(costs) == work + slack else None
    if best is None or made.bound_g is None:
        return
    assert made.expected_g is not None
    assert made.bound_g <= best[0] * (1 + 1e-9) + 1e-9
    assert made.expected_g >= best[0] * (1 - 1e-9) - 1e-9
    coarse_g = 15 * max(values) / 120  # a cell is a quarter of a slot at most
    assert made.expected_g <= best[0] * 1.35 + coarse_g


@pytest.mark.parametrize(
    ("length_s", "restart_s", "cells"),
    [(3600, 0, 1), (3000, 0, 4), (3600, 900, 4), (3600, 300, 6), (3600, 100, 12), (3600, 7200, 4)],
)
def test_cells_are_slots_where_these_are_exact_and_else_fine_enough_for_a_restart(
    length_s: float, restart_s: float, cells: int
) -> None:
    assert SLOT_S / step_for(SLOT_S, length_s, restart_s) == cells


def test_cells_begin_with_the_rest_of_the_slot_and_end_with_the_last_whole_one() -> None:
    edges_s, over = cells_of(T0_S + 600, T0_S + 3.5 * SLOT_S, grid([100.0, 200.0, 300.0, 400.0]), SLOT_S)
    assert (edges_s - T0_S).tolist() == [600, SLOT_S, 2 * SLOT_S, 3 * SLOT_S]
    assert over.tolist() == pytest.approx([100 * 1200, 200 * SLOT_S, 300 * SLOT_S])


def test_cells_without_known_intensity_are_nan_and_without_time_there_are_none() -> None:
    _, over = cells_of(T0_S, T0_S + 3 * SLOT_S, holed([1, None, 1]), SLOT_S)
    assert np.isnan(over).tolist() == [False, True, False]
    assert [len(part) for part in cells_of(T0_S, T0_S + SLOT_S / 2, grid([1.0]), SLOT_S)] == [0, 0]
    assert [len(part) for part in cells_of(T0_S, T0_S + SLOT_S, grid([]), SLOT_S)] == [0, 0]


def test_only_cells_that_are_free_all_along_are_run_in() -> None:
    made = plan(
        situation(
            [job(1, slots=2, interruptible=True, restart_cost=0 * SLOT, min_run=0 * SLOT)],
            [100.0, 200.0, 300.0, 400.0], busy={"gpu0": T0 + SLOT * 1.5},
        )
    )  # fmt: skip
    assert made.placements[0].start >= T0 + 1.5 * SLOT
    line = Timeline(1)
    line.reserve(T0_S + 100, T0_S + 200, 1)
    assert not line.is_free(T0_S, T0_S + SLOT_S, 1)


@pytest.mark.parametrize("length", [timedelta(hours=1), timedelta(days=365)])
def test_a_deadline_a_century_away_costs_no_more_than_the_hours_that_are_known(length: timedelta) -> None:
    edges_s, grams = cells_of(T0_S, T0_S + CENTURY_S, grid([100.0] * 8), SLOT_S)
    assert (edges_s[-1], len(grams)) == (T0_S + 8 * SLOT_S, 8)
    far = job(1, duration=length, interruptible=True, finish_by=T0 + timedelta(seconds=CENTURY_S))
    (placement,) = plan(situation([far], [300.0, *[100.0] * 7])).placements
    assert not placement.late


def test_more_work_than_there_are_hours_needs_no_table_of_it() -> None:
    assert cheapest_cells(np.ones(8), Shape(work=10**15, min_run=2, restart=1)) is None

"""The bound for jobs that may be suspended is what filling the cheapest time costs, and no plan is below it."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.planning.formulation import planning_problem
from greenrun.core.planning.planner import plan
from greenrun.core.planning.preemption.bound import least_suspended_g, suspendable_response
from tests.core.build import SLOT, T0, grid, job
from tests.core.situations import holed, situation
from tests.sampling import examples

APART = {"interruptible": True, "min_run": timedelta(0), "restart_cost": timedelta(0)}
values = st.lists(st.integers(1, 9).map(lambda v: 50.0 * v), min_size=8, max_size=8)
prices = st.lists(st.integers(0, 5).map(lambda v: v / 100), min_size=8, max_size=8)


@examples(60)
@given(values, prices, st.integers(1, 8 * 30), st.integers(0, 8 * 30), st.integers(0, 29))
def test_free_restarts_leave_the_sum_of_the_cheapest_minutes(
    values: list[float], paid: list[float], work: int, slack: int, off: int
) -> None:
    now = T0 + timedelta(minutes=off)
    own = job(1, duration=timedelta(minutes=work), submitted=now, max_delay=timedelta(minutes=slack), **APART)
    problem = planning_problem(situation([own], values, now=now), [own], grid(values))
    cells = len(problem.knots_s) - 1
    per_s = np.zeros((len(problem.pools), cells))
    per_s[0] = (paid * 3)[:cells]
    minutes = sorted(
        values[(off + at) // 30] / 60 + paid_g * 60
        for at in range(work + slack)
        if off + at < 240
        for paid_g in [float(per_s[0][np.searchsorted(problem.knots_s, now.timestamp() + 60 * at, side="right") - 1])]
    )
    if len(minutes) < work:
        return
    assert least_suspended_g(problem, per_s) == pytest.approx(sum(minutes[:work]))


def test_time_of_which_nothing_is_known_is_not_run_in() -> None:
    own = job(1, slots=2, max_delay=4 * SLOT, **APART)
    known = holed([400.0, None, 100.0, None, 200.0, 300.0])
    problem = planning_problem(situation([own], [], forecast=known), [own], known)
    unpriced = np.zeros((len(problem.pools), len(problem.knots_s) - 1))
    assert least_suspended_g(problem, unpriced) == pytest.approx((100 + 200) / 2)


def test_a_mix_of_runs_that_restart_more_and_less_often_is_no_way_to_run() -> None:
    """One hour with a restart of a quarter: 45 minutes at 100 and 30 at 10 are best, and the bound is no less.

    Half an hour alone, and all three clean half-hours, mixed so as to do an hour's work, would be cheaper.
    """
    own = job(1, slots=2, max_delay=4 * SLOT, interruptible=True, min_run=timedelta(0), restart_cost=SLOT / 2)
    values = [100.0, 100.0, 900.0, 10.0, 900.0, 900.0]
    problem = planning_problem(situation([own], values), [own], grid(values))
    unpriced = np.zeros((len(problem.pools), len(problem.knots_s) - 1))
    assert least_suspended_g(problem, unpriced) == pytest.approx((1.5 * 100 + 10) / 2, rel=1e-3)
    assert plan(situation([own], values)).expected_g == pytest.approx((1.5 * 100 + 10) / 2)
    respond = suspendable_response(problem)
    mixed_g = max(respond(unpriced)[0] for _ in range(10))
    assert mixed_g <= (10 + 200 * 2 / 3) / 2 * (1 + 1e-9)


@examples(40)
@given(values)
def test_no_plan_emits_less_than_rows_are_said_to_emit_at_least(values: list[float]) -> None:
    own = job(1, slots=3, max_delay=5 * SLOT, interruptible=True, min_run=timedelta(0), restart_cost=SLOT / 6)
    asked = situation([own], values)
    problem = planning_problem(asked, [own], grid(values))
    (least_g,) = suspendable_response(problem).least_emitted()
    assert least_g == pytest.approx(sum(sorted(values)[:3]) / 2)
    made_g = plan(asked).expected_g
    assert made_g is not None
    assert least_g <= made_g * (1 + 1e-9)


@examples(40)
@given(values, st.lists(st.tuples(st.integers(1, 4), st.integers(0, 8)), min_size=1, max_size=4))
def test_with_gpus_for_all_and_free_restarts_the_plan_is_at_its_bound(
    values: list[float], asked: list[tuple[int, int]]
) -> None:
    jobs = [job(n, slots=slots, max_delay=wait * SLOT, **APART) for n, (slots, wait) in enumerate(asked, 1)]
    made = plan(situation(jobs, [*values, *values], gpus=4))
    assert made.expected_g == pytest.approx(made.bound_g)

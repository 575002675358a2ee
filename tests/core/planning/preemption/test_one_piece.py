"""Jobs that may be suspended are never planned worse than the same jobs in one piece; no plan is below its bound."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from greenrun.core.planning.formulation import planning_problem
from greenrun.core.planning.model import Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.preemption.bound import least_suspended_g, suspendable_response
from greenrun.core.planning.scheduling.costing import cheapest_suspended
from tests.core import situations as drawn
from tests.core.build import SLOT, job
from tests.core.situations import quickly, situation
from tests.core.sound import check

PLAIN = {"priority": 0, "min_saving": None, "run_below_g_per_kwh": None}  # thresholds decide on starts, not on grams


def plain(asked: Situation) -> Situation:
    """The same queue without thresholds, priorities and runs."""
    jobs = tuple(replace(one, spec=replace(one.spec, **PLAIN)) for one in asked.jobs)
    options = replace(asked.options, min_saving=0.0, run_below_g_per_kwh=0.0)
    return replace(asked, jobs=jobs, running=(), options=options)


def in_one_piece(asked: Situation) -> Situation:
    return replace(asked, jobs=tuple(replace(one, spec=replace(one.spec, interruptible=False)) for one in asked.jobs))


@quickly(60)
@given(drawn.situations())
def test_suspending_never_emits_more_nor_misses_more_limits_than_one_piece(case: Situation) -> None:
    asked = plain(case)
    made, whole = plan(asked), plan(in_one_piece(asked))
    assert sum(row.late for row in made.placements) <= sum(row.late for row in whole.placements)
    same = {row.job_id for row in made.placements if row.late} == {row.job_id for row in whole.placements if row.late}
    if same and made.expected_g is not None and whole.expected_g is not None:
        assert made.expected_g <= whole.expected_g * (1 + 1e-9) + 1e-9


@quickly(40)
@given(drawn.crowded())
def test_with_the_daemon_s_own_options_crowded_queues_gain_by_suspension(asked: Situation) -> None:
    made, whole = plan(asked), plan(in_one_piece(asked))
    check(asked, made)
    assert sum(row.late for row in made.placements) <= sum(row.late for row in whole.placements)
    if made.expected_g is not None and whole.expected_g is not None and not any(row.late for row in whole.placements):
        assert made.expected_g <= whole.expected_g * (1 + 1e-9)
        assert made.bound_g is not None
        assert made.bound_g <= made.expected_g * (1 + 1e-9)


@quickly(40)
@given(drawn.crowded(), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_no_job_is_cheaper_than_the_bound_says_at_any_prices(asked: Situation, paid: list[int]) -> None:
    problem = planning_problem(asked, asked.jobs, asked.forecast)
    assume(problem.flexible)
    prices = problem.free * 0.0
    prices[0] = [paid[cell % len(paid)] / 100 for cell in range(prices.shape[1])]
    found = cheapest_suspended(problem, prices)
    assert found.keys() == problem.flexible.keys()
    cost_g = sum(response.cost for response in found.values())
    assert least_suspended_g(problem, prices) <= cost_g * (1 + 1e-9)
    respond = suspendable_response(problem)
    for _ in range(3):  # whatever it remembers of other prices, an answer is a bound
        assert respond(prices)[0] <= cost_g * (1 + 1e-9)
        respond(prices * 3)


@quickly(40)
@given(drawn.crowded())
def test_what_is_asked_for_at_given_prices_is_the_work_and_little_more(asked: Situation) -> None:
    """The mix of two choices of runs does just the work; restarts add to it."""
    problem = planning_problem(asked, asked.jobs, asked.forecast)
    assume(problem.flexible)
    respond = suspendable_response(problem)
    prices = problem.free * 0.0
    for _ in range(30):
        _, usage = respond(prices)
    held_s = float((usage * (problem.knots_s[1:] - problem.knots_s[:-1])).sum())
    work_s = sum(row.length_s * row.units for row in problem.flexible.values())
    assert held_s >= work_s * 0.95
    if not any(row.restart_s for row in problem.flexible.values()):
        assert held_s == pytest.approx(work_s, rel=0.05)


def test_a_restart_as_long_as_the_job_itself_is_never_paid() -> None:
    dear = job(1, slots=2, max_delay=4 * SLOT, interruptible=True, restart_cost=2 * SLOT, min_run=SLOT / 6)
    asked = situation([dear], [300.0, 100.0, 300.0, 300.0, 100.0, 300.0])
    assert not planning_problem(asked, asked.jobs, asked.forecast).flexible
    assert plan(asked) == plan(in_one_piece(asked))

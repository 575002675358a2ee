"""Rows that trade time, some of which may be suspended, make no schedule worse and keep every reservation."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from greenrun.core.planning.formulation import planning_problem
from greenrun.core.planning.improvement.effort import Effort
from greenrun.core.planning.improvement.exchange import exchanged, least_costs
from greenrun.core.planning.improvement.rearrangement import Goal
from greenrun.core.planning.lagrangian import find_prices
from greenrun.core.planning.model import Situation
from greenrun.core.planning.preemption.bound import suspendable_response
from greenrun.core.planning.scheduling.schedule import Schedule
from tests.core import situations as drawn
from tests.core.build import SLOT, job
from tests.core.situations import quickly

EFFORT = Effort(iterations=20, rearrangements=8, gap=0.0, work=10**7)


@quickly(40)
@given(drawn.crowded(), st.booleans())
def test_an_exchange_makes_nothing_worse_and_fits(asked: Situation, priced: bool) -> None:
    problem = planning_problem(asked, asked.jobs, asked.forecast)
    assume(problem.flexible and not problem.after)
    suspended, goal = suspendable_response(problem), Goal(priced=priced)
    none = np.zeros_like(problem.free)
    sought = find_prices(problem.rows, problem.free, none, iterations=20, upper_g=1e6, gap=0.0, others=[suspended])
    made = Schedule(problem, sought.prices, sought.costs).add_all(range(len(problem.jobs)))
    before, least = goal.of(made), least_costs(problem, suspended, goal)
    found = exchanged(made, problem, sought, suspended, 0.0, goal, EFFORT, frozenset())
    assert goal.of(found) <= before
    assert found.places.keys() == set(range(len(problem.jobs)))
    assert all(least.get(row, 0.0) <= place.grams * (1 + 1e-9) for row, place in found.places.items() if not place.late)
    again = Schedule(problem, sought.prices, sought.costs)
    for row, place in found.places.items():
        spans = place.pieces or ((place.start_s, place.start_s + float(problem.rows.demands.length_s[row])),)
        units = int(problem.rows.demands.units[row])
        assert all(again.pools[place.pool].is_free(begin_s, end_s, units) for begin_s, end_s in spans)
        again.put(row, place)


def test_a_job_gets_the_clean_hours_of_one_that_can_run_at_other_times_as_well() -> None:
    """Each placed alone is content; only both taken out, and the one that loses most put first, do better."""
    asked = drawn.situation(
        [
            job(1, slots=2, max_delay=6 * SLOT, interruptible=True, restart_cost=SLOT / 6),
            job(2, slots=2, max_delay=2 * SLOT, interruptible=True, restart_cost=SLOT / 6),
        ],
        [500.0, 500.0, 100.0, 100.0, 110.0, 110.0, 500.0, 500.0],
        gpus=1,
    )
    problem = planning_problem(asked, asked.jobs, asked.forecast)
    suspended, goal = suspendable_response(problem), Goal(priced=False)
    none = np.zeros_like(problem.free)
    sought = find_prices(problem.rows, problem.free, none, iterations=60, upper_g=1e6, gap=0.0, others=[suspended])
    made = Schedule.unpriced(problem).add_all([0, 1])
    stuck_g = made.grams
    found = exchanged(made, problem, sought, suspended, 0.0, goal, EFFORT, frozenset())
    assert found.missed == 0
    assert found.grams < stuck_g
    assert found.grams == (100 + 100 + 110 + 110) / 2

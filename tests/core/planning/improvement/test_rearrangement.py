"""A sweep moves rows one by one, and no step of it makes a schedule worse."""

from dataclasses import replace
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.planning.capacity import pools_of
from greenrun.core.planning.formulation import planning_problem
from greenrun.core.planning.improvement.rearrangement import Goal, swept
from greenrun.core.planning.lagrangian import find_prices
from greenrun.core.planning.model import Situation
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.schedule import Schedule
from tests.core import situations as drawn
from tests.core.build import grid
from tests.sampling import examples


def of(asked: Situation) -> PlanningProblem:
    """The jobs that some pool suits, none of them running."""
    pools = pools_of(asked)
    jobs = [one for one in asked.jobs if any(pool.suits(one) for pool in pools)]
    return planning_problem(replace(asked, running=()), jobs, asked.forecast or grid([]))


@examples(60)
@given(drawn.situations(), st.randoms(use_true_random=False), st.booleans())
def test_a_sweep_makes_nothing_worse_and_fits(asked: Situation, chance: Random, priced: bool) -> None:
    problem = of(asked)
    sought = find_prices(problem.rows, problem.free, np.zeros_like(problem.free), iterations=5, upper_g=1e6, gap=0.0)
    made = Schedule(problem, sought.prices, sought.costs)
    rows = list(range(len(problem.jobs)))
    chance.shuffle(rows)
    for row in rows:
        made.add_soonest(row)
    goal = Goal(priced=priced)
    found = swept(made, problem=problem, sought=sought, goal=goal, fixed=frozenset())
    assert goal.of(found) <= goal.of(made)
    assert found.places.keys() == made.places.keys()
    again = Schedule(problem, sought.prices, sought.costs)
    for row, place in found.places.items():
        spans = place.pieces or ((place.start_s, place.start_s + float(problem.rows.demands.length_s[row])),)
        units = int(problem.rows.demands.units[row])
        assert all(again.pools[place.pool].is_free(begin_s, end_s, units) for begin_s, end_s in spans)
        again.put(row, place)

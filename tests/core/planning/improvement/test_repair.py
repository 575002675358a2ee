"""Large queues are planned in fewer passes, and still as near to the bound as was asked for, with no limit missed."""

from datetime import timedelta

import numpy as np
import pytest

from greenrun.core.jobs.job import Job
from greenrun.core.planning.formulation import planning_problem
from greenrun.core.planning.improvement.repair import MANY, trade_places
from greenrun.core.planning.model import Options, Plan, Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.scheduling.schedule import Schedule
from tests.core.build import T0, grid, job

SLOTS = 96
GPUS = tuple(f"GPU-{number}" for number in range(40))


def queue(slots_of_work: float, seed: int) -> tuple[Job, ...]:
    """Jobs of 1 to 3 GPUs with releases all over two days, each to start within eight hours."""
    rng = np.random.default_rng(seed)
    released = [T0 + timedelta(minutes=int(at)) for at in rng.integers(0, 36 * 60, MANY)]
    return tuple(
        job(
            number + 1,
            slots=float(rng.uniform(0.2, 2.0)) * slots_of_work,
            gpus=int(rng.integers(1, 4)),
            start_after=at,
            max_delay=at - T0 + timedelta(hours=8),
        )
        for number, at in enumerate(released)
    )


def planned(jobs: tuple[Job, ...], gap: float) -> Plan:
    """A plan on a grid with two clean noons."""
    hours = np.arange(SLOTS) / 2
    forecast = grid((200 - 90 * np.cos((hours + 2) / 12 * np.pi)).tolist())
    return plan(Situation(now=T0, jobs=jobs, devices=GPUS, forecast=forecast, options=Options(gap=gap)))


@pytest.mark.parametrize("gap", [0.005, 0.02])
def test_a_large_queue_is_planned_as_near_to_its_bound_as_was_asked_for(gap: float) -> None:
    made = planned(queue(0.8, seed=1), gap)
    assert made.gap_ratio is not None
    assert made.gap_ratio <= gap


@pytest.mark.parametrize("seed", range(3))
def test_no_limit_is_missed_in_a_large_and_crowded_queue(seed: int) -> None:
    made = planned(queue(3.2, seed), gap=0.005)
    assert not [row.job_id for row in made.placements if row.late]


def test_a_large_queue_is_planned_alike_each_time() -> None:
    jobs = queue(3.2, seed=4)
    assert planned(jobs, 0.005).placements == planned(jobs, 0.005).placements


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_trade_places_are_late_no_more_and_no_other_is_late_for_it(seed: int) -> None:
    """Put largest first, the smallest jobs of a crowded queue find no room inside their limits."""
    jobs = queue(4.2, seed)
    asked = Situation(now=T0, jobs=jobs, devices=GPUS, forecast=grid([200.0] * SLOTS))
    problem = planning_problem(asked, jobs, grid([200.0] * SLOTS))
    made = Schedule.unpriced(problem)
    size = problem.rows.demands.length_s * problem.rows.demands.units
    made.add_all(sorted(range(len(jobs)), key=lambda row: -size[row]))
    before = {row for row, place in made.places.items() if place.late}
    trade_places(made, problem, frozenset(), lambda rows: True)
    after = {row for row, place in made.places.items() if place.late}
    assert before
    assert after < before
    again = Schedule.unpriced(problem)
    for row, place in made.places.items():
        end_s = place.start_s + float(problem.rows.demands.length_s[row])
        assert again.pools[place.pool].is_free(place.start_s, end_s, int(problem.rows.demands.units[row]))
        again.put(row, place)

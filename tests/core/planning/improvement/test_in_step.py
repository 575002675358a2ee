"""Many rows of one length leave no holes between them that are too short for one more."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import Job
from greenrun.core.planning.formulation import planning_problem
from greenrun.core.planning.improvement.in_step import FEWEST, like_rows, put_in_step
from greenrun.core.planning.model import Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.scheduling.schedule import Schedule
from tests.core.build import T0, grid, job
from tests.core.situations import situation
from tests.core.sound import check
from tests.sampling import examples

GPUS = 8


def days(slots: int) -> list[float]:
    """Return days with a clean noon, and weather and noise on them: no hour is like another."""
    rng, hours = np.random.default_rng(1), np.arange(slots) / 2
    shape = 220 - 90 * np.cos((hours + 3) / 24 * 2 * np.pi) + 40 * np.cos(hours / 57 * 2 * np.pi)
    return np.maximum(20.0, shape + rng.normal(0.0, 8.0, slots)).tolist()


def like(count: int, minutes: float, wait_h: float, gpus: int = 1) -> list[Job]:
    """Return jobs that differ by their ids only."""
    limit = timedelta(hours=wait_h)
    return [job(number, slots=minutes / 30, gpus=gpus, max_delay=limit) for number in range(1, count + 1)]


def busy(asked: int) -> Situation:
    """Return jobs of 40 minutes on GPUs of which some become free one after the other."""
    back = {f"gpu{number}": T0 + timedelta(minutes=37 * (number + 1)) for number in range(3)}
    return situation(like(asked, 40, 30), days(160), GPUS, busy=back)


@pytest.mark.parametrize(
    "asked",
    [
        situation(like(100, 50, 36), days(160), GPUS),
        situation(like(110, 60, 96, gpus=2), days(240), GPUS),
        busy(240),
    ],
    ids=["lengths across slots", "two GPUs each", "GPUs that come back"],
)
def test_a_plan_of_many_like_jobs_is_near_its_bound(asked: Situation) -> None:
    made = plan(asked)
    check(asked, made)
    assert not any(row.late for row in made.placements)
    assert made.gap_ratio is not None
    assert made.gap_ratio < 0.01


def test_few_rows_of_a_length_are_not_put_in_step_and_neither_are_those_that_are_tied_to_others() -> None:
    jobs = [*like(FEWEST, 60, 24), *(job(100 + number, slots=3) for number in range(FEWEST - 1))]
    asked = situation(jobs, days(96), GPUS)
    assert like_rows(planning_problem(asked, asked.jobs, grid(days(96)))) == [list(range(FEWEST))]
    weighing = [job(number, slots=2, min_saving=0.1) for number in range(FEWEST)]
    asked = situation(weighing, days(96), GPUS)
    assert like_rows(planning_problem(asked, asked.jobs, grid(days(96)))) == []


@examples(25)
@given(st.integers(FEWEST, 40), st.integers(10, 200), st.integers(1, 3), st.integers(0, 30), st.integers(1, 60))
def test_rows_in_step_fit_beside_each_other_whatever_is_known_and_however_long_they_may_wait(
    count: int, minutes: int, gpus: int, wait_h: int, known: int
) -> None:
    values = days(known)
    asked = situation(like(count, minutes, wait_h, gpus), values, GPUS)
    problem = planning_problem(asked, asked.jobs, grid(values))
    made, rows = Schedule.unpriced(problem), range(count)
    put_in_step(made, problem, rows, like_rows(problem))
    assert set(made.places) == set(rows)
    starts_s = np.array([made.places[row].start_s for row in rows])
    for at_s in starts_s:
        in_use = (starts_s <= at_s) & (starts_s + 60 * minutes > at_s + 1e-3)
        assert gpus * in_use.sum() <= GPUS

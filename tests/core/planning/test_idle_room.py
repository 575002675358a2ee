"""GPUs that are back sooner than foreseen are used at once by whoever gains nothing by waiting on."""

from dataclasses import replace
from datetime import timedelta

import pytest

from greenrun.core.jobs.job import State
from greenrun.core.planning.formulation import planning_problem
from greenrun.core.planning.idle_room import waiting_beside_idle
from greenrun.core.planning.model import Plan, Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.scheduling.costing import Place
from greenrun.core.planning.search import SearchResult
from tests.core.build import SLOT, T0, job
from tests.core.situations import situation

NOW = T0 + timedelta(minutes=1)
BACK = T0 + 8 * SLOT
FALLING = [400.0 - 5 * i for i in range(40)]


def starts(made: Plan) -> list[timedelta]:
    return [row.start - T0 for row in made.placements]


def back_early(spec: dict[str, object], values: list[float] | None, submitted: float = 0) -> Situation:
    """Two jobs of four hours on two GPUs that were to be busy for four hours, and are free now."""
    jobs = [job(number, slots=8, submitted=T0 - submitted * SLOT, **spec) for number in (1, 2)]
    asked = situation(jobs, values or [], gpus=2, busy={"gpu0": BACK, "gpu1": BACK})
    asked = asked if values else replace(asked, forecast=None)
    made = plan(asked)
    assert starts(made) == [8 * SLOT] * 2
    return replace(asked, busy={}, now=NOW, last=made)


@pytest.mark.parametrize(
    ("spec", "values", "submitted"),
    [
        ({}, None, 0), ({"interruptible": True}, None, 0), ({}, [200.0] * 40, 0), ({}, [200.0] * 3, 0),
        ({"interruptible": True}, [200.0] * 3, 0), ({}, [200.0] * 12, 0), ({"max_delay": SLOT}, FALLING, 30),
        ({}, FALLING, 2000), ({"min_saving": 0.9}, FALLING, 0), ({"run_below_g_per_kwh": 500.0}, FALLING, 0),
    ],
    ids=["no forecast", "no forecast, suspendable", "flat", "short forecast", "short forecast, suspendable",
         "forecast of some of it", "deadline", "no limit left", "not worth waiting", "clean enough"],
)  # fmt: skip
def test_jobs_start_when_gpus_are_back_early(
    spec: dict[str, object], values: list[float] | None, submitted: float
) -> None:
    assert starts(plan(back_early(spec, values, submitted))) == [NOW - T0] * 2


def test_a_job_that_waits_for_cleaner_hours_keeps_its_place_beside_idle_gpus() -> None:
    asked = situation([job(1, slots=2)], [300.0] * 6 + [100.0] * 4, gpus=2)
    made = plan(asked)
    assert starts(plan(replace(asked, now=NOW, last=made))) == starts(made) == [6 * SLOT]


def test_one_that_may_be_suspended_keeps_a_cleaner_place_beside_idle_gpus_and_nothing_is_searched_anew() -> None:
    own = job(1, slots=2, interruptible=True, max_delay=20 * SLOT)
    asked = situation([own], [300.0] * 6 + [100.0, 300.0, 100.0, 300.0] + [300.0] * 30, gpus=2)
    made = plan(asked)
    problem = planning_problem(asked, asked.jobs, asked.forecast)
    assert problem.flexible
    places = {0: Place(made.placements[0].start.timestamp(), 0, made.placements[0].expected_g or 0.0, 0.0, False)}
    found = SearchResult(places=places, prices=problem.free, bound_g=0.0, soonest_g=None)
    assert not waiting_beside_idle(problem, asked, found)
    dirty = replace(found, places={0: replace(places[0], grams=300.0)})  # what it emits at once: 2 half-hours at 300
    assert set(waiting_beside_idle(problem, asked, dirty)) == {0}


def test_what_is_held_up_by_others_keeps_its_place() -> None:
    """Only one GPU is back: the job of two goes on waiting, and nothing is moved for it."""
    asked = situation([job(1, slots=8, gpus=2)], [200.0] * 40, gpus=2, busy={"gpu0": BACK, "gpu1": BACK})
    later = replace(asked, busy={"gpu0": BACK}, now=NOW, last=plan(asked), states={1: State.QUEUED})
    assert starts(plan(later)) == [8 * SLOT]

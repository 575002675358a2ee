"""What a plan may cost is counted in one unit, for its prices and for its schedules."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.planning.formulation import planning_problem
from greenrun.core.planning.improvement.effort import FEWEST_STEPS, ROW_WORK, Effort, Placings
from greenrun.core.planning.improvement.repair import MANY
from greenrun.core.planning.model import Options, Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.scheduling.schedule import Schedule
from tests.core.build import SLOT, grid, job
from tests.core.situations import situation
from tests.sampling import examples

FORECAST = grid([300.0, 100.0, 200.0] * 8)


def effort(work: int) -> Effort:
    return Effort(iterations=120, rearrangements=32, gap=0.0, work=work)


@examples(30)
@given(st.integers(1, 10**9), st.integers(1, 6))
def test_prices_and_schedules_together_cost_no_more_than_is_allowed(work: int, jobs: int) -> None:
    """But for the fewest steps, and the schedule that is being built when all is used up."""
    own, asked = effort(work), situation([job(n + 1) for n in range(jobs)], [300.0] * 24)
    problem = planning_problem(asked, asked.jobs, FORECAST)
    steps, placings, schedules = own.affordable_iterations(problem, None), Placings(own), 0
    while schedules < 1000 and placings.take(jobs):
        schedules += 1
    spent = steps * len(problem.rows.row) + max(0, schedules - 1) * jobs * ROW_WORK
    assert steps == FEWEST_STEPS or spent <= work


def queue(count: int) -> Situation:
    jobs = [job(n + 1, slots=0.5 + n % 7 / 3, max_delay=10 * SLOT) for n in range(count)]
    return situation(jobs, [300.0, 100.0, 250.0, 50.0] * 12, gpus=64)


def placed(asked: Situation, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many rows the plan's schedules were given in all."""
    count = 0
    put = Schedule.put

    def counted(made: Schedule, *args: object) -> None:
        nonlocal count
        count += 1
        put(made, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Schedule, "put", counted)
    plan(asked)
    monkeypatch.undo()
    return count


def test_a_long_queue_is_given_no_more_schedules_than_its_work_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = queue(MANY + 50)
    least, most = (
        placed(replace(asked, options=Options(work=work, gap=0.0, rearrangements=0)), monkeypatch)
        for work in (1, 10**12)
    )
    assert least < most
    assert least <= 4 * len(asked.jobs)


@pytest.mark.parametrize("work", [2_000_000, 10**12])
def test_a_short_queue_is_planned_as_if_work_had_no_bound(work: int) -> None:
    asked = queue(20)
    bounded, shipped = (plan(replace(asked, options=Options(**more))) for more in ({"work": work}, {}))
    assert bounded.placements == shipped.placements
    assert bounded.bound_g == shipped.bound_g

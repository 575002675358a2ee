"""The problem of one priority: its rows alone, by numbers of their own, beside what is placed already."""

import math
from collections.abc import Mapping
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.dependencies import in_order
from greenrun.core.jobs.job import Dependency
from greenrun.core.planning.capacity import pools_of
from greenrun.core.planning.formulation import planning_problem
from greenrun.core.planning.model import Situation
from greenrun.core.planning.precedence.levels import _part
from greenrun.core.planning.precedence.room import end_of
from greenrun.core.planning.problem import PlanningProblem
from greenrun.core.planning.scheduling.schedule import Schedule
from tests.core import situations as drawn
from tests.core.build import SLOT, T0, grid, job
from tests.core.situations import situation
from tests.sampling import examples


def of(asked: Situation) -> PlanningProblem:
    """The jobs that some pool suits, and those that run and may be suspended."""
    pools = pools_of(asked)
    jobs = [one for one in asked.jobs if any(pool.suits(one) for pool in pools)]
    return planning_problem(asked, jobs, asked.forecast or grid([]))


def by_job(problem: PlanningProblem, told: Mapping[int, object]) -> dict[int, object]:
    """What is told by row, by the ids of jobs."""
    return {problem.jobs[row].id: value for row, value in told.items()}


def test_a_part_waits_for_what_is_placed_and_keeps_the_order_of_its_own_rows() -> None:
    """Job 4 waits for job 1, which is placed, and for job 3, which is of the part: as row 1 for row 0."""
    jobs = [job(1, slots=2), job(2), job(3), job(4, after=(Dependency(job_id=1), Dependency(job_id=3)))]
    problem = of(situation(jobs, [300] * 12, gpus=2))
    made = Schedule.unpriced(problem)
    made.add_soonest(0)
    part = _part(problem, made, [2, 3])
    assert [one.id for one in part.jobs] == [3, 4]
    assert part.after == {1: (0,)}
    assert part.rows.demands.release_s.tolist() == [T0.timestamp(), (T0 + 2 * SLOT).timestamp()]


def test_a_part_has_only_the_gpus_that_are_left_and_takes_none_of_the_whole() -> None:
    problem = of(situation([job(1, slots=2), job(2), job(3)], [300] * 12, gpus=1))
    made = Schedule.unpriced(problem)
    made.add_soonest(0)
    part = _part(problem, made, [1, 2])
    begin_s, free_s = T0.timestamp(), (T0 + 2 * SLOT).timestamp()
    assert part.taken[0].first_fit(begin_s, SLOT.total_seconds(), 1) == free_s
    Schedule.unpriced(part).add_all_soonest([0, 1])
    part.taken[0].reserve(free_s, free_s + 1, 1)
    assert made.pools[0].first_fit(begin_s, SLOT.total_seconds(), 1) == free_s


@examples(60)
@given(drawn.situations(), st.randoms(use_true_random=False))
def test_a_part_says_of_each_row_what_the_whole_does(asked: Situation, chance: Random) -> None:
    problem = of(asked)
    every = range(len(problem.jobs))
    above = {row for row in every if chance.random() < 0.5}
    made = Schedule.unpriced(problem)
    for row in in_order(sorted(above), problem.after):
        made.add_soonest(row)
    rows = [row for row in every if row not in above]
    chance.shuffle(rows)
    part = _part(problem, made, rows)
    whole, own = problem.rows.demands, part.rows.demands
    assert [one.id for one in part.jobs] == [problem.jobs[row].id for row in rows]
    for name in ("precedence", "overdue", "limits"):
        assert getattr(part, name) == tuple(getattr(problem, name)[row] for row in rows)
    for number, row in enumerate(rows):
        ends_s = [end_of(problem, other, made.places[other]) for other in problem.after.get(row, ()) if other in above]
        assert math.isclose(own.release_s[number], max([float(whole.release_s[row]), *ends_s]))
        assert own.latest_s[number] == max(whole.latest_s[row], own.release_s[number])
        told = (own.length_s[number], own.units[number], own.watts[number], own.pools[number])
        assert told == (whole.length_s[row], whole.units[row], whole.watts[row], whole.pools[row])
    ids = {problem.jobs[row].id for row in rows}
    for name in ("flexible", "soft_deadlines", "start_thresholds", "has"):
        expected = by_job(problem, getattr(problem, name))
        assert by_job(part, getattr(part, name)) == {one: value for one, value in expected.items() if one in ids}
    assert {part.jobs[row].id for row in part.running} == {problem.jobs[row].id for row in problem.running} & ids
    for line, beside in zip(part.taken, made.pools, strict=True):
        assert line.free_steps() == beside.copy().free_steps()


def test_a_part_has_what_slipped_of_its_own_rows_in_the_same_order() -> None:
    problem = replace(of(situation([job(number) for number in range(1, 6)], [300] * 12)), slipped=(4, 0, 3, 1))
    part = _part(problem, Schedule.unpriced(problem), [1, 2, 3, 4])
    assert [part.jobs[row].id for row in part.slipped] == [5, 4, 2]

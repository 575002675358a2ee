"""Jobs that are put into a plan fit, move nobody, and keep in the next plan what they were promised."""

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.errors import InvalidJob
from greenrun.core.jobs.job import Dependency, Job, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.admission import SHORT, insert_each
from greenrun.core.planning.gpu_timelines.timeline import Timeline
from greenrun.core.planning.insertion import OpenPlan
from greenrun.core.planning.model import Placement, Plan, Situation
from greenrun.core.planning.planner import plan
from tests.core import situations as drawn
from tests.core.build import SLOT, T0, grid, job
from tests.core.situations import quickly, situation
from tests.core.sound import check, check_capacity

CLEAN_AT_THREE = [300, 300, 300, 100, 300, 300, 300, 300]
MINUTE = timedelta(minutes=1)


def opened(asked: Situation, first: int) -> OpenPlan:
    """Plan the first so many jobs."""
    before = replace(asked, jobs=asked.jobs[:first])
    return OpenPlan(plan(before), before)


@quickly(60)
@given(drawn.situations(), st.integers(0, 6), st.integers(1, 3))
def test_a_plan_with_jobs_put_in_can_be_carried_out_and_has_moved_nobody(
    asked: Situation, first: int, at_once: int
) -> None:
    made = opened(asked, first)
    before, rest = made.plan, list(asked.jobs[first:])
    for begin in range(0, len(rest), at_once):
        some = rest[begin : begin + at_once]
        made.add(some, made.find(some, {}, asked.now), {})
    check(asked, made.plan)
    assert all(made.plan.row(row.job_id) == row for row in (*before.placements, *before.waiting))


@quickly(60)
@given(drawn.situations(), st.integers(0, 6), drawn.seconds(0, 300))
def test_limits_that_are_kept_when_jobs_are_put_in_are_kept_by_the_next_plan(
    asked: Situation, first: int, passed: timedelta
) -> None:
    made = opened(asked, first)
    rest = asked.jobs[first:]
    made.add(rest, made.find(rest, {}, asked.now), {})
    if any(row.late for row in made.plan.placements):
        return
    started = {row.job_id for row in made.plan.placements if row.start <= asked.now + passed} if passed else set()
    if started:  # what becomes of the GPUs of jobs that run is the engine's
        return
    later = replace(asked, now=asked.now + passed, last=made.plan, prices=made.plan.prices)
    assert not [row.job_id for row in plan(later).placements if row.late]


def test_why_a_job_was_put_somewhere_stays_true_when_the_others_are_taken_in() -> None:
    made = opened(situation([], CLEAN_AT_THREE), 0)
    both = [job(number, max_delay=6 * SLOT) for number in (1, 2)]
    rows = made.find(both, {}, T0)
    made.add(both, rows, {})
    assert [row.reason.code for row in rows] == [ReasonCode.CLEANEST_WINDOW, ReasonCode.SHARED_WINDOW]


@quickly(40)
@given(drawn.situations(), st.sets(st.integers(1, 8)), st.integers(0, 3))
def test_what_is_taken_out_leaves_the_room_that_it_had(asked: Situation, ids: set[int], new: int) -> None:
    made = opened(asked, len(asked.jobs))
    gone = {one.id for one in asked.jobs if one.id in ids}
    more = [replace(one, id=one.id + 200) for one in asked.jobs[:new]]
    made.add(more, made.find(more, {}, asked.now), {})
    made.remove(gone)
    assert not gone & {row.job_id for row in (*made.plan.placements, *made.plan.waiting)}
    again = [one for one in asked.jobs if one.id in gone]
    fresh = OpenPlan(made.plan, made.situation)
    assert made.find(again, {}, asked.now) == fresh.find(again, {}, asked.now)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20), st.integers(1, 3)), max_size=12), st.integers(0, 3))
def test_what_is_reserved_together_is_what_is_reserved_one_by_one(
    rows: list[tuple[int, int, int]], before: int
) -> None:
    one, line = Timeline(40), Timeline(40)
    for each in (one, line):
        for start, length, units in rows[:before]:
            each.reserve(start, start + length, units)
    for start, length, units in rows[before:]:
        one.reserve(start, start + length, units)
    rest = [(start, start + length, units) for start, length, units in rows[before:]]
    together = line.taking(*np.array(rest, dtype=float).reshape(-1, 3).T)
    assert together is not None
    for units in (1, 5, 20):
        for left, right in zip(one.blocked(units), together.blocked(units), strict=True):
            assert left.tolist() == right.tolist()


def test_a_job_gets_the_cleanest_hour_that_is_left() -> None:
    made = opened(situation([job(1)], CLEAN_AT_THREE), 1)
    (place,) = made.find([job(2, max_delay=6 * SLOT)], {}, T0)
    assert isinstance(place, Placement)
    assert made.plan.placement(1).start == T0 + 3 * SLOT  # type: ignore[union-attr]
    assert (place.start, place.reason.code) == (T0, ReasonCode.NOW_IS_CLEANEST)


def test_a_job_is_put_behind_the_one_that_it_waits_for() -> None:
    made = opened(situation([job(1)], CLEAN_AT_THREE, gpus=2), 1)
    waits = job(2, after=(Dependency(job_id=1),), max_delay=8 * SLOT)
    (place,) = made.find([waits], {1: State.QUEUED}, T0)
    assert isinstance(place, Placement)
    assert place.start >= T0 + 4 * SLOT
    assert place.reason.code is ReasonCode.WAITS_FOR


def test_nothing_is_put_where_gpus_are_held_for_a_job_that_others_kept_waiting() -> None:
    """One of two GPUs is free until the other comes back, and the job that needs both was to start an hour ago."""
    large = job(1, gpus=2, start_now=True, submitted=T0 - 2 * SLOT)
    told = plan(situation([large], CLEAN_AT_THREE, gpus=2, now=T0 - 2 * SLOT))
    asked = situation([large], CLEAN_AT_THREE, gpus=2, busy={"gpu0": T0 + 2 * SLOT}, last=told)
    made = OpenPlan(plan(asked), asked)
    (place,) = made.find([job(2, max_delay=9 * SLOT)], {}, T0)
    assert isinstance(place, Placement)
    assert place.start >= T0 + 3 * SLOT


def full_queue(size: int) -> OpenPlan:
    """One GPU with as many jobs as are told, each of a slot, none of which has to hurry."""
    queue = [job(number, duration=SLOT / 50, max_delay=300 * SLOT) for number in range(1, size + 1)]
    asked = situation(queue, [100, *[300] * 40])
    return OpenPlan(_one_after_the_other(asked), asked)


def _one_after_the_other(asked: Situation) -> Plan:
    made = plan(replace(asked, jobs=asked.jobs[:1]))
    row = made.placements[0]
    begins = [T0 + number * SLOT / 50 for number in range(len(asked.jobs))]
    rows = [
        replace(row, job_id=one.id, start=begin, end=begin + SLOT / 50)
        for one, begin in zip(asked.jobs, begins, strict=True)
    ]
    return replace(made, placements=tuple(rows))


@pytest.mark.parametrize(
    ("asks", "is_open"),
    [
        ({"max_delay": SLOT / 50}, True),  # too late beside the others
        ({"start_now": True}, True),
        ({"min_saving": 0.6, "max_delay": 9 * SLOT}, True),
        ({"max_delay": 9 * SLOT}, False),
    ],
)
def test_a_long_queue_answers_with_a_provisional_place_and_a_short_one_with_a_plan(
    asks: dict[str, object], is_open: bool
) -> None:
    (row,) = insert_each(full_queue(SHORT + 1), [job(1000, **asks)], {}, T0) or [None]  # type: ignore[arg-type]
    assert row is not None
    assert (row.reason.code is ReasonCode.PROVISIONAL) == is_open
    few = insert_each(full_queue(10), [job(1000, **asks)], {}, T0)  # type: ignore[arg-type]
    assert (few is None) == is_open


def test_a_finish_by_is_accepted_by_its_place_or_by_a_plan_and_never_provisionally() -> None:
    made = full_queue(SHORT + 1)
    assert insert_each(made, [job(1000, duration=SLOT / 2, finish_by=T0 + SLOT)], {}, T0) is None
    (row,) = insert_each(made, [job(1000, finish_by=T0 + 9 * SLOT)], {}, T0) or [None]
    assert isinstance(row, Placement)
    assert not row.late
    assert row.reason.code is not ReasonCode.PROVISIONAL


def test_a_job_that_needs_more_gpus_than_there_are_is_refused() -> None:
    with pytest.raises(InvalidJob, match="needs 3 GPUs and this machine has 1"):
        insert_each(full_queue(1), [job(2, gpus=3)], {}, T0)


def test_time_that_passed_since_the_plan_was_made_counts() -> None:
    made = opened(situation([], CLEAN_AT_THREE), 0)
    (place,) = made.find([_clean(2)], {}, T0 + 2 * MINUTE)
    assert isinstance(place, Placement)
    assert place.start >= T0 + 2 * MINUTE
    made.add([_clean(2)], [place], {})
    check_capacity(replace(made.situation, forecast=grid(CLEAN_AT_THREE)), made.plan)


def _clean(number: int, at: datetime = T0) -> Job:
    return job(number, max_delay=SLOT / 4, submitted=at)


def test_a_job_put_in_in_parts_displaces_nobody_when_its_first_part_is_due() -> None:
    """The first is half a minute before the GPUs are another one's, which leaves none for a start in one go."""
    length, second = timedelta(seconds=1790), timedelta(seconds=1)
    apart = {"interruptible": True, "min_run": timedelta(0), "restart_cost": timedelta(0)}
    jobs = [
        job(1, duration=4 * length, finish_by=T0 + 7 * SLOT),
        job(2, duration=3 * length, finish_by=T0 + 5 * SLOT, gpus=2),
        job(3, duration=2 * length, max_delay=3 * SLOT, submitted=T0 + second, **apart),
    ]
    made = opened(situation([], [300, 300, 100, 300, 200, 300, 50, 300, 300, 300] * 3, gpus=2), 0)
    for one in jobs:
        made.add([one], made.find([one], {}, one.submitted_at), {})
    third = made.plan.placement(3)
    assert third is not None
    assert third.pieces[0] == (T0 + second, T0 + 30 * second)
    asked = replace(made.situation, now=T0 + second, last=made.plan, prices=made.plan.prices)
    assert not [row.job_id for row in plan(asked).placements if row.late]

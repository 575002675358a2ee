"""A job whose length is not sure is planned to end some time before its limit, as long as that costs no limit."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import Dependency, DurationSource, Job, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.model import Plan
from greenrun.core.planning.planner import plan, start_at_once
from greenrun.core.planning.time_windows import margin
from tests.core.build import SLOT, T0, job
from tests.core.situations import quickly, situation

CLEANER_AND_CLEANER = [500.0, 450, 400, 350, 300, 250, 200, 150, 100, 50]
GUESSED = {"duration_source": DurationSource.DEFAULT}
SURE = {"duration_source": DurationSource.GIVEN}


def planned(*jobs: Job, **more: Any) -> Plan:
    return plan(situation(jobs, CLEANER_AND_CLEANER, **more))


@pytest.mark.parametrize("limit", [{"finish_by": T0 + 8 * SLOT}, {"max_delay": 4 * SLOT}])
@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize(
    ("source", "end"), [(DurationSource.GIVEN, 8.0), (DurationSource.LEARNED, 7.6), (DurationSource.DEFAULT, 7.0)]
)
def test_a_job_is_planned_to_end_its_margin_before_its_limit(
    limit: dict[str, Any], divided: bool, source: DurationSource, end: float
) -> None:
    made = planned(job(1, slots=4, duration_source=source, interruptible=divided, **limit))
    assert [(row.end - T0) / SLOT for row in made.placements] == [pytest.approx(end)]


def test_greenruns_own_default_delay_keeps_no_margin() -> None:
    made = planned(job(1, slots=4, **GUESSED))
    assert [row.end for row in made.placements] == [T0 + 10 * SLOT]


def test_a_margin_that_is_used_up_lets_the_job_start_at_once_and_it_is_not_late() -> None:
    made = planned(job(1, slots=4, finish_by=T0 + 4.5 * SLOT, **GUESSED))
    row = made.placements[0]
    assert (row.start, row.late, row.reason.code) == (T0, False, ReasonCode.SOONEST)


def test_a_margin_that_other_jobs_leave_no_room_for_is_given_up_without_a_word_of_lateness() -> None:
    busy = {"gpu0": T0 + 3 * SLOT}
    row = planned(job(1, slots=4, finish_by=T0 + 7.5 * SLOT, **GUESSED), busy=busy).placements[0]
    assert (row.start, row.late, row.reason.code) == (T0 + 3 * SLOT, False, ReasonCode.GPUS_BUSY)
    assert "limit in the queue can be met" in row.reason.text


def test_a_limit_comes_before_any_margin() -> None:
    """One GPU: the sure job must go first, and then the guess ends within its limit but not within its margin."""
    sure = job(1, slots=2, max_delay=timedelta(0), **SURE)
    guess = job(2, slots=4, max_delay=2 * SLOT, **GUESSED)
    made = planned(guess, sure)
    assert [(row.job_id, row.start, row.late) for row in made.placements] == [(1, T0, False), (2, T0 + 2 * SLOT, False)]


def test_what_comes_before_a_job_leaves_it_its_margin() -> None:
    first = job(1, slots=2)
    second = job(2, slots=4, after=(Dependency(job_id=1),), finish_by=T0 + 8 * SLOT, **GUESSED)
    made = planned(first, second, states={1: State.QUEUED})
    assert [row.end for row in made.placements] == [T0 + 3 * SLOT, T0 + 7 * SLOT]


rows = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(0, 6), st.sampled_from(DurationSource)),
    min_size=1, max_size=6,
)  # fmt: skip


@quickly(40)
@given(rows)
def test_margins_make_no_job_miss_a_limit_that_is_met_when_all_start_at_once(
    asked: list[tuple[int, int, int, DurationSource]],
) -> None:
    jobs = [
        job(key, slots=slots, gpus=gpus, max_delay=delay * SLOT, duration_source=source)
        for key, (slots, gpus, delay, source) in enumerate(asked, start=1)
    ]
    at_once = situation(jobs, CLEANER_AND_CLEANER, 2)
    starts = start_at_once(jobs, at_once)
    if any(one.misses_limit(starts[one.id], starts[one.id] + one.remaining) for one in jobs):
        return
    made = plan(at_once)
    assert not [row.job_id for row in made.placements if row.late]
    latest = {one.id: T0 + one.spec.max_delay - margin(one.remaining, one.spec.duration_source) for one in jobs}  # type: ignore[operator]
    if all(starts[key] <= at for key, at in latest.items()):
        assert all(row.start <= latest[row.job_id] for row in made.placements), "all margins could be kept"

"""What is to start at once gives way where a limit that can be met would be missed for it, and says to whom."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.errors import InvalidJob
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.admission import admit_all
from greenrun.core.planning.model import Placement, Plan, Situation
from greenrun.core.planning.planner import plan, start_at_once
from tests.core.build import SLOT, T0, job
from tests.core.situations import quickly, situation
from tests.core.sound import check

CLEANER_LATER = [400.0, 300, 300, 300, 200, 200, 100, 100, 50, 50, 50, 50]


def place_of(made: Plan, job_id: int) -> Placement:
    placement = made.placement(job_id)
    assert placement is not None
    return placement


@pytest.mark.parametrize("priority", [0, 1])
@pytest.mark.parametrize(
    "limit", [{"finish_by": T0 + 3 * SLOT}, {"max_delay": SLOT}], ids=["a finish-by", "a max delay"]
)
def test_a_start_at_once_gives_way_to_an_earlier_job_whose_limit_would_be_missed(
    limit: dict[str, object], priority: int
) -> None:
    made = plan(
        situation([job(1, slots=2, **limit), job(2, slots=2, start_now=True, priority=priority)], CLEANER_LATER)
    )
    assert [(row.job_id, row.start, row.late) for row in made.placements] == [(1, T0, False), (2, T0 + 2 * SLOT, False)]
    assert place_of(made, 2).reason.text == (
        "starts at 2026-03-02 01:00:00Z: any sooner, job 1 would miss a limit; "
        "its user asked for a start as soon as GPUs are free"
    )


def test_a_start_at_once_gives_way_to_a_later_finish_by_but_to_no_later_max_delay() -> None:
    pushy = job(1, slots=2, start_now=True)
    promised = plan(situation([pushy, job(2, slots=2, finish_by=T0 + 3 * SLOT)], CLEANER_LATER))
    assert (place_of(promised, 1).start, place_of(promised, 2).late) == (T0 + 2 * SLOT, False)
    delayed = plan(situation([pushy, job(2, slots=2, max_delay=SLOT)], CLEANER_LATER))
    assert (place_of(delayed, 1).start, place_of(delayed, 2).late) == (T0, True)


def test_one_that_gives_way_starts_as_soon_as_it_can_beside_the_limits() -> None:
    """The other may begin as late as two hours from now, which leaves room for this one first."""
    made = plan(situation([job(1, slots=2, finish_by=T0 + 6 * SLOT), job(2, slots=4, start_now=True)], CLEANER_LATER))
    assert place_of(made, 2).start == T0
    assert place_of(made, 1).start == T0 + 4 * SLOT


@pytest.mark.parametrize("minutes", [0, 1, 20], ids="{} min later".format)
@pytest.mark.parametrize(
    "other",
    [{"start_now": True, "priority": 5}, {"priority": 5}, {"start_now": True, "priority": 5, "max_delay": 20 * SLOT}],
    ids=["another now", "another that need not be now", "another now with a limit"],
)
def test_a_finish_by_of_one_that_starts_at_once_counts_for_as_long_as_it_can_be_met(
    other: dict[str, object], minutes: int
) -> None:
    """Since its submission it is later than it was to start, which takes nothing from what it was promised."""
    promised = job(1, slots=2, start_now=True, finish_by=T0 + 4 * SLOT)
    asked = situation([promised, job(2, slots=4, **other)], CLEANER_LATER)
    made = plan(replace(asked, now=T0 + timedelta(minutes=minutes)))
    assert not place_of(made, 1).late
    assert place_of(made, 2).start >= place_of(made, 1).end


def test_a_finish_by_of_one_that_starts_at_once_counts_no_more_once_it_cannot_be_met() -> None:
    lost = job(1, slots=2, start_now=True, finish_by=T0 + 3 * SLOT)
    asked = situation([lost, job(2, slots=2, finish_by=T0 + 5 * SLOT)], CLEANER_LATER)
    made = plan(replace(asked, now=T0 + 2 * SLOT))
    assert (place_of(made, 1).late, place_of(made, 2).late) == (True, False)


def test_those_that_start_at_once_and_harm_nobody_do_not_wait_for_one_that_gives_way() -> None:
    promised, large = job(1, slots=2, gpus=2, finish_by=T0 + 2 * SLOT), job(2, slots=9, gpus=2, start_now=True)
    made = plan(situation([promised, large, job(3, start_now=True)], CLEANER_LATER, 3))
    assert not place_of(made, 1).late
    assert place_of(made, 3).start == T0
    assert place_of(made, 2).start == place_of(made, 1).end
    assert place_of(made, 3).reason.code is ReasonCode.ASKED_NOW


def slipped() -> tuple[Situation, Job]:
    """Four GPUs, one of which is back; a job that needs all of them was to start half an hour ago."""
    large = job(1, slots=2, gpus=4, start_now=True)
    first = plan(situation([large], CLEANER_LATER, 4, busy={f"gpu{i}": T0 + SLOT for i in range(4)}))
    busy = {f"gpu{i}": T0 + 3 * SLOT for i in range(3)}
    return situation([large], CLEANER_LATER, 4, now=T0 + SLOT, busy=busy, last=first), large


def test_gpus_that_are_held_for_a_job_that_was_kept_waiting_are_free_to_one_with_a_finish_by() -> None:
    asked, large = slipped()
    promised, small = job(2, finish_by=T0 + 3 * SLOT), job(3)
    made = plan(replace(asked, jobs=(large, promised, small)))
    assert not place_of(made, 2).late
    assert place_of(made, 1).start == T0 + 3 * SLOT
    assert place_of(made, 3).start >= place_of(made, 1).start  # nobody else is trusted to end in time


def test_a_finish_by_is_kept_when_what_runs_takes_longer_than_it_said() -> None:
    """Both had room when they were accepted; now there is room for one before the limit."""
    pushy, promised = job(1, slots=4, start_now=True), job(2, slots=2, finish_by=T0 + 8 * SLOT)
    first = plan(situation([pushy, promised], CLEANER_LATER, busy={"gpu0": T0 + SLOT}))
    assert place_of(first, 1).start == T0 + SLOT
    later = situation([pushy, promised], CLEANER_LATER, now=T0 + SLOT, busy={"gpu0": T0 + 5 * SLOT}, last=first)
    made = plan(later)
    assert [(row.job_id, row.start, row.late) for row in made.placements] == [
        (2, T0 + 5 * SLOT, False), (1, T0 + 7 * SLOT, False),
    ]  # fmt: skip


def test_a_finish_by_is_refused_where_one_that_starts_at_once_would_have_to_give_way() -> None:
    asked = situation([job(1, slots=2, start_now=True)], CLEANER_LATER, busy={"gpu0": T0 + SLOT})
    with pytest.raises(InvalidJob, match="can start at 2026-03-02 01:30:00Z at the soonest found"):
        admit_all(asked, [job(2, slots=2, finish_by=T0 + 4 * SLOT)])


@st.composite
def queues(draw: st.DrawFn) -> Situation:
    """Up to seven jobs, more of which than not want to start at once or have tight limits, on one to three GPUs."""
    gpus, jobs = draw(st.integers(1, 3)), []
    for number in range(1, draw(st.integers(2, 7)) + 1):
        length, slack = draw(st.integers(1, 4)), draw(st.integers(0, 8))
        limits = {"start_now": True}, {"finish_by": T0 + (length + slack) * SLOT}, {"max_delay": slack * SLOT}
        own = draw(st.sampled_from([*limits, limits[0], {}]))
        jobs.append(
            job(number, slots=length, gpus=draw(st.integers(1, gpus)), priority=draw(st.integers(0, 1)), **own)  # type: ignore[arg-type]
        )
    busy = {f"gpu{i}": T0 + draw(st.integers(0, 4)) * SLOT for i in range(draw(st.integers(0, gpus)))}
    return situation(jobs, CLEANER_LATER * 2, gpus, busy=busy)


def late_of(made: Plan) -> int:
    return sum(row.late for row in made.placements)


@quickly(150)
@given(queues())
def test_no_more_limits_are_missed_than_in_order_of_submission_and_nobody_waits_longer_for_that(
    asked: Situation,
) -> None:
    made, pushed, fifo = plan(asked), plan(asked, gives_way=False), start_at_once(asked.jobs, asked)
    check(asked, made)
    late = {one.id for one in asked.jobs if one.misses_limit(fifo[one.id], fifo[one.id] + one.remaining)}
    promised = {one.id for one in asked.jobs if one.spec.finish_by}
    missed = [{row.job_id for row in one.placements if row.late} for one in (made, pushed)]
    assert len(missed[0] & promised) <= min(len(late & promised), len(missed[1] & promised))
    assert late or not missed[0]
    for row in made.placements:
        if row.reason.code is ReasonCode.GIVES_WAY:
            assert row.start > place_of(pushed, row.job_id).start - timedelta(seconds=1)
            assert len(missed[0]) < len(missed[1]) or len(missed[0] & promised) < len(missed[1] & promised)


@quickly(60)
@given(queues(), st.integers(0, 3))
def test_the_plan_that_follows_gives_way_to_the_same_limits(asked: Situation, minutes: int) -> None:
    made = plan(asked)
    if [row for row in made.placements if row.start <= asked.now + minutes * timedelta(minutes=1)]:
        minutes = 0
    later = replace(asked, now=asked.now + minutes * timedelta(minutes=1), last=made, prices=made.prices)
    again = plan(later)
    check(later, again)
    promised = {one.id for one in asked.jobs if one.spec.finish_by}
    assert sum(row.late and row.job_id in promised for row in again.placements) <= sum(
        row.late and row.job_id in promised for row in made.placements
    )

"""A job may be put off for less carbon only so often past the place it was promised first, and its reason says so."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import Dependency, Job, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.model import MOVED, JobClass, Options, Placement, Plan, Running, Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.stability import MOST_PUT_OFFS
from greenrun.store.plans import plan_of, plan_text
from tests.core import situations as drawn
from tests.core.build import SLOT, T0, grid, job
from tests.core.situations import quickly, situation
from tests.core.sound import check

WHY = because(ReasonCode.SOONEST)
HOURS = 48  # half hours of a forecast


def clean_in(slot: int, *, dirty: float = 500.0) -> list[float]:
    """A forecast with one clean half hour."""
    return [50.0 if index == slot else dirty for index in range(HOURS)]


def planned(one: Job, start: datetime, *, put_offs: int = MOST_PUT_OFFS, promised: datetime = T0) -> Placement:
    """A place in the last plan."""
    end, first = start + one.spec.duration, (promised, promised + one.spec.duration)
    return Placement(
        job_id=one.id, start=start, end=end, gpus=1, reason=WHY, pool="gpu", promised=first, put_offs=put_offs
    )


def after(jobs: Sequence[Job], values: Sequence[float], *places: Placement, **more: Any) -> Situation:
    """The situation after a plan with these places."""
    return situation(jobs, values, last=Plan(made_at=T0, placements=places), **more)


def next_of(asked: Situation, made: Plan, values: Sequence[float], passed: timedelta) -> Situation:
    """The situation some time after a plan was made, once its starts have been carried out and with a new forecast."""
    now = asked.now + passed
    waiting = tuple(one for one in asked.jobs if (row := made.placement(one.id)) and row.start > now)
    return replace(asked, now=now, jobs=waiting, forecast=grid(values), last=made, prices=made.prices)


asked_for = st.lists(
    st.tuples(st.integers(1, 4), st.booleans(), st.none() | st.integers(6, 40)), min_size=1, max_size=3
)
cleanest = st.lists(st.integers(1, HOURS - 1), min_size=8, max_size=16).map(sorted) | st.lists(
    st.integers(1, HOURS - 1), max_size=16
)


@quickly(60)
@given(asked_for, cleanest, st.integers(0, 20))
def test_with_gpus_enough_a_job_is_put_off_so_often_and_no_more_and_meets_its_limit(
    rows: list[tuple[int, bool, int | None]], turns: list[int], minutes: int
) -> None:
    jobs = [
        job(key, slots=slots, interruptible=divided, max_delay=None if delay is None else delay * SLOT)
        for key, (slots, divided, delay) in enumerate(rows, start=1)
    ]
    asked = situation(jobs, clean_in(0), gpus=len(jobs))
    first: dict[int, Placement] = {}
    counts: dict[int, int] = {}
    for turn in turns:
        made = plan(asked)
        check(asked, made)
        assert made.bound_g is not None
        kept = plan_of(plan_text(made))
        assert kept == made
        for row in made.placements:
            old = asked.last.placement(row.job_id) if asked.last else None
            if old and row.end > max(old.end, first[row.job_id].end) + MOVED:
                counts[row.job_id] = counts.get(row.job_id, 0) + 1
            start = first.setdefault(row.job_id, row)
            assert row.promised == (start.start, start.end)
            assert row.put_offs == counts.get(row.job_id, 0) <= MOST_PUT_OFFS
            assert ("first planned" in row.reason.text) == (row.end > start.end + MOVED)
            assert not row.late
        asked = next_of(asked, kept, clean_in(turn), minutes * timedelta(minutes=1))


@quickly(60)
@given(drawn.situations(), drawn.forecasts, drawn.seconds(1, 7200))
def test_whatever_is_held_to_its_place_the_next_plan_is_sound_and_misses_no_limit_for_it(
    asked: Situation, values: list[float], passed: timedelta
) -> None:
    first = plan(asked)
    rows = tuple(replace(row, put_offs=MOST_PUT_OFFS) if row.promised else row for row in first.placements)
    later = next_of(asked, replace(first, placements=rows), values, passed)
    held, free = plan(later), plan(replace(later, last=first))
    check(later, held)
    assert sum(row.late for row in held.placements) <= sum(row.late for row in free.placements)
    assert (
        held.bound_g is None
        or free.expected_g is None
        or free.bound_g is None
        or (held.bound_g <= free.expected_g * (1 + 1e-9) + 1e-6)
    )


def test_a_job_follows_the_clean_hours_until_it_has_been_put_off_often_enough() -> None:
    asked, starts = situation([job(1)], clean_in(4)), []
    for turn in range(5, 5 + MOST_PUT_OFFS + 3):
        made = plan(asked)
        starts.append((made.placements[0].start - T0) / SLOT)
        asked = next_of(asked, made, clean_in(turn), timedelta(0))
    assert starts == [*range(4, 4 + MOST_PUT_OFFS + 1), 4 + MOST_PUT_OFFS, 4 + MOST_PUT_OFFS]


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (0, "; first planned for 2026-03-02 01:00:00Z, put off 1 time"),
        (1, "; first planned for 2026-03-02 01:00:00Z, put off 2 times"),
        (
            MOST_PUT_OFFS - 1,
            f"; first planned for 2026-03-02 01:00:00Z, put off {MOST_PUT_OFFS} times, and not again for less carbon",
        ),
    ],
)
def test_the_reason_names_the_first_promise_and_how_often_it_was_put_off(before: int, said: str) -> None:
    one = job(1)
    asked = after([one], clean_in(9), planned(one, T0 + 5 * SLOT, put_offs=before, promised=T0 + 2 * SLOT))
    row = plan(asked).placements[0]
    assert (row.start, row.put_offs) == (T0 + 9 * SLOT, before + 1)
    assert row.reason.code is ReasonCode.CLEANEST_WINDOW
    assert row.reason.text.endswith(said)


def test_the_promise_of_a_job_that_may_be_suspended_is_its_end() -> None:
    one = job(1, slots=2, interruptible=True, min_run=SLOT, restart_cost=timedelta(0))
    last = plan(situation([one], [500, 50, 500, 50, *[500.0] * 8]))
    values = [500, 500, 500, 50, 500, 500, 50, *[500.0] * 8]
    row = plan(after([one], values, *last.placements)).placements[0]
    assert row.promised == (T0 + SLOT, T0 + 4 * SLOT)
    assert row.put_offs == 1
    assert row.reason.text.endswith("; first planned to end by 2026-03-02 02:00:00Z, put off 1 time")
    held = replace(last.placements[0], put_offs=MOST_PUT_OFFS)
    assert plan(after([one], values, held)).placements[0].end == T0 + 4 * SLOT


def test_moving_back_to_the_first_promise_is_no_put_off() -> None:
    one = job(1)
    asked = after([one], clean_in(8), planned(one, T0 + 2 * SLOT, promised=T0 + 8 * SLOT))
    row = plan(asked).placements[0]
    assert (row.start, row.put_offs) == (T0 + 8 * SLOT, MOST_PUT_OFFS)
    assert "first planned" not in row.reason.text


def test_the_bound_is_one_for_plans_within_the_limits_whatever_was_told() -> None:
    one = job(1)
    made = plan(after([one], clean_in(9, dirty=100), planned(one, T0 + 5 * SLOT)))
    assert made.placements[0].start <= T0 + 5 * SLOT
    assert made.expected_g == pytest.approx(50.0)
    assert made.bound_g == pytest.approx(25.0)


def test_a_limit_of_another_job_may_move_it_and_the_reason_says_so() -> None:
    held, urgent = job(1), job(2, start_after=T0 + 5 * SLOT, max_delay=5 * SLOT)
    made = plan(after([held, urgent], [200.0] * 5 + [50.0] + [300.0] * 20, planned(held, T0 + 5 * SLOT), gpus=1))
    assert made.placements[0].job_id == 1, "it could be earlier"
    busy = {"gpu0": T0 + 5 * SLOT}
    asked = after([held, urgent], [50.0] * 48, planned(held, T0 + 5 * SLOT), gpus=1, busy=busy)
    made = plan(asked)
    check(asked, made)
    row = made.placement(1)
    assert row is not None
    assert [place.job_id for place in made.placements] == [2, 1]
    assert (row.start, row.late, row.put_offs) == (T0 + 6 * SLOT, False, MOST_PUT_OFFS + 1)
    assert f"put off {MOST_PUT_OFFS + 1} times, the last 1 for want of room, and not again" in row.reason.text
    assert made.bound_g is not None, "no limit of anybody's is missed"


def test_gpus_that_are_lost_may_move_it_and_then_it_starts_as_soon_as_they_are_back() -> None:
    one = job(1)
    asked = after([one], clean_in(20), planned(one, T0 + 5 * SLOT), gpus=1, busy={"gpu0": T0 + 7 * SLOT})
    row = plan(asked).placements[0]
    assert (row.start, row.reason.code) == (T0 + 7 * SLOT, ReasonCode.GPUS_BUSY)
    assert row.put_offs == MOST_PUT_OFFS + 1


@pytest.mark.parametrize(("put_offs", "start"), [(MOST_PUT_OFFS, 2), (0, 6)])
def test_a_job_past_every_limit_is_not_put_off_again_for_what_others_save(put_offs: int, start: int) -> None:
    late = job(1, slots=2, power_w=100.0, submitted=T0 - 9 * SLOT)
    large = job(2, slots=4, power_w=9000.0, max_delay=12 * SLOT)
    usual = JobClass(length_s=1800.0, wait_s=0.0, gpus_per_s=1e-9, watts_per_gpu=1.0)
    asked = after(
        [late, large], [500, 500, 50, 50, 50, 50, *[500.0] * 20], planned(late, T0 + 2 * SLOT, put_offs=put_offs),
        gpus=1, busy={"gpu0": T0 + 2 * SLOT}, options=Options(default_max_delay=2 * SLOT), arrivals=(usual,),
    )  # fmt: skip
    row = plan(asked).placement(1)
    assert row is not None
    assert (row.start - T0) / SLOT == start


def test_what_a_held_job_waits_for_is_held_as_well() -> None:
    first, second = job(1), job(2, after=(Dependency(job_id=1),))
    places = planned(first, T0 + SLOT, put_offs=0), planned(second, T0 + 3 * SLOT)
    made = plan(after([first, second], clean_in(20), *places, gpus=2, states={1: State.QUEUED}))
    assert [row.start <= T0 + n * SLOT for n, row in zip((2, 3), made.placements, strict=True)] == [True, True]


def test_a_job_that_runs_is_promised_nothing_and_one_that_is_to_start_at_once_is_never_put_off() -> None:
    soon, busy = job(1, start_now=True), job(2, slots=9, interruptible=True)
    runs = Running(job=replace(busy, state=State.RUNNING), devices=("gpu0",), since=T0 - SLOT)
    asked = after([soon], clean_in(9), planned(soon, T0), planned(busy, T0), gpus=2, running=(runs,))
    told = {row.job_id: (row.promised, row.put_offs) for row in plan(asked).placements}
    assert told == {soon.id: ((T0, T0 + SLOT), 0), busy.id: (None, 0)}


@pytest.mark.parametrize(
    "why",
    [because(ReasonCode.CHECKPOINTED, time="1h"), because(ReasonCode.RETRYING, number=1, why="it failed", left=1)],
)
def test_a_job_that_has_run_since_begins_anew(why: Any) -> None:
    one = replace(job(1), reason=why)
    row = plan(after([one], clean_in(9), planned(one, T0 + SLOT))).placements[0]
    assert (row.promised, row.put_offs) == ((T0 + 9 * SLOT, T0 + 10 * SLOT), 0)

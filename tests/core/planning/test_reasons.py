"""The cause that a reason names is the real one: without it, the job would have another place."""

import gc
import re
import weakref
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Kind, Slot
from greenrun.core.formatting import instant_text
from greenrun.core.jobs.job import After, ArrayPlace, Dependency, Job, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.explanation.explainer import Explainer
from greenrun.core.planning.model import Options, Placement, Plan, Running, Situation
from greenrun.core.planning.planner import plan
from tests.core import situations as drawn
from tests.core.build import SLOT, T0, job
from tests.core.situations import of_slots, quickly, situation
from tests.sampling import examples

FLAT, DIP = [200.0] * 12, [300.0, 300.0, 100.0, 300.0, 300.0, 300.0]
MANY = tuple(f"more{i}" for i in range(60))


def place_of(made: Plan, job_id: int) -> Placement:
    placement = made.placement(job_id)
    assert placement is not None
    return placement


def with_more_gpus(asked: Situation) -> Situation:
    return replace(asked, devices=(*asked.devices, *MANY))


def alone(asked: Situation, job_id: int) -> Situation:
    """The same beside what runs, without the rest of the queue."""
    return replace(asked, jobs=tuple(one for one in asked.jobs if one.id == job_id))


def test_jobs_that_want_to_start_now_and_lack_gpus_say_so_and_who_holds_them() -> None:
    """On a flat grid nobody waits for a cleaner hour."""
    made = plan(situation([job(1, slots=2), job(2), job(3)], FLAT))
    assert [row.reason.code for row in made.placements] == [
        ReasonCode.NOW_IS_CLEANEST, ReasonCode.GPUS_BUSY, ReasonCode.GPUS_BUSY,
    ]  # fmt: skip
    (first, *_), told = made.placements, [row.reason.text for row in made.placements]
    assert told[1] == (
        f"waits for 1 free GPU, expected at {first.end:%Y-%m-%d %H:%M:%SZ} when job {first.job_id} ends: "
        "with more of them it would start now"
    )


def test_a_gpu_that_a_running_job_holds_is_named_by_that_job() -> None:
    asked = situation([job(1)], FLAT, busy={"gpu0": T0 + 3 * SLOT}, ends={77: T0 + 3 * SLOT, 78: T0 + 4 * SLOT})
    placed = place_of(plan(asked), 1)
    assert placed.reason.code is ReasonCode.GPUS_BUSY
    assert "when job 77 ends: with more of them it would start now" in placed.reason.text


def test_a_cleaner_hour_that_what_runs_holds_is_not_blamed_on_the_queue() -> None:
    asked = situation([job(1)], [300, 100, 100, 300, 200, 300, 300], busy={"gpu0": T0 + 3 * SLOT})
    placed = place_of(plan(asked), 1)
    assert (placed.start, placed.reason.code) == (T0 + 4 * SLOT, ReasonCode.CLEANEST_WINDOW)


@pytest.mark.parametrize("hungrier", [1, 2])
def test_a_cleaner_hour_that_another_job_has_is_shared(hungrier: int) -> None:
    jobs = [job(n, power_w=3000.0 if n == hungrier else 1000.0) for n in (1, 2)]
    made = plan(situation(jobs, DIP))
    other = 3 - hungrier
    assert place_of(made, hungrier).reason.code is ReasonCode.CLEANEST_WINDOW
    assert place_of(made, other).reason.code is ReasonCode.SHARED_WINDOW
    assert place_of(plan(alone(situation(jobs, DIP), other)), other).start == T0 + 2 * SLOT


def test_a_job_that_starts_for_a_limit_says_that_limit() -> None:
    """It would wait for the dip if it did not have to leave room for what comes after it."""
    after = (Dependency(job_id=1, on=After.OK),)
    jobs = [job(1), job(2, after=after, finish_by=T0 + 2 * SLOT)]
    made = plan(situation(jobs, DIP, states={1: State.QUEUED, 2: State.QUEUED}))
    assert place_of(made, 1).reason.code is ReasonCode.SOONEST
    assert place_of(made, 2).reason.code is ReasonCode.WAITS_FOR
    assert place_of(plan(situation([jobs[0]], DIP)), 1).reason.code is ReasonCode.CLEANEST_WINDOW


def test_a_limit_that_is_past_is_the_deadline_and_greenruns_own_is_not() -> None:
    options = Options(default_max_delay=timedelta(hours=1))
    jobs = [job(1, submitted=T0 - 9 * SLOT, max_delay=SLOT), job(2, submitted=T0 - 9 * SLOT)]
    made = plan(situation(jobs, DIP, gpus=2, options=options))
    assert place_of(made, 1).reason.code is ReasonCode.DEADLINE
    assert place_of(made, 2).reason.code is ReasonCode.NO_LIMIT_LEFT
    fresh = plan(situation([replace(one, submitted_at=T0) for one in jobs], DIP, gpus=2, options=options))
    assert {row.reason.code for row in fresh.placements} <= {ReasonCode.NOW_IS_CLEANEST, ReasonCode.CLEANEST_WINDOW}


def test_a_job_that_is_not_to_start_late_says_that_it_would_expire() -> None:
    """Until its GPUs are free, or the job it waits for has ended, it will be gone; asked to start now, it stays."""
    told = f"; it expires at {instant_text(T0 + SLOT)} unless it can start by then"
    busy, limits = {"gpu0": T0 + 3 * SLOT}, {"max_delay": SLOT, "expire": True}
    late = place_of(plan(situation([job(1, **limits)], FLAT, busy=busy)), 1).reason
    assert (late.code, late.text.endswith(told)) == (ReasonCode.GPUS_BUSY, True)
    assert "so it starts as soon as GPUs are free" not in late.text
    after = job(2, after=(Dependency(job_id=1, on=After.OK),), **limits)
    waits = situation([job(1, slots=4), after], FLAT, states={1: State.QUEUED, 2: State.QUEUED})
    assert place_of(plan(waits), 2).reason.text.endswith(told)
    for other in ({"max_delay": SLOT}, {"max_delay": 5 * SLOT, "expire": True}, {"start_now": True, "expire": True}):
        assert "expires" not in place_of(plan(situation([job(1, **other)], FLAT, busy=busy)), 1).reason.text


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([], ReasonCode.NO_FORECAST),
        ([300.0, 100.0], ReasonCode.FORECAST_TOO_SHORT),
        ([*DIP, 50.0, 50.0], ReasonCode.CLEANEST_WINDOW),
    ],
)
def test_what_is_not_foretold_is_the_cause_only_where_it_is_not(values: list[float], code: ReasonCode) -> None:
    assert place_of(plan(situation([job(1, slots=3)], values)), 1).reason.code is code


def test_gpus_that_somebody_else_holds_are_named_only_where_the_rest_are_too_few() -> None:
    held = {"busy": {"gpu0": T0 + SLOT, "gpu1": T0 + SLOT}, "elsewhere": {"gpu0": "bob"}}
    made = plan(situation([job(1, gpus=2, start_now=True), job(2, start_now=True)], FLAT, gpus=2, **held))
    assert place_of(made, 1).reason.code is ReasonCode.GPUS_HELD_ELSEWHERE
    assert place_of(made, 2).reason.code is ReasonCode.GPUS_BUSY


def test_a_job_for_now_that_goes_on_from_a_checkpoint_starts_because_its_user_asked() -> None:
    """While it ran it had a place in the plan, which has come; it did not wait for that."""
    runs = job(1, start_now=True, interruptible=True, slots=4)
    first = plan(situation([], FLAT, running=[Running(job=runs, devices=("gpu0",), since=T0)]))
    waits = replace(runs, progress=timedelta(minutes=10))
    made = plan(situation([waits], FLAT, now=T0 + timedelta(seconds=20), last=first))
    assert first.placement(1) is not None
    assert place_of(made, 1).reason.code is ReasonCode.ASKED_NOW


def test_a_job_for_now_and_one_whose_window_has_come_say_what_they_start_for() -> None:
    first = plan(situation([job(1)], DIP))
    now = T0 + 2 * SLOT
    made = plan(situation([job(1), job(2, start_now=True)], DIP, gpus=2, now=now, last=first))
    assert place_of(made, 1).reason.code is ReasonCode.DUE
    assert place_of(made, 2).reason.code is ReasonCode.ASKED_NOW
    assert place_of(plan(situation([job(1)], [50.0, *DIP], now=now)), 1).reason.code is not ReasonCode.DUE


def test_a_run_goes_on_unless_suspending_it_gains_something() -> None:
    own = job(1, slots=2, submitted=T0 - 3 * SLOT, interruptible=True, min_run=0 * SLOT, restart_cost=0 * SLOT)
    run = Running(job=own, devices=("gpu0",), since=T0 - SLOT)
    assert place_of(plan(situation([], FLAT, running=(run,))), 1).reason.code is ReasonCode.GOES_ON
    later = place_of(plan(situation([], DIP, running=(run,))), 1)
    assert (later.start, later.reason.code) == (T0 + 2 * SLOT, ReasonCode.CLEANEST_WINDOW)


def test_a_job_without_a_place_says_what_it_lacks() -> None:
    members = [job(n, array=ArrayPlace(key="a", index=n, size=2, at_once=1)) for n in (4, 5)]
    jobs = [job(1, gpus=9), job(2, gpus=0), replace(job(3), held=True), *members]
    made = plan(situation([*jobs, replace(job(6), cancel_requested=True)], FLAT, cpu_slots=0))
    assert {row.job_id: row.reason.code for row in made.waiting} == {
        1: ReasonCode.TOO_FEW_GPUS,
        2: ReasonCode.NO_CPU_SLOTS,
        3: ReasonCode.HELD,
        5: ReasonCode.ARRAY_FULL,
        6: ReasonCode.CANCEL_REQUESTED,
    }


@st.composite
def queues(draw: st.DrawFn) -> Situation:
    """Up to six jobs in one piece on one to three GPUs, some of them busy, with few different hours."""
    gpus = draw(st.integers(1, 3))
    values = draw(st.lists(st.integers(1, 4).map(lambda v: v * 100.0), min_size=40, max_size=40))
    busy = {f"gpu{i}": T0 + draw(st.integers(1, 4)) * SLOT for i in range(draw(st.integers(0, gpus)))}
    jobs = []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        own = draw(st.sampled_from([{}, {}, {"max_delay": 8 * SLOT}, {"priority": 1}]))
        slots, power_w = draw(st.integers(1, 3)), draw(st.sampled_from([500.0, 1000.0]))
        jobs.append(job(number, slots=slots, gpus=draw(st.integers(1, gpus)), power_w=power_w, **own))
    return situation(jobs, values, gpus, busy=busy)


def is_free(asked: Situation, made: Plan, one: Job, row: Placement) -> bool:
    """Whether the job would fit sooner as the others are placed, tried at every instant where something ends."""
    others = [other for other in made.placements if other.job_id != one.id]
    begins = {asked.now, *(other.end for other in others), *asked.busy.values()}
    for begin in (at for at in begins if asked.now <= at < row.start):
        end = begin + one.spec.duration
        used = [
            sum(other.gpus for other in others if other.start <= at < other.end)
            + sum(until > at for until in asked.busy.values())
            for at in {begin, *(other.start for other in others if begin < other.start < end)}
        ]
        if max(used) + one.spec.gpus <= len(asked.devices):
            return True
    return False


@quickly(120)
@given(queues())
def test_each_cause_is_the_real_one(asked: Situation) -> None:
    made, unlimited = plan(asked), plan(with_more_gpus(asked))
    for one in asked.jobs:
        row, rich = place_of(made, one.id), place_of(unlimited, one.id)
        lone = place_of(plan(alone(asked, one.id)), one.id)
        assert row.intensity_g_per_kwh is not None
        assert lone.intensity_g_per_kwh is not None
        lacks = rich.start < row.start and not is_free(asked, made, one, row)
        if row.late or row.reason.code is ReasonCode.DEADLINE:
            continue
        assert (row.reason.code is ReasonCode.GPUS_BUSY) == lacks
        if row.reason.code is ReasonCode.GPUS_BUSY:
            ends = {other.job_id: other.end for other in made.placements}
            named = re.search(r" when jobs? ([\d, ]+)", row.reason.text)
            for job_id in re.findall(r"\d+", named[1]) if named else ():
                assert ends[int(job_id)] == row.start
        if row.reason.code is ReasonCode.SHARED_WINDOW:
            assert lone.intensity_g_per_kwh < row.intensity_g_per_kwh
        if row.reason.code in (ReasonCode.CLEANEST_WINDOW, ReasonCode.NOW_IS_CLEANEST):
            assert row.intensity_g_per_kwh <= lone.intensity_g_per_kwh * (1 + 1e-9)


def test_no_emissions_now_are_told_as_what_they_are() -> None:
    jobs = [job(1, power_w=9000.0), job(2, max_delay=3 * SLOT)]
    made = plan(situation(jobs, [0.0, 50.0, 100.0, 100.0, 100.0]))
    assert not [row for row in made.placements if "unknown" in row.reason.text]


@examples(40)
@given(drawn.situations(), st.randoms(use_true_random=False))
def test_reasons_worked_out_later_and_in_any_order_are_those_worked_out_at_once(
    asked: Situation, chance: Random
) -> None:
    """The plan that follows, which begins at this one, changes nothing of it."""
    at_once = [(row.job_id, row.reason.code, row.reason.text) for row in plan(asked).placements]
    later = plan(asked)
    following = plan(replace(asked, now=asked.now + SLOT, last=later, prices=later.prices))
    rows = list(later.placements)
    chance.shuffle(rows)
    told = {row.job_id: (row.job_id, row.reason.code, row.reason.text) for row in rows}
    assert [told[row.job_id] for row in later.placements] == at_once
    assert all(row.reason.text for row in following.placements)


def test_a_plan_that_nobody_asks_for_reasons_keeps_none_of_the_plans_before_it() -> None:
    def explainers() -> list[weakref.ref[Explainer]]:
        return [weakref.ref(one) for one in gc.get_objects() if isinstance(one, Explainer)]

    asked = situation([job(1), job(2)], DIP)
    before = explainers()
    first = plan(asked)
    made = [one for one in explainers() if one not in before]
    second = plan(replace(asked, now=T0 + timedelta(minutes=1), last=first, prices=first.prices))
    del first
    gc.collect()
    assert made
    assert not any(one() for one in made)
    assert all(row.reason.text for row in second.placements)


def test_a_window_of_which_there_are_only_estimates_is_called_estimated() -> None:
    """So is the yearly mean that stands in while no source answers; a forecast of any hour ahead is a forecast."""
    slots = [Slot(T0 + i * SLOT, T0 + (i + 1) * SLOT, 211.0, Kind.ESTIMATED) for i in range(8)]
    guessed = plan(situation([job(1)], [], forecast=of_slots(slots))).reason(1)
    known = plan(situation([job(1)], [211] * 8)).reason(1)
    assert guessed is not None
    assert known is not None
    assert guessed.text == "now is the cleanest free window before its latest start: 211 g/kWh (estimated)"
    assert known.text == "now is the cleanest free window before its latest start: 211 g/kWh"

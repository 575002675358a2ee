"""A job that is not to wait starts at once wherever others can yield inside their limits, and the reason says why."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.model import Options, Placement, Plan, Situation
from greenrun.core.planning.planner import plan
from tests.core.build import SLOT, T0, job
from tests.core.situations import quickly, situation
from tests.core.sound import check

CLEANER_LATER = [209, 209, 300, 300, 263, 100, 100, 300, 300, 300, 300, 300]
BUSY_NOW = [150, 209, 300, 300, 263, 100, 100, 300, 300, 300, 300, 300]


def place_of(made: Plan, job_id: int) -> Placement:
    placement = made.placement(job_id)
    assert placement is not None
    return placement


@pytest.mark.parametrize("hungry_w", [100.0, 5000.0])
def test_a_grid_that_is_clean_enough_now_is_used_now_although_another_job_was_planned_there(hungry_w: float) -> None:
    """The jobs around it fill the clean hours: they yield, for they may start at any time of the day."""
    others = [job(number, slots=2, power_w=hungry_w) for number in (1, 2, 3)]
    submitted = T0 - SLOT / 6
    first = plan(situation(others, [400, *BUSY_NOW[1:]], now=submitted))
    newest = job(4, run_below_g_per_kwh=900.0)
    made = plan(situation([*others, newest], BUSY_NOW, last=first))
    assert place_of(plan(situation(others, BUSY_NOW)), 2).start == T0
    placed = place_of(made, 4)
    assert (placed.start, placed.reason.code) == (T0, ReasonCode.CLEAN_ENOUGH)
    assert placed.reason.text == "the grid is clean enough: 150 g/kWh is not above its run-below of 900 g/kWh"


def test_a_job_is_never_made_to_wait_for_less_than_it_asks_to_save() -> None:
    """The only hours that save 60 % go to a job that gains more from them, so waiting gains nothing."""
    hungry = job(1, slots=2, power_w=9000.0)
    early = job(2, slots=1, power_w=9000.0)
    asked = situation([hungry, early, job(3, min_saving=0.6)], [209, 280, 280, 50, 50, 300, 300, 300])
    placed = place_of(plan(asked), 3)
    assert placed.start == T0
    assert placed.intensity_g_per_kwh == 209


def test_the_saving_that_is_told_is_the_one_that_could_have_been_had() -> None:
    """It would save 76 % in an empty queue; beside one that comes first, a third."""
    first = job(1, slots=2, power_w=9000.0, priority=1)
    asked = situation([first, job(2, min_saving=0.6)], [210, 280, 140, 50, 50, 300, 300, 300])
    placed = place_of(plan(asked), 2)
    assert (placed.start, placed.reason.code) == (T0, ReasonCode.NOT_WORTH_WAITING)
    assert placed.reason.text == "waiting would save 33.3 %, less than the 60.0 % it asks for"


def test_a_job_that_saves_enough_waits() -> None:
    placed = place_of(plan(situation([job(1, min_saving=0.6)], [210, 280, 140, 50, 300])), 1)
    assert (placed.start, placed.reason.code) == (T0 + 3 * SLOT, ReasonCode.CLEANEST_WINDOW)


def test_others_yield_only_inside_their_limits() -> None:
    tight = job(1, slots=2, finish_by=T0 + 2 * SLOT)
    made = plan(situation([tight, job(2, run_below_g_per_kwh=900.0)], CLEANER_LATER))
    assert not place_of(made, 1).late
    assert place_of(made, 2).start == T0 + 2 * SLOT
    assert place_of(made, 2).reason.code is ReasonCode.GPUS_BUSY


def test_the_settings_hold_for_a_job_that_says_nothing() -> None:
    options = Options(run_below_g_per_kwh=250.0)
    others = [job(number, slots=1) for number in (1, 2)]
    made = plan(situation(others, CLEANER_LATER, gpus=1, options=options))
    assert [row.reason.code for row in made.placements] == [ReasonCode.CLEAN_ENOUGH, ReasonCode.GPUS_BUSY]
    assert [row.start for row in made.placements] == [T0, T0 + SLOT]


def test_thresholds_are_weighed_anew_when_the_last_plan_made_the_job_wait() -> None:
    asked = situation([job(1, min_saving=0.3)], [200, 100, 200, 200])
    first = plan(asked)
    assert place_of(first, 1).start == T0 + SLOT
    worse = situation([job(1, min_saving=0.3)], [200, 180, 200, 200], last=first)
    assert place_of(plan(worse), 1).reason.code is ReasonCode.NOT_WORTH_WAITING


def test_those_that_yield_may_move_others_in_turn() -> None:
    """The first job may begin two hours from now, if the second one, which may still wait, is not there by then."""
    values = [150.0, 200, 50, 400, 200, 350, 50, 100, 100, 450, 300, 200, 250, 100, 450]
    values += [300, 50, 400, 300, 350, 300, 100, 450, 100, 200, 400, 300, 400, 350, 150]
    first = job(1, slots=2, gpus=3, power_w=500.0, max_delay=2 * SLOT)
    second = job(2, gpus=2, power_w=500.0, max_delay=6 * SLOT)
    third, saving = job(3, slots=2, power_w=3000.0), job(4, slots=2, power_w=3000.0, min_saving=0.6)
    others = job(5, gpus=2, power_w=1000.0), job(6, gpus=3, power_w=3000.0, min_saving=0.6)
    asked = situation([first, second, third, saving, *others], values, 3)
    made = plan(asked)
    assert place_of(made, 4).start == T0
    assert not late_of(made)


def test_who_was_thought_to_come_behind_a_job_that_cannot_start_now_finds_the_grid_clean_enough() -> None:
    values = [50.0, 250, 200, 300, 50, 150, 450, 50, 350, 400, 200, 450, 50, 50, 250, 350, 50, 50, 50, 100]
    large = job(1, slots=3, power_w=3000.0, run_below_g_per_kwh=200.0)
    tight = job(2, slots=3, power_w=3000.0, max_delay=2 * SLOT)
    made = plan(situation([large, tight, job(3, power_w=500.0, run_below_g_per_kwh=200.0)], values))
    assert (place_of(made, 3).start, place_of(made, 3).reason.code) == (T0, ReasonCode.CLEAN_ENOUGH)
    assert not late_of(made)


@st.composite
def queues(draw: st.DrawFn) -> Situation:
    """Up to six jobs on one to three GPUs, some of which are not to wait in vain."""
    gpus = draw(st.integers(1, 3))
    values = draw(st.lists(st.integers(1, 9).map(lambda v: v * 50.0), min_size=30, max_size=30))
    below = {"run_below_g_per_kwh": 200.0}, {"run_below_g_per_kwh": 100.0, "min_saving": 0.2}
    saving = {"min_saving": 0.3}, {"min_saving": 0.6}
    kinds = st.sampled_from([{}, {"max_delay": 6 * SLOT}, {"max_delay": 2 * SLOT}, *saving, *below])
    jobs = [
        job(
            number,
            slots=draw(st.sampled_from([1, 2, 3])),
            gpus=draw(st.integers(1, gpus)),
            power_w=draw(st.sampled_from([500.0, 1000.0, 3000.0])),
            **draw(kinds),
        )
        for number in range(1, draw(st.integers(1, 6)) + 1)
    ]
    return situation(jobs, values, gpus)


def breaks_its_threshold(asked: Situation, one: Job, row: Placement) -> bool:
    """Whether the job waits although starting now is clean enough, or although waiting saves less than it asks for."""
    assert asked.forecast is not None
    now = asked.forecast.mean(asked.now, asked.now + one.spec.duration)
    if row.start <= asked.now or now is None or row.intensity_g_per_kwh is None:
        return False
    below, saving = one.spec.run_below_g_per_kwh or 0.0, one.spec.min_saving or 0.0
    return now <= below or (saving > 0 and row.intensity_g_per_kwh > (1 - saving) * now * (1 + 1e-9))


def late_of(made: Plan) -> set[int]:
    return {row.job_id for row in made.placements if row.late}


@quickly(120)
@given(queues())
def test_no_job_waits_against_its_own_threshold_where_it_can_start_now(asked: Situation) -> None:
    """Asked to start at once in its place, it would break a limit, or by more, or make another wait against its own."""
    made = plan(asked)
    check(asked, made)
    for one in asked.jobs:
        if not breaks_its_threshold(asked, one, place_of(made, one.id)):
            continue
        now = replace(one, spec=replace(one.spec, start_now=True))
        others = replace(asked, jobs=tuple(now if own.id == one.id else own for own in asked.jobs))
        instead = plan(others)
        broken = [
            own
            for own in asked.jobs
            if own.id != one.id and (own.spec.min_saving or own.spec.run_below_g_per_kwh or place_of(made, own.id).late)
        ]
        assert (
            place_of(instead, one.id).start > asked.now
            or late_of(instead) - late_of(made)
            or any(place_of(instead, own.id).start > place_of(made, own.id).start for own in broken)
        )


@quickly(80)
@given(queues())
def test_the_figures_in_the_reasons_are_true(asked: Situation) -> None:
    made = plan(asked)
    for one in asked.jobs:
        row = place_of(made, one.id)
        if row.reason.code is ReasonCode.CLEAN_ENOUGH:
            assert row.intensity_g_per_kwh is not None
            assert row.intensity_g_per_kwh <= (one.spec.run_below_g_per_kwh or 0.0) * (1 + 1e-9)
        if row.reason.code is ReasonCode.NOT_WORTH_WAITING:
            told = re.match(r"waiting would save (?:(\S+) %|nothing), less than the (\S+) %", row.reason.text)
            assert told
            assert float(told[1] or 0) <= float(told[2])

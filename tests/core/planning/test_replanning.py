"""What is news to a plan that none can beat: the hours its jobs may use, and nothing beyond them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Series
from greenrun.core.planning.model import Options, Plan, Running, Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.stability import needs_replanning
from tests.core import situations as drawn
from tests.core.build import SLOT, T0, grid, job
from tests.core.situations import quickly, situation
from tests.sampling import examples

VALUES = [300.0, 200.0, 100.0, 400.0, 150.0, 250.0, 120.0, 350.0]
LATER = T0 + SLOT
APART = {"interruptible": True, "min_run": timedelta(0), "restart_cost": timedelta(0)}


def _seen(values: list[float], jobs: list[Any], **more: Any) -> Situation:
    """A situation half an hour later, whose outlook begins a slot later."""
    return situation(jobs, [], now=LATER, forecast=grid(values[1:], start=LATER), **more)


def _before(jobs: list[Any], values: list[float], **more: Any) -> tuple[Situation, Plan]:
    first = situation(jobs, values, **more)
    return first, plan(first)


def test_a_plan_at_its_bound_holds_while_the_outlook_only_reaches_further() -> None:
    jobs = [job(1, max_delay=3 * SLOT)]
    first, made = _before(jobs, VALUES)
    assert made.gap_ratio == 0
    assert not needs_replanning(first, made, _seen([*VALUES, 10.0], jobs))


@pytest.mark.parametrize(("slot", "expected"), [(2, True), (3, True), (4, False), (7, False)])
def test_another_value_is_news_only_where_a_job_may_run(slot: int, expected: bool) -> None:
    jobs = [job(1, max_delay=3 * SLOT)]
    first, made = _before(jobs, VALUES)
    changed = [value + (at == slot) for at, value in enumerate(VALUES)]
    assert needs_replanning(first, made, _seen(changed, jobs)) is expected


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda own: replace(own, bound_g=own.bound_g * 0.99), id="above its bound"),
        pytest.param(lambda own: replace(own, bound_g=None), id="without a bound"),
    ],
)
def test_a_plan_that_may_be_beaten_is_made_anew_with_every_outlook(change: Callable[[Plan], Plan]) -> None:
    jobs = [job(1, max_delay=3 * SLOT)]
    first, made = _before(jobs, VALUES)
    assert needs_replanning(first, change(made), _seen(VALUES, jobs))


@pytest.mark.parametrize("spec", [{"min_saving": 0.1}, {"run_below_g_per_kwh": 90.0}])
def test_a_job_that_weighs_waiting_does_so_at_every_outlook(spec: dict[str, float]) -> None:
    jobs = [job(1, max_delay=3 * SLOT, **spec)]
    first, made = _before(jobs, VALUES)
    assert needs_replanning(first, made, _seen(VALUES, jobs))
    plain = [job(1, max_delay=3 * SLOT)]
    options = Options(min_saving=0.1)
    first, made = _before(plain, VALUES, options=options)
    assert needs_replanning(first, made, _seen(VALUES, plain, options=options))


def test_an_outlook_that_did_not_reach_as_far_as_a_job_may_run_is_news_when_it_does() -> None:
    jobs = [job(1, max_delay=9 * SLOT)]
    first, made = _before(jobs, VALUES)
    assert needs_replanning(first, made, _seen([*VALUES, 10.0], jobs))


def test_a_run_that_outlasts_its_place_is_news() -> None:
    own = job(1, slots=1, max_delay=6 * SLOT, **APART)
    run = Running(job=own, devices=("gpu0",), since=T0)
    first, made = _before([], [100.0, *[200.0] * 7], running=(run,))
    assert made.placements[0].end == LATER
    assert needs_replanning(first, made, _seen([100.0, *[200.0] * 7], [], running=(run,)))


def test_without_an_outlook_a_new_one_is_news() -> None:
    jobs = [job(1, max_delay=3 * SLOT)]
    first, made = _before(jobs, [])
    none: Series | None = None
    assert needs_replanning(replace(first, forecast=none), made, _seen(VALUES, jobs))


@examples(40)
@given(
    st.lists(st.integers(1, 9).map(lambda v: 50.0 * v), min_size=12, max_size=12),
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 8), st.booleans()), min_size=1, max_size=4),
)
def test_a_plan_that_holds_emits_no_more_than_one_made_anew(
    values: list[float], asked: list[tuple[int, int, bool]]
) -> None:
    """Whatever is not news, a new plan half an hour later is no better than the old one."""
    jobs = [
        job(number, slots=length, max_delay=wait * SLOT, **(APART if apart else {}))
        for number, (length, wait, apart) in enumerate(asked, 1)
    ]
    first, made = _before(jobs, values, gpus=4)
    then = _seen([*values, 5.0], [row for row in jobs if made.placements and _starts_later(made, row.id)], gpus=4)
    running_none = replace(then, last=made, prices=made.prices)
    kept = [row for row in made.placements if _starts_later(made, row.job_id)]
    if len(kept) < len(made.placements) or needs_replanning(first, made, running_none):
        return
    anew = plan(running_none)
    assert anew.expected_g == pytest.approx(sum(row.expected_g or 0.0 for row in kept))


def _starts_later(made: Plan, job_id: int) -> bool:
    place = made.placement(job_id)
    return place is not None and place.start > LATER


@quickly(60)
@given(drawn.situations(), drawn.seconds(0, 4))
def test_a_plan_just_made_holds(asked: Situation, passed: timedelta) -> None:
    """Else one after the other would be made, for ever."""
    made = plan(asked)
    started = {row.job_id for row in made.started_by(asked.now + passed)}
    if passed and started:  # what runs by then is the engine's
        return
    assert not needs_replanning(asked, made, replace(asked, now=asked.now + passed))

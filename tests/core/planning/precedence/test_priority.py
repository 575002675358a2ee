"""Of jobs that compete for GPUs the one of higher priority goes first, wherever limits allow."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import After, Dependency, Job, State
from greenrun.core.planning.model import DeviceKind, Placement, Situation
from greenrun.core.planning.planner import plan
from tests.core import situations as drawn
from tests.core.build import SLOT, T0, job
from tests.core.situations import quickly, situation
from tests.core.sound import check

DIP = [300, 300, 100, 300, 300, 300]


def starts(asked: Situation) -> dict[int, float]:
    """When each job starts, in slots from T0."""
    return {row.job_id: round((row.start - T0) / SLOT, 6) for row in plan(asked).placements}


def with_priority(one: Job, priority: int) -> Job:
    return replace(one, spec=replace(one.spec, priority=priority))


def test_jobs_for_now_start_in_order_of_priority_and_then_of_submission() -> None:
    jobs = [job(number, start_now=True, priority=p) for number, p in ((1, 0), (2, 1000), (3, 1), (4, 0))]
    assert starts(situation(jobs, [100] * 8)) == {2: 0, 3: 1, 1: 2, 4: 3}


def test_a_job_whose_window_has_come_yields_its_gpu_to_a_higher_one_for_now() -> None:
    first = plan(situation([job(1)], DIP))
    now = T0 + 2 * SLOT
    asked = situation([job(1), job(2, start_now=True, priority=1, submitted=now)], DIP, now=now, last=first)
    assert starts(asked) == {2: 2, 1: 3}
    equal = replace(asked, jobs=(job(1), job(2, start_now=True, submitted=now)))
    assert starts(equal) == {1: 2, 2: 3}


@pytest.mark.parametrize("higher", [1, 2])
def test_of_two_that_want_the_same_clean_window_the_higher_has_it_whatever_they_emit(higher: int) -> None:
    """Priority comes before grams: the other would gain ten times as much."""
    powers = {1: 100.0, 2: 1000.0}
    jobs = [job(number, power_w=power, priority=int(number == higher)) for number, power in powers.items()]
    placed = starts(situation(jobs, DIP))
    assert placed[higher] == 2
    assert placed[3 - higher] != 2


def test_in_each_pool_the_higher_has_the_clean_window() -> None:
    kinds = {"gpu0": DeviceKind(model="A100"), "gpu1": DeviceKind(model="V100")}
    jobs = [
        job(1, gpu_model="A100"),
        job(2, gpu_model="A100", priority=1),
        job(3, gpu_model="V100"),
        job(4, priority=2),
    ]
    made = plan(situation(jobs, DIP, gpus=2, kinds=kinds))
    clean = {row.job_id for row in made.placements if row.start == T0 + 2 * SLOT}
    assert 4 in clean
    assert 2 in clean or made.placement(4).pool == "A100"  # type: ignore[union-attr]
    assert len(clean) == 2


@pytest.mark.parametrize("higher", [1, 2, 3])
def test_when_not_all_limits_can_be_met_the_higher_meets_its_own(higher: int) -> None:
    jobs = [job(n, slots=2, max_delay=SLOT, priority=int(n == higher)) for n in (1, 2, 3)]
    made = plan(situation(jobs, [200] * 8))
    assert not made.placement(higher).late  # type: ignore[union-attr]


@pytest.mark.parametrize("values", [[200] * 8, []], ids=["overdue", "without a forecast"])
def test_without_limits_or_a_forecast_the_higher_starts_first(values: list[float]) -> None:
    submitted = T0 - timedelta(days=9) if values else T0
    jobs = [job(number, submitted=submitted, priority=number) for number in (1, 2, 3)]
    assert starts(situation(jobs, values)) == {3: 0, 2: 1, 1: 2}


def test_a_limit_that_can_be_met_is_met_although_a_higher_job_would_like_the_place() -> None:
    low = job(1, slots=2, start_after=T0 + SLOT, finish_by=T0 + 4 * SLOT)
    made = plan(situation([low, job(2, slots=2, priority=5)], [300, 300, 100, 100, 300, 300, 300]))
    assert not made.placement(1).late  # type: ignore[union-attr]
    assert made.placement(2).expected_g == pytest.approx(200)  # type: ignore[union-attr]  # and no dirtier than it must


def test_what_a_higher_job_waits_for_goes_first_as_well() -> None:
    jobs = [job(1), job(2), job(3, priority=9, after=(Dependency(job_id=2, on=After.OK),))]
    queued = dict.fromkeys((1, 2, 3), State.QUEUED)
    assert starts(situation(jobs, [200] * 8, states=queued)) == {2: 0, 3: 1, 1: 2}


def worth(one: Job, row: Placement, late_first: bool = True) -> tuple[float, float]:
    """What a place is worth to its job: late or not, and then when it starts or what it emits; less is better."""
    own = row.start.timestamp() if one.spec.start_now else (row.intensity_g_per_kwh or 0.0)
    return (float(row.late and late_first), own)


@st.composite
def crowded(draw: st.DrawFn) -> Situation:
    """Up to five jobs in one piece on one to three GPUs, with and without limits, of some priorities."""
    gpus, slots = draw(st.integers(1, 3)), st.sampled_from([1, 2, 3])
    values = draw(st.lists(st.integers(1, 9).map(lambda v: v * 50.0), min_size=24, max_size=24))
    jobs = []
    for number in range(1, draw(st.integers(2, 5)) + 1):
        length = draw(slots)
        kinds = [{}, {"start_now": True}, {"max_delay": draw(st.integers(4, 12)) * SLOT}]
        own = draw(st.sampled_from(kinds))
        jobs.append(job(number, slots=length, gpus=draw(st.integers(1, gpus)), priority=draw(st.integers(0, 2)), **own))
    return situation(jobs, values, gpus)


@quickly(80)
@given(crowded(), st.data())
def test_to_raise_a_priority_above_all_others_never_makes_that_jobs_outcome_worse(
    asked: Situation, data: st.DataObject
) -> None:
    one = data.draw(st.sampled_from(asked.jobs))
    before = plan(asked)
    raised = replace(asked, jobs=tuple(with_priority(own, 9) if own.id == one.id else own for own in asked.jobs))
    after = plan(raised)
    check(raised, after)
    was, now = before.placement(one.id), after.placement(one.id)
    assert was is not None
    assert now is not None
    late, own = worth(one, was)
    new_late, new_own = worth(one, now)
    assert (new_late, new_own) <= (late, own * (1 + 1e-9))


@quickly(60)
@given(crowded())
def test_no_job_holds_a_place_that_one_above_it_would_rather_have_unless_a_limit_needs_it(asked: Situation) -> None:
    """Where nobody has limits: the highest job starts as if those below it were not there."""
    free = tuple(replace(one, spec=replace(one.spec, max_delay=None)) for one in asked.jobs)
    priorities = sorted({one.spec.priority for one in free}, reverse=True)
    for lowest in priorities:
        above = [one for one in free if one.spec.priority >= lowest]
        if len({one.id for one in above if one.spec.priority == priorities[0]}) > 1:
            return  # those of one priority are placed for the least sum
        alone = plan(replace(asked, jobs=tuple(one for one in above if one.spec.priority == priorities[0])))
        together = plan(replace(asked, jobs=free))
        (top,) = alone.placements
        assert together.placement(top.job_id).intervals == top.intervals  # type: ignore[union-attr]


def test_equal_priorities_plan_as_if_there_were_none() -> None:
    rng = Random(3)
    jobs = [job(n, slots=rng.choice([1, 2, 4]), gpus=rng.choice([1, 2]), power_w=1000.0) for n in range(1, 30)]
    values = [rng.uniform(50, 400) for _ in range(60)]
    plans = [plan(situation([with_priority(one, p) for one in jobs], values, gpus=4)) for p in (0, 7, -1000)]
    assert plans[0] == plans[1] == plans[2]


def limits_missed(asked: Situation, jobs: Sequence[Job]) -> int:
    made = plan(replace(asked, jobs=tuple(jobs)))
    return sum(row.late for row in made.placements)


@quickly(40)
@given(crowded())
def test_priorities_make_no_more_jobs_miss_their_limits(asked: Situation) -> None:
    deferrable = [one for one in asked.jobs if not one.spec.start_now]
    assert limits_missed(asked, deferrable) <= limits_missed(asked, [with_priority(one, 0) for one in deferrable])


@quickly(60)
@given(drawn.situations())
def test_any_plan_with_priorities_can_be_carried_out(asked: Situation) -> None:
    ranked = replace(asked, jobs=tuple(with_priority(one, one.id % 3) for one in asked.jobs))
    check(ranked, plan(ranked))


def test_a_lower_job_that_needs_a_place_for_its_limit_takes_the_first_of_equals() -> None:
    jobs = [job(1, slots=2, priority=1), job(2, finish_by=T0 + 2 * SLOT)]
    assert starts(situation(jobs, [200] * 6)) == {2: 0, 1: 1}

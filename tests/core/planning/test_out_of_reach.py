"""Jobs that need GPUs which somebody outside this daemon holds keep nobody else from those that are free."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import Dependency, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.model import DeviceKind, Placement, Plan, Situation
from greenrun.core.planning.planner import plan
from tests.core.build import SLOT, T0, job
from tests.core.situations import quickly, situation
from tests.core.sound import check

FLAT, SOON = [300.0] * 96, timedelta(minutes=5)


def place_of(made: Plan, job_id: int) -> Placement:
    placement = made.placement(job_id)
    assert placement is not None
    return placement


def held(*jobs: object, now: datetime = T0, **more: object) -> Situation:
    """Two GPUs, one of which somebody else holds, for how long nobody knows."""
    return situation(jobs, FLAT, 2, now=now, busy={"gpu0": now + SOON}, elsewhere={"gpu0": "bob"}, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("priority", [0, 5])
@pytest.mark.parametrize(
    "wish",
    [{"start_now": True}, {}, {"max_delay": SOON}, {"finish_by": T0 + 3 * SLOT}, {"max_delay": timedelta(0)}],
    ids=["now", "at any time", "a max delay", "a finish-by", "a limit that is lost"],
)
def test_a_job_that_cannot_start_holds_back_none_that_can(wish: dict[str, object], priority: int) -> None:
    large = job(1, gpus=2, slots=2, priority=priority, **wish)
    made = plan(held(large, job(2, slots=20, start_now=True), job(3, slots=2)))
    assert place_of(made, 2).start == T0
    later = held(large, job(2, slots=20, max_delay=timedelta(0)), now=T0 + SLOT, last=made)
    assert place_of(plan(later), 2).start == T0 + SLOT


def test_what_waits_for_it_holds_back_nobody_either() -> None:
    large = job(1, gpus=2, slots=2, priority=1, start_now=True)
    behind = job(2, priority=1, after=(Dependency(job_id=1),), max_delay=timedelta(0))
    made = plan(held(large, behind, job(3, slots=20, start_now=True), states={1: State.QUEUED}))
    assert place_of(made, 3).start == T0
    assert place_of(made, 2).start >= place_of(made, 1).end


def test_what_counts_are_the_gpus_that_it_may_use() -> None:
    """Three GPUs are free of others, but of the two that it may use one is not."""
    kinds = {f"gpu{i}": DeviceKind(model="A100" if i < 2 else "V100") for i in range(4)}
    large = job(1, gpus=2, slots=2, gpu_model="A100", start_now=True, priority=1)
    small = job(2, slots=20, gpu_model="A100", start_now=True)
    elsewhere = {"busy": {"gpu0": T0 + SOON}, "elsewhere": {"gpu0": "bob"}, "kinds": kinds}
    made = plan(situation([large, small], FLAT, 4, **elsewhere))
    assert place_of(made, 2).start == T0
    assert place_of(made, 1).reason.code is ReasonCode.GPUS_HELD_ELSEWHERE
    either = job(1, gpus=2, slots=2, start_now=True, priority=1)
    assert place_of(plan(situation([either, small], FLAT, 4, **elsewhere)), 1).start == T0  # there is another kind


def test_once_the_gpus_are_back_it_has_its_priority_again() -> None:
    large, small = job(1, gpus=2, slots=2, start_now=True, priority=1), job(2, slots=20, start_now=True)
    first = plan(held(large, small))
    assert place_of(first, 2).start == T0
    back = situation([large, small], FLAT, 2, now=T0 + SLOT, last=first)
    assert place_of(plan(back), 1).start == T0 + SLOT


@quickly(100)
@given(st.data())
def test_jobs_are_placed_as_if_those_out_of_reach_were_not_there(data: st.DataObject) -> None:
    kinds = [{}, {"start_now": True}, {"max_delay": 2 * SLOT}, {"finish_by": T0 + 8 * SLOT}]
    jobs = [
        job(
            number,
            slots=data.draw(st.integers(1, 4)),
            gpus=data.draw(st.integers(1, 3)),
            priority=data.draw(st.integers(0, 2)),
            **data.draw(st.sampled_from(kinds)),  # type: ignore[arg-type]
        )
        for number in range(1, data.draw(st.integers(2, 6)) + 1)
    ]
    busy = {"gpu0": T0 + SOON, "gpu1": T0 + data.draw(st.integers(0, 3)) * SLOT}
    asked = situation(jobs, FLAT, 3, busy=busy, elsewhere={"gpu0": "bob"})
    made = plan(asked)
    check(asked, made)
    without = situation([one for one in jobs if one.spec.gpus < 3], FLAT, 3, busy=busy, elsewhere={"gpu0": "bob"})
    alone = plan(without)
    late = {row.job_id for row in made.placements if row.late and row.gpus < 3}
    assert len(late) <= sum(row.late for row in alone.placements)

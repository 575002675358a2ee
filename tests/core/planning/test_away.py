"""GPUs that are away for nobody knows how long: plans go without them, and who needs them waits for a true reason."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.errors import InvalidJob
from greenrun.core.jobs.availability import Absence
from greenrun.core.jobs.job import Job, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.admission import admit_all
from greenrun.core.planning.insertion import OpenPlan
from greenrun.core.planning.model import DeviceKind, Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.stability import needs_replanning
from tests.core.build import SLOT, T0, job
from tests.core.situations import KINDS, jobs, quickly, situation
from tests.core.sound import check

FLAT = [300.0] * 48
DRAINED = Absence(name="GPU 0", code=ReasonCode.DRAINED, text="drained by ada since 10:02: replacing the fan")
USED = Absence(name="GPU 1", code=ReasonCode.GPUS_USED_BY_OTHERS, text="used by process 42 of bob")
LOST = Absence(name="GPU 1", code=ReasonCode.GPUS_LOST, text="lost: it has to be reset")
MACHINE = Absence(name="the machine", code=ReasonCode.DRAINED, text="drained by ada since 10:02")


def without(*jobs: Job, gpus: int = 2, **more: object) -> Situation:
    """So many GPUs, of which the first is drained."""
    return situation(jobs, FLAT, gpus, **{"away": {"gpu0": DRAINED}, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("absence", [DRAINED, USED, LOST])
def test_a_job_that_needs_more_than_is_left_waits_with_the_reason_and_holds_back_nobody(absence: Absence) -> None:
    large, small = job(1, gpus=2, start_now=True, priority=9), job(2, slots=20, start_now=True)
    made = plan(without(large, small, away={"gpu1": absence}))
    (waits,) = made.waiting
    assert (waits.job_id, waits.reason.code) == (1, absence.code)
    assert waits.reason.text == f"needs 2 GPUs and 1 can be used now: {absence.name} is {absence.text}"
    assert made.placements[0].start == T0


def test_no_two_jobs_are_planned_for_one_gpu_while_the_other_is_away() -> None:
    made = plan(without(job(1, slots=4, start_now=True), job(2, slots=4, start_now=True)))
    first, second = made.placements
    assert (first.start, second.start) == (T0, first.end)


def test_several_reasons_are_all_told_and_the_most_lasting_gives_the_code() -> None:
    (waits,) = plan(without(job(1, gpus=3), gpus=3, away={"gpu1": USED, "gpu0": DRAINED})).waiting
    assert waits.reason.code is ReasonCode.DRAINED
    assert waits.reason.text == (
        "needs 3 GPUs and 1 can be used now: GPU 1 is used by process 42 of bob; "
        "GPU 0 is drained by ada since 10:02: replacing the fan"
    )


def test_what_counts_are_the_gpus_that_a_job_may_use() -> None:
    kinds = {"gpu0": DeviceKind(model="A100"), "gpu1": DeviceKind(model="V100")}
    made = plan(without(job(1, gpu_model="A100"), job(2, gpu_model="V100"), job(3, gpu_model="H100"), kinds=kinds))
    codes = {row.job_id: row.reason.code for row in made.waiting}
    assert codes == {1: ReasonCode.DRAINED, 3: ReasonCode.TOO_FEW_GPUS}
    assert made.placements[0].job_id == 2


def test_a_drained_machine_starts_no_job_at_all() -> None:
    made = plan(situation([job(1), job(2, gpus=0)], FLAT, 2, machine_away=MACHINE, cpu_busy=(T0 + SLOT,)))
    assert made.placements == ()
    assert {row.job_id: row.reason.text for row in made.waiting} == {
        1: "needs 1 GPU and none can be used now: the machine is drained by ada since 10:02",
        2: "needs a CPU slot and none can be used now: the machine is drained by ada since 10:02",
    }


@pytest.mark.parametrize("wish", [{}, {"start_now": True}, {"finish_by": T0 + timedelta(hours=6)}, {"gpus": 0}])
@pytest.mark.parametrize("away", [{"away": {"gpu0": DRAINED, "gpu1": USED}}, {"machine_away": MACHINE}])
def test_nothing_is_refused_that_is_away_only_for_a_while(wish: dict[str, object], away: dict[str, object]) -> None:
    asked = job(1, **{"gpus": 2, **wish})
    assert admit_all(without(**away), [asked]).row(1) is not None


def test_what_no_machine_of_this_kind_ever_has_is_refused_still() -> None:
    with pytest.raises(InvalidJob, match="needs 3 GPUs and this machine has 2"):
        admit_all(without(), [job(1, gpus=3)])


def test_no_finish_by_is_promised_on_a_gpu_that_is_away() -> None:
    running = {"ends": {9: T0 + 10 * SLOT}, "busy": {"gpu1": T0 + 10 * SLOT}, "states": {9: State.RUNNING}}
    asked = job(1, slots=2, finish_by=T0 + 4 * SLOT)
    with pytest.raises(InvalidJob, match="not counted is GPU 0, which is drained by ada since 10:02"):
        admit_all(without(**running), [asked])
    assert admit_all(without(**running, away={}), [asked]).placement(1)


def test_a_plan_holds_no_longer_once_a_gpu_is_away_or_back() -> None:
    before, queued = without(), (job(1),)
    before = replace(before, jobs=queued)
    made = plan(before)
    assert not needs_replanning(before, made, before)
    assert needs_replanning(before, made, replace(before, away={}))
    assert needs_replanning(before, made, replace(before, machine_away=MACHINE))


def test_a_job_put_into_the_plan_in_force_waits_for_the_same_reason() -> None:
    asked = without()
    (row,) = OpenPlan(plan(asked), asked).find([job(1, gpus=2)], {}, T0)
    assert row.reason.code is ReasonCode.DRAINED


@quickly(60)
@given(st.data())
def test_a_plan_is_the_one_of_a_machine_without_what_is_away(data: st.DataObject) -> None:
    queued = [data.draw(jobs(number, T0)) for number in range(1, data.draw(st.integers(1, 5)) + 1)]
    kinds = {f"gpu{i}": data.draw(st.sampled_from(KINDS)) for i in range(3)}
    asked = situation(queued, FLAT, 3, kinds=kinds, away={"gpu0": DRAINED}, busy={"gpu0": T0 + SLOT, "gpu1": T0 + SLOT})
    made = plan(asked)
    bare = replace(asked, devices=("gpu1", "gpu2"), away={}, busy={"gpu1": T0 + SLOT})
    alone = plan(bare)
    assert [(row.job_id, row.intervals) for row in made.placements] == [
        (row.job_id, row.intervals) for row in alone.placements
    ]
    assert {row.job_id for row in made.waiting} == {row.job_id for row in alone.waiting}
    check(bare, alone)

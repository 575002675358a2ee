"""A submission whose limit cannot be met is refused with the smallest change that would do, and that change does."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.errors import InvalidJob
from greenrun.core.jobs.job import ArrayPlace, Job
from greenrun.core.parsing import parse_duration
from greenrun.core.planning.admission import admit, admit_all
from greenrun.core.planning.model import DeviceKind, Placement, Plan, Situation, Waiting
from greenrun.core.planning.planner import plan
from tests.core.build import SLOT, T0, grid, job
from tests.core.situations import quickly, suggested
from tests.sampling import examples

CLEAN_AT_THREE = [300, 300, 300, 100, 300, 300, 300, 300]


def places(asked: Situation, jobs: Sequence[Job]) -> list[Placement | Waiting]:
    """The place of each job once all are admitted."""
    made = admit_all(asked, jobs)
    return [row for job in jobs if (row := made.row(job.id))]


def situation(*jobs: object, gpus: int = 1, **more: object) -> Situation:
    devices = tuple(f"gpu{i}" for i in range(gpus))
    return Situation(now=T0, jobs=tuple(jobs), devices=devices, forecast=grid(CLEAN_AT_THREE), **more)  # type: ignore[arg-type]


def admit_one(asked: Situation, new: Job) -> tuple[Plan, Placement | Waiting]:
    planned = admit(asked, [new])
    place = planned.row(new.id)
    return planned, place


def array(size: int, **spec: object) -> list[Job]:
    return [job(key, array=ArrayPlace(key="a", index=key, size=size), **spec) for key in range(1, size + 1)]  # type: ignore[arg-type]


def test_a_start_at_once_that_would_break_a_promise_is_refused_and_one_that_gives_way_is_not() -> None:
    promised = job(1, finish_by=T0 + 8 * SLOT)
    with pytest.raises(InvalidJob, match="would make job 1 miss its finish-by"):
        admit_one(situation(promised), job(2, slots=20, start_now=True))
    assert not admit_one(situation(promised), job(2, slots=20))[0].placement(1).late  # type: ignore[union-attr]
    assert admit_one(situation(job(1)), job(2, slots=20, start_now=True))[1].start == T0  # type: ignore[union-attr]


def test_a_job_that_fits_is_told_its_place() -> None:
    _, place = admit_one(situation(), job(1, finish_by=T0 + 4 * SLOT))
    assert isinstance(place, Placement)
    assert place.start == T0 + 3 * SLOT


def test_more_gpus_than_exist_are_refused() -> None:
    with pytest.raises(InvalidJob, match=r"needs 3 GPUs and this machine has 1 GPU$"):
        admit_one(situation(), job(1, gpus=3))


def test_why_there_are_no_more_gpus_is_said_in_the_refusal_and_to_a_job_that_waits() -> None:
    alone = situation(gpus=0, gpus_note="nvml says: the driver is not loaded; set devices.meter")
    with pytest.raises(
        InvalidJob, match=r"needs 1 GPU and this machine has 0 GPUs: nvml says: .*; set devices\.meter$"
    ):
        admit_one(alone, job(1))
    waiting = plan(replace(alone, jobs=(job(1),))).reason(1)
    assert waiting is not None
    assert (
        waiting.text == "needs 1 GPU and this machine has none: nvml says: the driver is not loaded; set devices.meter"
    )


def test_a_finish_by_before_the_soonest_end_is_refused_with_the_soonest_end_and_the_longest_duration() -> None:
    with pytest.raises(InvalidJob) as refused:
        admit_one(situation(), job(1, slots=2, finish_by=T0 + SLOT))
    assert suggested(refused.value) == T0 + 2 * SLOT + timedelta(seconds=61)  # with a minute to follow the advice
    assert "--duration of at most 29m" in str(refused.value)


def test_a_finish_by_behind_a_running_job_is_refused_with_an_end_that_is_then_accepted() -> None:
    asked = situation(busy={"gpu0": T0 + SLOT})
    with pytest.raises(InvalidJob) as refused:
        admit_one(asked, job(1, finish_by=T0 + SLOT))
    _, place = admit_one(asked, job(1, finish_by=suggested(refused.value)))
    assert isinstance(place, Placement)
    assert not place.late


def test_a_new_job_may_not_make_an_accepted_one_late() -> None:
    accepted = job(1, slots=2, finish_by=T0 + 2 * SLOT)
    with pytest.raises(InvalidJob):
        admit_one(situation(accepted), job(2, slots=1, finish_by=T0 + SLOT))


def test_a_max_delay_that_cannot_be_kept_is_accepted_and_the_job_starts_as_soon_as_it_can() -> None:
    _, place = admit_one(situation(busy={"gpu0": T0 + 2 * SLOT}), job(1, max_delay=SLOT))
    assert isinstance(place, Placement)
    assert (place.start, place.late) == (T0 + 2 * SLOT, True)


accepted = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 6)), max_size=4)


@examples(80)
@given(accepted, st.integers(1, 4), st.integers(1, 8))
def test_the_suggested_change_is_always_accepted(queue: list[tuple[int, int]], slots: int, limit: int) -> None:
    jobs = []
    for length, slack in queue:
        new = job(len(jobs) + 1, slots=length, finish_by=T0 + (length + slack) * SLOT)
        try:
            admit_one(situation(*jobs), new)
        except InvalidJob:
            continue
        jobs.append(new)
    newest = job(len(jobs) + 1, slots=slots, finish_by=T0 + limit * SLOT)
    try:
        admit_one(situation(*jobs), newest)
    except InvalidJob as refused:
        later = suggested(refused)
        assert later > T0 + limit * SLOT - timedelta(seconds=1)
        admit_one(situation(*jobs), job(len(jobs) + 1, slots=slots, finish_by=later))


def test_a_promised_finish_by_is_not_broken_by_a_later_job_that_only_bounds_its_delay() -> None:
    promised = job(1, slots=2, finish_by=T0 + 3 * SLOT)
    pushy = job(2, slots=4, max_delay=timedelta(0))
    planned, place = admit_one(situation(promised), pushy)
    assert isinstance(place, Placement)
    assert (planned.placement(1).late, place.late) == (False, True)  # type: ignore[union-attr]


def test_a_job_without_gpus_is_refused_where_no_cpu_slot_is_configured() -> None:
    with pytest.raises(InvalidJob, match="cpu_slots is 0"):
        admit_one(situation(cpu_slots=0), job(1, gpus=0))


@examples(20)
@given(size=st.integers(1, 5), gpus=st.integers(1, 3))
def test_an_array_that_is_refused_is_accepted_whole_with_the_finish_by_that_was_suggested(size: int, gpus: int) -> None:
    asked = situation(gpus=gpus)
    needed = -(-size // gpus)
    with pytest.raises(InvalidJob) as refused:
        places(asked, array(size, finish_by=T0 + (needed - 0.5) * SLOT))
    found = places(asked, array(size, finish_by=suggested(refused.value)))
    assert [isinstance(place, Placement) and place.late for place in found] == [False] * size


def test_jobs_are_admitted_in_order_beside_those_before_them() -> None:
    jobs = [*array(2), job(3, finish_by=T0 + 8 * SLOT), job(4, finish_by=T0 + 8 * SLOT)]
    found = places(situation(), jobs)
    assert [place.job_id for place in found] == [1, 2, 3, 4]
    with pytest.raises(InvalidJob, match="cannot finish by"):
        places(situation(), [*jobs, *[job(key, slots=4, finish_by=T0 + 8 * SLOT) for key in (5, 6)]])


def asked_again(new: Job, **spec: object) -> Job:
    return replace(new, spec=replace(new.spec, **spec))  # type: ignore[arg-type]


def shorter(refusal: InvalidJob) -> timedelta | None:
    found = re.search(r"--duration of (?:at most )?(\w+)", str(refusal))
    return parse_duration(found[1]) if found else None


def test_others_that_may_still_move_do_not_count_against_the_soonest_start() -> None:
    """The GPU is full for three hours of jobs that any hour of the day would do for."""
    queue = [job(number, slots=2) for number in (1, 2, 3)]
    asked = situation(*queue)
    with pytest.raises(InvalidJob, match="can start at 2026-03-02 00:00:00Z at the soonest; ") as refused:
        admit_one(asked, job(4, slots=2, finish_by=T0 + SLOT))
    assert suggested(refused.value) == T0 + 2 * SLOT + timedelta(seconds=61)
    planned, place = admit_one(asked, job(4, slots=2, finish_by=T0 + 2.5 * SLOT))
    assert isinstance(place, Placement)
    assert place.end <= T0 + 2.5 * SLOT
    assert not [row for row in planned.placements if row.late]


def test_a_job_with_both_limits_is_refused_for_its_finish_by_alone() -> None:
    """To ask for a later finish-by would change nothing about a max delay that cannot be kept."""
    asked = situation(busy={"gpu0": T0 + 2 * SLOT})
    _, place = admit_one(asked, job(1, max_delay=SLOT, finish_by=T0 + 4 * SLOT))
    assert isinstance(place, Placement)
    assert (place.end, place.late) == (T0 + 3 * SLOT, True)


def test_the_soonest_start_is_that_on_the_gpus_it_may_use() -> None:
    kinds = {"gpu0": DeviceKind(model="A100"), "gpu1": DeviceKind(model="V100")}
    asked = situation(gpus=2, kinds=kinds, busy={"gpu0": T0 + 4 * SLOT})
    new = job(1, gpu_model="A100", finish_by=T0 + 2 * SLOT)
    with pytest.raises(InvalidJob, match="can start at 2026-03-02 02:00:00Z at the soonest") as refused:
        admit_one(asked, new)
    assert shorter(refused.value) is None
    admit_one(asked, asked_again(new, finish_by=suggested(refused.value)))


@pytest.mark.parametrize(
    ("asks", "field", "sentence"),
    [
        ({"gpu_model": "H100"}, "gpu_model", "needs 1 GPU of model H100 and this machine has none such"),
        ({"gpu_memory_gib": 80.0}, "gpu_memory_gib", "needs 1 GPU with 80 GiB and this machine has none such"),
        ({"gpu_model": "a100", "gpus": 2}, "gpu_model", "needs 2 GPUs of model a100 and this machine has 1 such"),
        ({"gpus": 2}, "gpus", "needs 2 GPUs and this machine has 1 of one kind"),
    ],
)
def test_gpus_that_no_pool_has_are_refused_with_what_there_is(asks: dict[str, Any], field: str, sentence: str) -> None:
    kinds = {"gpu0": DeviceKind(model="A100", memory_gib=40), "gpu1": DeviceKind(model="V100", memory_gib=32)}
    with pytest.raises(InvalidJob) as refused:
        admit_one(situation(gpus=2, kinds=kinds), job(1, **asks))
    assert [problem.field for problem in refused.value.problems] == [field]
    assert str(refused.value) == f"the job {sentence}: it has 1 x A100 40 GiB, 1 x V100 32 GiB"


def test_a_refused_start_at_once_is_accepted_without_it_as_advised() -> None:
    promised = job(1, finish_by=T0 + 8 * SLOT)
    pushy = job(2, slots=20, start_now=True)
    with pytest.raises(InvalidJob, match="submit it without --now"):
        admit_one(situation(promised), pushy)
    planned, _ = admit_one(situation(promised), asked_again(pushy, start_now=False))
    assert not [row for row in planned.placements if row.late]


@st.composite
def full(draw: st.DrawFn) -> Situation:
    """Up to eight jobs of every kind on GPUs that are partly busy, with the plan made for them."""
    gpus = draw(st.integers(1, 3))
    kinds = st.sampled_from(["none", "none", "max_delay", "finish_by", "start_now"])
    queue: list[Job] = []
    busy = {f"gpu{i}": T0 + draw(st.integers(1, 5)) * SLOT for i in range(draw(st.integers(0, gpus - 1)))}
    for number in range(1, draw(st.integers(0, 8)) + 1):
        length, kind, slack = draw(st.integers(1, 3)), draw(kinds), draw(st.integers(0, 8))
        limits = {"max_delay": slack * SLOT, "finish_by": T0 + (length + slack) * SLOT, "start_now": True}
        own = {kind: limits[kind]} if kind in limits else {}
        new = job(number, slots=length, gpus=draw(st.integers(1, gpus)), **own)
        try:
            admit_one(situation(*queue, gpus=gpus, busy=busy), new)
        except InvalidJob:
            continue
        queue.append(new)
    asked = situation(*queue, gpus=gpus, busy=busy)
    return replace(asked, last=plan(asked)) if draw(st.booleans()) else asked


@quickly(80)
@given(full(), st.integers(1, 4), st.integers(1, 3), st.integers(1, 10), st.integers(1, 2))
def test_whatever_a_refusal_advises_is_accepted(asked: Situation, slots: int, gpus: int, limit: int, size: int) -> None:
    """And what is called the soonest is: a minute earlier, without the time to follow the advice, is refused."""
    own = {"slots": slots, "gpus": min(gpus, len(asked.devices)), "finish_by": T0 + limit * SLOT}
    new = [replace(one, id=one.id + 100) for one in array(size, **own)]
    try:
        places(asked, new)
    except InvalidJob as refused:
        advised, length = suggested(refused), shorter(refused)
        for place in places(asked, [asked_again(one, finish_by=advised) for one in new]):
            assert isinstance(place, Placement)
            assert place.end <= advised
        if length:
            for place in places(asked, [asked_again(one, duration=length) for one in new]):
                assert isinstance(place, Placement)
                assert place.end <= T0 + limit * SLOT
        if "at the soonest;" in str(refused):
            tight = advised - timedelta(seconds=61) - timedelta(minutes=1)
            with pytest.raises(InvalidJob):
                places(asked, [asked_again(one, finish_by=tight) for one in new])

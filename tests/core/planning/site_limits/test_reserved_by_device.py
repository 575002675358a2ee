"""GPUs that are reserved at different times: a run keeps its GPUs, so that a plan must say which."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.errors import InvalidJob
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.admission import admit_all
from greenrun.core.planning.decisions import decide
from greenrun.core.planning.gpu_timelines.grouped_timeline import GroupedTimeline, timeline_of
from greenrun.core.planning.gpu_timelines.timeline import Timeline
from greenrun.core.planning.insertion import OpenPlan
from greenrun.core.planning.model import Placement, Plan, Running, Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.site_limits.reserved import Reserved
from greenrun.store.plans import plan_of, plan_text
from tests.core.build import T0, job
from tests.core.situations import jobs, quickly, running, seconds, situation

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
FLAT = [300.0] * 96
CLOCK = timedelta(milliseconds=2)


def kept(index: int, start: float, end: float, *, repeats: bool = False) -> Reserved:
    begin, until = T0 + start * HOUR, T0 + end * HOUR
    return Reserved(
        device=f"gpu{index}", gpu=f"GPU {index}", start=begin, end=until, whose="for bob", name="r", repeats=repeats
    )


def asked_of(*rows: Reserved, gpus: int = 2, **more: Any) -> Situation:
    return situation([], FLAT, gpus, reserved=tuple(sorted(rows, key=lambda row: row.start)), **more)


def start_of(asked: Situation, **wanted: Any) -> float:
    made = plan(replace(asked, jobs=(job(1, **wanted),)))
    assert carried_out(replace(asked, jobs=(job(1, **wanted),)), made)
    return (made.placements[0].start - T0) / HOUR


def carried_out(asked: Situation, made: Plan) -> bool:
    """Give every interval of a plan its GPUs, in order of start, and fail where they are not free all the time."""
    back = {device: asked.busy.get(device, asked.now) for device in asked.devices}
    runs = {run.job.id: run for run in asked.running}
    begun = [row for row in made.placements if row.job_id in runs and row.start <= asked.now]
    every = [(begin, end, nth, row) for row in made.placements for nth, (begin, end) in enumerate(row.intervals)]
    for begin, end, nth, row in sorted(every, key=lambda one: (one[0], one[3] not in begun, one[3].job_id)):
        taken = [
            other.device for other in asked.reserved
            if max(other.start, asked.busy.get(other.device, other.start)) < end - CLOCK and other.end > begin + CLOCK
            and max(other.start, asked.busy.get(other.device, other.start)) < other.end
        ]  # fmt: skip
        free = [device for device in asked.devices if back[device] <= begin + CLOCK and device not in taken]
        if row in begun and nth == 0:
            chosen = list(runs[row.job_id].devices)
            assert set(chosen) <= set(free), (row, taken)
        else:
            shares = row.shares[nth] if row.shares else ((asked.devices, row.gpus),)
            chosen = [device for own, count in shares for device in [one for one in free if one in own][:count]]
        assert len(chosen) == row.gpus, (row, free)
        back |= dict.fromkeys(chosen, end)
    return True


def test_a_job_does_not_begin_where_two_gpus_would_have_to_share_it() -> None:
    asked = asked_of(kept(1, 0, 2), kept(0, 2, 4))
    assert start_of(asked, duration=4 * HOUR, start_now=True) == 2
    assert start_of(asked, duration=2 * HOUR, start_now=True) == 0
    assert start_of(asked, duration=HOUR, gpus=2, start_now=True) == 4


def test_neither_does_one_where_a_gpu_comes_back_as_another_is_reserved() -> None:
    busy = asked_of(kept(1, 2, 4), busy={"gpu0": T0 + 2 * HOUR})
    assert start_of(busy, duration=3 * HOUR, start_now=True) == 2
    assert start_of(busy, duration=2 * HOUR, start_now=True) == 0
    three = asked_of(kept(0, 1, 3), kept(1, 3, 5), kept(2, 5, 7), gpus=3)
    assert start_of(three, duration=6 * HOUR, gpus=2, start_now=True) == 5
    assert start_of(three, duration=3 * HOUR, gpus=2, start_now=True) == 0


def test_a_job_with_a_finish_by_is_accepted_only_where_it_can_be_met() -> None:
    asked = asked_of(kept(1, 0, 2), kept(0, 2, 4))
    (place,) = admit_all(asked, [job(1, duration=4 * HOUR, finish_by=T0 + 6 * HOUR)]).placements
    assert place.start == T0 + 2 * HOUR
    with pytest.raises(InvalidJob, match="cannot finish by"):
        admit_all(asked, [job(1, duration=4 * HOUR, finish_by=T0 + 5 * HOUR)])


def test_why_it_waits_names_what_is_reserved() -> None:
    asked = asked_of(kept(1, 0, 2), kept(0, 2, 4))
    (place,) = plan(replace(asked, jobs=(job(1, duration=4 * HOUR, start_now=True),))).placements
    assert place.reason.code is ReasonCode.RESERVED
    assert "GPU 0" in place.reason.text


def test_an_interruptible_job_changes_gpus_where_it_is_suspended_and_nowhere_else() -> None:
    asked = asked_of(kept(1, 0, 2), kept(0, 2, 4))
    one = job(1, duration=4 * HOUR, interruptible=True, max_delay=HOUR)
    there = replace(asked, jobs=(one,))
    made = plan(there)
    assert carried_out(there, made)
    (place,) = made.placements
    assert all(not (begin < T0 + 2 * HOUR < end) for begin, end in place.intervals if begin < T0 + HOUR)


def test_one_that_runs_is_planned_to_leave_a_gpu_that_is_reserved_while_others_stay_free() -> None:
    one = job(1, duration=4 * HOUR, interruptible=True, restart_cost=10 * MINUTE)
    runs = Running(job=one, devices=("gpu0",), since=T0)
    asked = asked_of(kept(0, 2, 9), running=(runs,))
    made = plan(asked)
    assert carried_out(asked, made)
    (place,) = made.placements
    assert place.intervals[0][1] <= T0 + 2 * HOUR
    assert place.end >= T0 + 4 * HOUR + 10 * MINUTE


def test_which_gpus_are_meant_is_known_after_a_restart() -> None:
    made = plan(replace(asked_of(kept(1, 0, 2), kept(0, 2, 4)), jobs=(job(1, duration=4 * HOUR, start_now=True),)))
    assert made.placements[0].shares == (((("gpu1",), 1),),)
    assert plan_of(plan_text(made)) == made


def test_what_the_plan_means_is_given_at_the_start_whatever_is_reserved_first() -> None:
    """Job 1 could take either; only one of them leaves room for job 2."""
    row = Placement(
        job_id=1, start=T0, end=T0 + 2 * HOUR, gpus=1, pool="gpu", reason=because(ReasonCode.PROVISIONAL),
        shares=(((("gpu0",), 1),),),
    )  # fmt: skip
    free, until = {"gpu0": "gpu", "gpu1": "gpu"}, {"gpu0": T0 + 9 * HOUR, "gpu1": T0 + 3 * HOUR}
    (start,) = decide(Plan(made_at=T0, placements=(row,)), now=T0, free=free, cpu_free=0, queued={1}, until=until)
    assert start.devices == ("gpu0",)
    (start,) = decide(
        Plan(made_at=T0, placements=(row,)), now=T0, free={"gpu1": "gpu"}, cpu_free=0, queued={1}, until=until
    )
    assert start.devices == ("gpu1",), "another one that leaves in time does as well"


def test_what_is_put_into_a_plan_keeps_to_the_gpus_of_the_others() -> None:
    asked = asked_of(kept(1, 2, 4), kept(0, 5, 9))
    first = job(1, duration=2 * HOUR, start_now=True)
    made = plan(replace(asked, jobs=(first,)))
    opened = OpenPlan(made, replace(asked, jobs=(first,)))
    second = job(2, duration=5 * HOUR, start_now=True)
    rows = opened.find([second], {}, T0)
    opened.add([second], rows, {})
    both = replace(asked, jobs=(first, second))
    assert carried_out(both, opened.plan)
    opened.remove({2})
    assert opened.find([second], {}, T0)[0] == rows[0]


def test_a_job_that_no_gpu_is_free_for_in_one_go_between_weekly_hours_is_told_so() -> None:
    days = [kept(day % 2, 24 * day, 24 * day + 24, repeats=True) for day in range(14)]
    asked = asked_of(*days)
    (waits,) = plan(replace(asked, jobs=(job(1, duration=30 * HOUR, start_now=True),))).waiting
    assert waits.reason.code is ReasonCode.RESERVED
    assert plan(replace(asked, jobs=(job(1, duration=20 * HOUR, start_now=True),))).waiting == ()


def test_gpus_that_are_reserved_at_the_same_times_are_counted_as_before() -> None:
    assert type(timeline_of(["a", "b"], 0, {"a": ((0.0, 1.0),), "b": ((0.0, 1.0),)})) is Timeline
    line = timeline_of(["a", "b"], 0, {"a": ((0.0, 1.0),)})
    assert isinstance(line, GroupedTimeline)
    assert line.groups == (("a",), ("b",))


units = st.integers(1, 3)
spans = st.tuples(st.integers(0, 20), st.integers(1, 9), units)


@given(taken=st.lists(spans, max_size=6), wanted=spans)
@quickly(60)
def test_what_is_told_to_be_free_can_be_had_and_given_back(
    taken: list[tuple[int, int, int]], wanted: tuple[int, int, int]
) -> None:
    line = timeline_of(["a", "b", "c"], 0, {"a": ((4.0, 8.0),), "b": ((10.0, 14.0),)})
    for device, begin, end in (("a", 4.0, 8.0), ("b", 10.0, 14.0)):
        line.reserve(begin, end, 1, own=line.split_of([device]))
    own: list[tuple[float, float, int]] = []
    for begin, length, count in taken:
        if line.is_free(float(begin), float(begin + length), count):
            line.reserve(float(begin), float(begin + length), count)
            own.append((float(begin), float(begin + length), count))
    begin, length, count = wanted
    starts_s = np.arange(-2.0, 30.0)
    fits = line.fits(starts_s, float(length), count)
    assert [line.is_free(at, at + length, count) for at in starts_s.tolist()] == fits.tolist()
    first = line.first_fit(float(begin), float(length), count)
    assert first is not None
    assert line.is_free(first, first + length, count)
    assert not any(line.is_free(at, at + length, count) for at in np.arange(begin, first).tolist())
    begins, ends = line.blocked(count)
    for from_s, until_s in zip([-5.0, *ends.tolist()], [*begins.tolist(), 50.0], strict=True):
        assert line.is_free(from_s, until_s, count), "between what is blocked the same GPUs are free"
    twin = line.copy()
    for since_s, until_s, each in own:
        twin.reserve(since_s, until_s, -each)
    for device, since_s, end_s in (("a", 4.0, 8.0), ("b", 10.0, 14.0)):
        twin.reserve(since_s, end_s, -1, own=twin.split_of([device]))
    assert twin.is_free(-5.0, 50.0, 3)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    gpus = draw(st.integers(2, 4))
    devices = tuple(f"gpu{index}" for index in range(gpus))
    rows = []
    for index in range(gpus):
        start = draw(st.integers(-2, 12))
        rows += [kept(index, start, start + draw(st.integers(1, 6)))] if draw(st.booleans()) else []
    held = draw(st.integers(0, 1))
    busy = {device: T0 + draw(seconds(60, 4 * 3600)) for device in devices[:held]}
    runs = (draw(running(101, devices[-1:], T0)),) if draw(st.booleans()) else ()
    reserved = [row for row in rows if row.start > T0 or row.device not in {*devices[-1:], *busy}]
    ids = draw(st.lists(st.integers(1, 99), min_size=1, max_size=6, unique=True))
    queued = tuple(draw(jobs(number, T0)) for number in ids)
    queued = tuple(
        replace(one, spec=replace(one.spec, gpus=max(1, one.spec.gpus), gpu_model=None, gpu_memory_gib=None))
        for one in queued
    )
    return replace(asked_of(*reserved, gpus=gpus, busy=busy, running=runs), jobs=queued)


@given(asked=situations())
@quickly(60)
def test_every_plan_beside_reservations_can_be_carried_out(asked: Situation) -> None:
    assert carried_out(asked, plan(asked))

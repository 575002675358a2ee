"""GPUs that are reserved by the clock: what is reserved when, and plans that keep to it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.accounting.weekly import Rule, Weekly
from greenrun.core.energy.model import Device
from greenrun.core.errors import InvalidJob
from greenrun.core.jobs.job import Job
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.admission import admit_all
from greenrun.core.planning.capacity import pools_of, timelines
from greenrun.core.planning.decisions import decide
from greenrun.core.planning.model import Plan, Situation
from greenrun.core.planning.planner import plan
from greenrun.core.planning.site_limits.reserved import (
    Reservation,
    Reserved,
    WeeklyReservation,
    choose_gpus,
    is_same_ahead,
    reserved_time,
)
from greenrun.core.planning.stability import needs_replanning
from tests.core.build import SLOT, T0, job
from tests.core.situations import jobs, quickly, situation, suggested

HOUR = timedelta(hours=1)
FLAT = [300.0] * 96
DEVICES = tuple(Device(id=f"gpu{index}", index=index, model="H100", source="nvml") for index in range(3))


def kept(*gpus: int, start: float, end: float, repeats: bool = False) -> tuple[Reserved, ...]:
    return tuple(
        Reserved(
            device=f"gpu{index}", gpu=f"GPU {index}", start=T0 + start * HOUR, end=T0 + end * HOUR,
            whose="for bob", name="reservation 1", repeats=repeats,
        )
        for index in gpus
    )  # fmt: skip


def weekly(days: str, start: int, end: int, zone: str = "UTC") -> WeeklyReservation:
    rule = Rule(days=frozenset(int(day) for day in days), start_min=start * 60, end_min=end * 60, value=1.0)
    return WeeklyReservation(name="office", hours=Weekly.of([rule], None, ZoneInfo(zone)), gpus=("0",))


@pytest.mark.parametrize(
    ("day", "utc_hours"), [((2026, 3, 27), (8, 17)), ((2026, 3, 30), (7, 16)), ((2026, 10, 26), (8, 17))]
)
def test_the_clock_on_the_wall_counts_whatever_the_season(
    day: tuple[int, int, int], utc_hours: tuple[int, int]
) -> None:
    midnight = datetime(*day, tzinfo=UTC)
    rows = reserved_time((), [weekly("01234", 9, 18, "Europe/Berlin")], DEVICES, midnight, midnight + 24 * HOUR)
    assert [(row.start, row.end) for row in rows] == [tuple(midnight + hour * HOUR for hour in utc_hours)]


def test_nights_and_days_that_touch_are_one_time() -> None:
    rows = reserved_time((), [weekly("0123456", 0, 24)], DEVICES, T0, T0 + 24 * HOUR)
    assert len(rows) == 1
    over_midnight = reserved_time((), [weekly("0", 22, 6)], DEVICES, T0, T0 + timedelta(days=7))
    assert all(row.end - row.start == 8 * HOUR for row in over_midnight)


def test_no_two_reservations_count_one_gpu_twice() -> None:
    once = [
        Reservation(devices=("gpu0", "gpu1"), start=T0, end=T0 + 4 * HOUR, user="ada", id=1),
        Reservation(devices=("gpu1", "gone"), start=T0 + 2 * HOUR, end=T0 + 6 * HOUR, user="ada", id=2),
    ]
    rows = reserved_time(once, (), DEVICES, T0, T0 + 24 * HOUR)
    assert [(row.device, (row.start - T0) / HOUR, (row.end - T0) / HOUR) for row in rows] == [
        ("gpu0", 0, 4), ("gpu1", 0, 4), ("gpu1", 4, 6),
    ]  # fmt: skip


def test_those_are_chosen_that_jobs_leave_first() -> None:
    busy = {"gpu2": T0 + 3 * HOUR, "gpu1": T0 + 9 * HOUR}
    rows = kept(0, start=5, end=6)
    chosen = [choose_gpus(count, DEVICES, rows, busy, T0, T0 + 5 * HOUR) for count in (1, 2, 3)]
    assert [[device.index for device in each] for each in chosen] == [[0], [0, 2], [0, 1, 2]]
    overlaps = choose_gpus(3, DEVICES, rows, busy, T0, T0 + 6 * HOUR)
    assert [device.index for device in overlaps] == [1, 2]


def test_a_plan_waits_for_the_end_of_a_reservation_and_says_which() -> None:
    made = plan(situation([job(1, slots=4, start_now=True)], FLAT, 1, reserved=kept(0, start=1, end=5)))
    (row,) = made.placements
    assert (row.start, row.reason.code) == (T0 + 5 * HOUR, ReasonCode.RESERVED)
    assert "GPU 0 is reserved for bob from" in row.reason.text


def test_a_run_that_overruns_into_a_reservation_takes_one_gpu_and_not_two() -> None:
    asked = situation([], FLAT, 2, reserved=kept(0, start=1, end=5), busy={"gpu0": T0 + 3 * HOUR})
    (line, *_) = timelines(asked, pools_of(asked))
    free = [
        line.free_between((T0 + hour * HOUR).timestamp(), (T0 + hour * HOUR).timestamp() + 60) for hour in (2, 4, 6)
    ]
    assert [rows[0][2] for rows in free] == [1, 1, 2]


def test_a_plan_holds_as_time_passes_and_not_when_what_is_reserved_changes() -> None:
    waits = job(1, slots=4, start_now=True)
    before = situation([waits], FLAT, 1, reserved=kept(0, start=1, end=5))
    made = plan(before)
    later = replace(before, now=T0 + SLOT, last=made)
    assert not needs_replanning(before, made, later)
    assert needs_replanning(before, made, replace(later, reserved=kept(0, start=1, end=4)))
    assert needs_replanning(before, made, replace(later, reserved=()))
    weeks = kept(0, start=1, end=5, repeats=True), kept(0, start=25, end=29, repeats=True)
    assert is_same_ahead(weeks[0], (*weeks[0], *weeks[1]), T0)


def test_a_job_takes_the_gpu_that_is_reserved_first_of_those_that_it_leaves_in_time() -> None:
    short, long = job(1, slots=2, start_now=True), job(2, slots=8, start_now=True)
    asked = situation([long, short], FLAT, 2, reserved=kept(1, start=2, end=5))
    made = plan(asked)
    free, until = {"gpu0": "gpu", "gpu1": "gpu"}, {"gpu1": T0 + 2 * HOUR}
    starts = decide(made, now=T0, free=free, cpu_free=0, queued={1, 2}, until=until)
    assert {start.placement.job_id: start.devices for start in starts} == {1: ("gpu1",), 2: ("gpu0",)}
    late = decide(made, now=T0 + 1.5 * HOUR, free={"gpu1": "gpu"}, cpu_free=0, queued={1, 2}, until=until)
    assert late == []


def used_at(made: Plan, at: datetime) -> int:
    return sum(row.gpus for row in made.placements for begin, end in row.intervals if begin <= at < end)


@st.composite
def reservations(draw: st.DrawFn) -> tuple[Reserved, ...]:
    rows = []
    for index in range(3):
        start = draw(st.integers(0, 20))
        rows += kept(index, start=start, end=start + draw(st.integers(1, 12))) if draw(st.booleans()) else ()
    return tuple(sorted(rows, key=lambda row: row.start))


@given(asked=st.lists(st.integers(1, 99), max_size=5, unique=True).flatmap(
    lambda ids: st.tuples(*(jobs(number, T0) for number in ids))), rows=reservations())  # fmt: skip
@quickly(60)
def test_what_is_planned_never_exceeds_the_gpus_that_are_left_by_the_clock(
    asked: Sequence[Job], rows: tuple[Reserved, ...]
) -> None:
    there = situation(asked, FLAT, 3, reserved=rows)
    made = plan(there)
    edges = {edge for row in made.placements if row.gpus for span in row.intervals for edge in span}
    edges |= {row.start for row in rows}
    for at in edges:
        kept_then = sum(row.start <= at < row.end for row in rows)
        assert used_at(made, at) <= 3 - kept_then
    assert len(made.placements) + len(made.waiting) == len(asked)


def test_nothing_is_different_where_nothing_is_reserved() -> None:
    asked: Situation = situation([job(1, slots=4), job(2, slots=2, gpus=2)], FLAT, 2)
    assert plan(asked) == plan(replace(asked, reserved=kept(0, start=-5, end=-1)))


def test_a_finish_by_that_a_reservation_makes_impossible_is_refused_with_one_that_would_do() -> None:
    there = situation([], FLAT, 1, reserved=kept(0, start=1, end=5))
    asked = job(1, slots=4, finish_by=T0 + 4 * HOUR)
    with pytest.raises(InvalidJob) as refused:
        admit_all(there, [asked])
    assert suggested(refused.value) >= T0 + 7 * HOUR
    fits = replace(asked, spec=replace(asked.spec, finish_by=T0 + 7.5 * HOUR))
    (place,) = admit_all(there, [fits]).placements
    assert place.start == T0 + 5 * HOUR


def test_a_job_that_never_fits_between_is_told_so_and_one_that_may_be_suspended_is_placed() -> None:
    weeks = [row for day in range(14) for row in kept(0, start=24 * day + 9, end=24 * day + 18, repeats=True)]
    there = situation([], FLAT, 1, reserved=tuple(weeks))
    long = job(1, slots=60, start_now=True)
    (waits,) = plan(replace(there, jobs=(long,))).waiting
    assert waits.reason.code is ReasonCode.RESERVED
    assert "make it interruptible" in waits.reason.text
    short = job(2, slots=20, start_now=True)
    assert plan(replace(there, jobs=(short,))).waiting == ()
    movable = job(3, slots=60, interruptible=True, max_delay=timedelta(days=3))
    assert plan(replace(there, jobs=(movable,))).waiting == ()
    assert plan(replace(there, jobs=(long,), devices=("gpu0", "gpu1"))).waiting == ()


def test_no_finish_by_is_promised_to_a_job_that_never_fits() -> None:
    weeks = [row for day in range(14) for row in kept(0, start=24 * day + 9, end=24 * day + 18, repeats=True)]
    there = situation([], FLAT, 1, reserved=tuple(weeks))
    with pytest.raises(InvalidJob, match="interruptible"):
        admit_all(there, [job(1, slots=60, finish_by=T0 + timedelta(days=9))])

"""When a power limit is lowered: in hours that are dirty by a threshold, where no limit is missed for it."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Kind, Series, SeriesId, Slot
from greenrun.core.energy.power_limit import LimitEnd, LimitPeriod, PowerCap, parse_threshold
from greenrun.core.jobs.job import Job, JobSpec, Run, State
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.planning.model import Placement, Plan
from greenrun.core.planning.power_capping.capping_rule import Capping, CappingCode, capping, lost_time
from greenrun.core.planning.power_capping.dirty_hours import dirty_hours
from greenrun.core.planning.power_capping.slowdown import (
    BY_MODEL,
    LearnedSlowdown,
    model_slowdown,
    slowdown_at_worst,
    with_slowdown,
    worst_slowdown,
)
from tests.world import T0

HOUR = timedelta(hours=1)


def outlook(values: list[float]) -> Series:
    slots = [Slot(T0 + hour * HOUR, T0 + (hour + 1) * HOUR, value, Kind.FORECAST) for hour, value in enumerate(values)]
    return Series.of(SeriesId(provider="p", zone="GB"), slots)


DAY = outlook([300.0] * 12 + [100.0] * 12 + [900.0] * 24)


def job(**spec: Any) -> Job:
    own = {"command": ("x",), "workdir": "/", "duration": 4 * HOUR, "power_cap": "70%:slowdown=10%", **spec}
    return Job(id=1, spec=JobSpec(**own), user="ada", uid=1, state=State.RUNNING, submitted_at=T0)


RUN = Run(id=1, job_id=1, number=1, token="t", devices=("a",), claimed_at=T0, started_at=T0)


def asked(of: Job, *, now: datetime = T0, series: Series | None = DAY, periods: Any = (), **more: Any) -> Capping:
    hours = dirty_hours(series, parse_threshold("mean"), now)
    given = {"slowdown": 0.1, "plan": Plan(made_at=T0), "queued": {}, **more}
    return capping(of, RUN, hours, periods, now=now, **given)


def period(start_h: float, end_h: float | None, **more: Any) -> LimitPeriod:
    end = None if end_h is None else T0 + end_h * HOUR
    return LimitPeriod(
        **{
            "device": "a", "source": "nvml", "run_id": 1, "found_w": 700.0, "set_w": 490.0,
            "since": T0 + start_h * HOUR, "kept_at": T0 + start_h * HOUR,
            "until": end, "end": None if end is None else LimitEnd.RESTORED,
            "intensity_g_per_kwh": 300.0, "threshold_g_per_kwh": 200.0, **more,
        }
    )  # fmt: skip


@pytest.mark.parametrize(("threshold", "above"), [("mean", 200.0), ("p50", 100.0), ("p75", 300.0), ("250", 250.0)])
def test_a_threshold_is_of_the_24_hours_ahead(threshold: str, above: float) -> None:
    found = dirty_hours(DAY, parse_threshold(threshold), T0 + timedelta(minutes=20))
    assert found is not None
    assert found.above_g_per_kwh == pytest.approx(above)


def test_hours_that_are_all_alike_are_not_dirty() -> None:
    found = dirty_hours(outlook([0.1 + 0.2] * 24), parse_threshold("mean"), T0)
    assert found is not None
    assert not found.is_dirty(T0)


@pytest.mark.parametrize("series", [None, outlook([]), outlook([300.0] * 11)])
def test_without_most_of_the_day_ahead_nothing_is_dirty(series: Series | None) -> None:
    assert dirty_hours(series, parse_threshold("mean"), T0) is None
    assert asked(job(), series=series).code is CappingCode.NO_FORECAST


def test_it_says_why_in_the_numbers_that_decide() -> None:
    assert asked(job()).why == "300 g/kWh is above the mean of the 24 hours ahead, 200 g/kWh"
    late = asked(job(), now=T0 + 13 * HOUR)
    assert (late.code, late.is_on) == (CappingCode.CLEAN, False)
    assert late.why == "100 g/kWh is not above the mean of the 24 hours ahead, 533 g/kWh"


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"finish_by": T0 + 4.5 * HOUR}, CappingCode.DIRTY),
        ({"finish_by": T0 + 4.3 * HOUR}, CappingCode.OWN_LIMIT),
        ({"time_limit": 4.5 * HOUR}, CappingCode.DIRTY),
        ({"time_limit": 4.3 * HOUR}, CappingCode.TIME_LIMIT),
        ({"interruptible": True, "max_delay": 0.3 * HOUR}, CappingCode.OWN_LIMIT),
        ({"max_delay": timedelta(0)}, CappingCode.DIRTY),
    ],
)
def test_limits_are_kept_even_if_it_stays_lowered_to_the_end(spec: dict[str, Any], code: CappingCode) -> None:
    found = asked(job(**spec))
    assert (found.code, found.is_on, found.is_urgent) == (
        code,
        code is CappingCode.DIRTY,
        code is not CappingCode.DIRTY,
    )


@given(
    duration_h=st.floats(0.1, 48), slack_h=st.floats(0, 24), slowdown=st.floats(0, 1),
    looks=st.lists(st.floats(0.05, 5), max_size=30),
)  # fmt: skip
def test_no_run_misses_its_limit_for_it(duration_h: float, slack_h: float, slowdown: float, looks: list[float]) -> None:
    """Played to the end at the slowdown that the rule reckons with, in hours that are all dirty."""
    mine = job(duration=duration_h * HOUR, finish_by=T0 + (duration_h + slack_h) * HOUR)
    hours = dirty_hours(outlook([500.0] * 96), parse_threshold("100"), T0)
    periods: list[LimitPeriod] = []
    now, done_h = 0.0, 0.0
    for pause_h in [*looks, *[1e6]]:
        wanted = capping(
            mine, RUN, hours, periods, slowdown=slowdown, plan=Plan(made_at=T0), queued={}, now=T0 + now * HOUR
        )
        is_on = any(row.until is None for row in periods)
        if wanted.is_on and not is_on:
            periods.append(period(now, None))
        elif is_on and not wanted.is_on:
            periods[-1] = replace(periods[-1], until=T0 + now * HOUR, end=LimitEnd.RESTORED)
        rate = 1 / (1 + slowdown) if wanted.is_on else 1.0
        left_h = (duration_h - done_h) / rate
        if left_h <= pause_h:
            now += left_h
            break
        now, done_h = now + pause_h, done_h + pause_h * rate
        if now > 90:
            return
    assert now <= duration_h + slack_h + 1e-3


def test_time_lost_counts_each_moment_once_however_many_gpus_it_holds() -> None:
    rows = [period(0, 2), period(0, 2, device="b"), period(3, None), period(4, 5, kept_at=None)]
    assert lost_time(rows, 0.25, T0 + 5 * HOUR) == timedelta(hours=4 * 0.2)


def placed(start_h: float, end_h: float, **more: Any) -> Plan:
    row = Placement(
        job_id=2, start=T0 + start_h * HOUR, end=T0 + end_h * HOUR, gpus=1, reason=because(ReasonCode.SOONEST), **more
    )
    return Plan(made_at=T0, placements=(row,))


@pytest.mark.parametrize(
    ("plan", "periods", "is_on"),
    [
        (placed(4, 5), (), False),
        (placed(1, 2), (), True),
        (placed(6, 7), (), True),
        (placed(4, 4.5), (), True),
        (placed(4, 5), (period(0, None),), True),
        (placed(4, 5, late=True), (period(0, None),), False),
    ],
    ids=["would be late", "on other GPUs", "after it", "has room", "planned so already", "late already"],
)
def test_other_jobs_keep_their_limits(plan: Plan, periods: Any, is_on: bool) -> None:
    other = replace(job(finish_by=T0 + 5.1 * HOUR, duration=HOUR, power_cap=None), id=2, state=State.QUEUED)
    assert asked(job(), plan=plan, queued={2: other}, periods=periods).is_on is is_on


def test_what_others_have_changed_is_left_for_the_rest_of_the_run() -> None:
    assert asked(job(), periods=[period(0, 0.5, end=LimitEnd.LEFT)]).code is CappingCode.NOT_OURS


def test_a_model_is_for_plans_and_never_for_limits() -> None:
    cap, note = with_slowdown(PowerCap(share=0.6), 0.6, None)
    assert (cap.slowdown, model_slowdown(1.0)) == (0.068, 0.0)
    assert note is not None
    assert note.startswith(BY_MODEL)
    assert slowdown_at_worst(cap, 0.6, note) == pytest.approx(1 / 0.6 - 1)
    assert slowdown_at_worst(cap, 0.6, None) == 0.068
    learned, grounds = with_slowdown(PowerCap(share=0.6), 0.6, LearnedSlowdown(slowdown=0.2, uncertainty=0.1, note="l"))
    assert (learned.slowdown, slowdown_at_worst(learned, 0.6, grounds)) == (0.2, 0.4)
    assert with_slowdown(PowerCap(share=0.6, slowdown=0.3), 0.6, None) == (PowerCap(share=0.6, slowdown=0.3), None)


@given(st.floats(0.1, 0.99))
def test_the_model_says_no_more_than_can_be(share: float) -> None:
    assert 0 <= model_slowdown(share) <= worst_slowdown(share) <= 1


@pytest.mark.parametrize(
    ("spec", "room"),
    [
        ({}, 0.4), ({"power_cap": None}, 0.0), ({"power_cap": "none"}, 0.0), ({"gpus": 0}, 0.0),
        ({"finish_by": T0 + 4.5 * HOUR}, 0.4), ({"finish_by": T0 + 4.3 * HOUR}, 0.0),
        ({"time_limit": 4.3 * HOUR}, 0.0), ({"max_delay": timedelta(0)}, 0.0), ({"max_delay": HOUR}, 0.4),
    ],
)  # fmt: skip
def test_plans_keep_room_for_the_slower_run_where_its_limits_do(spec: dict[str, Any], room: float) -> None:
    found = job(**spec)
    assert found.room_for_power_cap / HOUR == pytest.approx(room)
    assert found.remaining == found.remaining_at_full_power + found.room_for_power_cap

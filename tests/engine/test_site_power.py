"""The engine under a site's power cap: what is started, suspended and left alone, and what measuring more changes."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.accounting.weekly import Rule, Weekly
from greenrun.core.conditions import ConditionCode
from greenrun.core.jobs.job import Job, JobSpec, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.jobs.trail import EventKind
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.planning.site_limits.reserved import Reservation
from greenrun.daemon.health_watch import power_above_cap
from greenrun.engine.engine import Engine
from greenrun.store import Store
from tests.world import SLOT, T0, World, new_engine, open_store, run_until, spec

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
FLAT = [100.0] * 48


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


def lower(low: float, high: float | None) -> SitePower:
    """A lower cap from 01:00 to 02:00 on the Monday of T0."""
    return SitePower(cap=Weekly.of([Rule(days=frozenset({0}), start_min=60, end_min=120, value=low)], high))


def submit(store: Store, one: JobSpec, at: datetime = T0) -> Job:
    return store.jobs.add_job(one, user="ada", uid=1, now=at)[0]


def engine_of(world: World, store: Store, site: SitePower, **more: Any) -> Engine:
    return new_engine(world, store, world.meter(), site_power=site, **more)


def drawn(world: World, at: datetime) -> int:
    """How many GPUs were in use at an instant."""
    ran = [one for one in world.processes.values() if one.started_at <= at < one.ends_at]
    return sum(len(one.devices) for one in ran)


def test_an_interruptible_job_is_suspended_before_a_lower_cap_and_goes_on_after_it(store: Store) -> None:
    world = World(FLAT, gpus=2)
    engine = engine_of(world, store, lower(300.0, 700.0))
    job = submit(store, spec(3 * 3600, gpus=1, interruptible=True, grace=2 * MINUTE, max_delay=70 * MINUTE))
    run_until(world, engine, T0 + HOUR + 30 * MINUTE)
    told = store.jobs.job(job.id)
    assert (told.state, told.reason.code if told.reason else None) == (State.QUEUED, ReasonCode.POWER_CAP)
    assert "the site's power cap of 300 W leaves" in str(told.reason)
    run_until(world, engine, T0 + 6 * HOUR)
    assert store.jobs.job(job.id).state is State.SUCCEEDED
    spans = sorted((one.started_at, one.ends_at) for one in world.processes.values())
    assert [len(spans), spans[0][1] <= T0 + HOUR, spans[1][0]] == [2, True, T0 + 2 * HOUR]


def test_why_it_is_suspended_is_told_while_it_checkpoints(store: Store) -> None:
    world = World(FLAT, gpus=1, saves_for=5 * MINUTE)
    engine = engine_of(world, store, lower(100.0, 700.0))
    job = submit(store, spec(3 * 3600, gpus=1, interruptible=True, grace=2 * MINUTE, max_delay=70 * MINUTE))
    run_until(world, engine, T0 + HOUR)
    reason = store.jobs.job(job.id).reason
    assert reason is not None
    assert (reason.code, reason.text.split(":")[0]) == (ReasonCode.POWER_CAP, "suspended until 2026-03-02 02")


def test_others_start_only_where_all_of_them_fits(store: Store) -> None:
    world = World(FLAT, gpus=2)
    engine = engine_of(world, store, lower(300.0, 700.0))
    long, short = (submit(store, spec(minutes * 60, gpus=1, start_now=True)) for minutes in (90, 60))
    run_until(world, engine, T0 + 30 * MINUTE)
    assert [store.jobs.job(one.id).state for one in (long, short)] == [State.QUEUED, State.RUNNING]
    run_until(world, engine, T0 + 4 * HOUR)
    starts = {one.job_id: one.started_at for one in world.processes.values()}
    assert starts == {short.id: T0, long.id: T0 + 2 * HOUR}


def test_what_runs_and_may_not_be_suspended_goes_on_under_a_cap_that_was_set_later(store: Store) -> None:
    world = World(FLAT, gpus=2)
    job = submit(store, spec(7200, gpus=1, start_now=True))
    run_until(world, new_engine(world, store, world.meter()), T0 + 10 * MINUTE)
    other = submit(store, spec(600, gpus=1, start_now=True), world.now)
    engine = engine_of(world, store, SitePower(cap=Weekly.of([], 450.0)))
    run_until(world, engine, T0 + HOUR)
    assert [store.jobs.job(one.id).state for one in (job, other)] == [State.RUNNING, State.QUEUED]
    waits = store.jobs.job(other.id).reason
    assert waits is not None
    assert waits.code is ReasonCode.POWER_CAP
    run_until(world, engine, T0 + 3 * HOUR)
    assert [store.jobs.job(one.id).state for one in (job, other)] == [State.SUCCEEDED, State.SUCCEEDED]


def test_of_many_jobs_no_more_run_than_the_cap_has_power_for(store: Store) -> None:
    """Nothing is known of their watts, so each counts with the limit of its GPU, 350 W; idle ones draw 60 W."""
    world = World(FLAT, gpus=4)
    engine = engine_of(world, store, SitePower(cap=Weekly.of([], 1000.0)))
    for _ in range(8):
        submit(store, spec(1800, gpus=1, start_now=True))
    run_until(world, engine, T0 + 6 * HOUR)
    assert len(world.processes) == 8
    assert max(drawn(world, T0 + nth * MINUTE) for nth in range(360)) == 2


def test_nothing_starts_while_more_is_measured_than_the_cap_and_then_it_goes_on(store: Store) -> None:
    """Two jobs say that they draw 100 W each, and draw 350 W."""
    world = World(FLAT, gpus=3)
    engine = engine_of(world, store, SitePower(cap=Weekly.of([], 500.0)), tick=MINUTE)
    liars = [submit(store, spec(3600, gpus=1, start_now=True, power_w=100.0)) for _ in range(2)]
    run_until(world, engine, T0 + 5 * MINUTE)
    assert [store.jobs.job(one.id).state for one in liars] == [State.RUNNING, State.RUNNING]
    state = engine.power.state
    assert (state.cap_w, state.measured_w, engine.power.is_above) == (500.0, pytest.approx(760.0), True)
    (condition,) = power_above_cap(engine.power, world.now)
    assert condition.code is ConditionCode.POWER_ABOVE_CAP
    assert "760 W" in condition.text
    honest = submit(store, spec(60, gpus=1, start_now=True, power_w=70.0), world.now)
    for nth in range(10, 50, 20):  # whatever plans are made meanwhile
        submit(store, spec(60, gpus=1, max_delay=24 * HOUR), world.now)
        run_until(world, engine, T0 + nth * MINUTE)
    run_until(world, engine, T0 + 50 * MINUTE)
    events = store.jobs.events(honest.id)
    codes = [event.detail["reason"] for event in events if event.kind == EventKind.REASON_CHANGED]
    assert codes.count(ReasonCode.POWER_CAP) == 1
    told = store.jobs.job(honest.id)
    assert (told.state, told.reason.code if told.reason else None) == (State.QUEUED, ReasonCode.POWER_CAP)
    run_until(world, engine, T0 + 2 * HOUR)
    assert store.jobs.job(honest.id).state is State.SUCCEEDED
    assert not engine.power.is_above
    assert engine.power.state.above_s == pytest.approx(3600, abs=5 * 60)
    assert power_above_cap(engine.power, world.now) == []


def test_what_was_seen_to_draw_more_is_suspended_by_the_next_plan_where_it_may_be(store: Store) -> None:
    world = World(FLAT, gpus=2)
    engine = engine_of(world, store, SitePower(cap=Weekly.of([], 500.0)), tick=MINUTE)
    for _ in range(2):
        submit(store, spec(3600, gpus=1, interruptible=True, power_w=100.0, min_run=MINUTE, max_delay=8 * HOUR))
    run_until(world, engine, T0 + 4 * HOUR)
    assert drawn(world, T0 + MINUTE) == 2
    assert max(drawn(world, T0 + nth * MINUTE) for nth in range(5, 120)) == 1
    assert len(world.processes) == 3


def test_a_site_without_a_cap_is_not_watched(store: Store) -> None:
    world = World(FLAT, gpus=1)
    engine = new_engine(world, store, world.meter())
    submit(store, spec(600, gpus=1, start_now=True))
    run_until(world, engine, T0 + SLOT)
    assert engine.power.state.has_cap is False
    assert engine.power.state.measured_w is None
    assert engine.situation(world.now).power is None


def test_what_is_drawn_on_a_reserved_gpu_counts_as_measured(store: Store) -> None:
    world = World(FLAT, gpus=2)
    engine = engine_of(world, store, SitePower(cap=Weekly.of([], 700.0)))
    theirs = world.devices[1].id
    engine.reserved.reserve(Reservation(devices=(theirs,), start=T0, end=T0 + HOUR, user="ada"), T0)
    run_until(world, engine, T0 + 10 * MINUTE)
    power = engine.situation(world.now).power
    measured_w = engine.power.measured_w(theirs, world.now)
    assert power is not None
    assert measured_w is not None
    assert power.drawn_w.keys() == {theirs}
    assert measured_w <= power.drawn_w[theirs] <= measured_w + 25.0
    run_until(world, engine, T0 + HOUR + MINUTE)
    after = engine.situation(world.now).power
    assert after is not None
    assert after.drawn_w == {}

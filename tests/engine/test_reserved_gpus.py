"""GPUs that are reserved by the clock: jobs are planned around it, make room for it, or are told."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from greenrun.core.accounting.weekly import Rule, Weekly
from greenrun.core.energy.model import GpuProcess, GpuUse
from greenrun.core.jobs.availability import ProcessOwner
from greenrun.core.jobs.job import Outcome, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.core.planning.site_limits.reserved import Reservation, WeeklyReservation
from greenrun.engine.engine import Engine
from greenrun.store import Store
from tests.world import T0, World, new_engine, open_store, run_until, spec

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
WORKDAYS = frozenset(range(5))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


def office(*gpus: str, count: int = 0, start: int = 9, end: int = 18) -> WeeklyReservation:
    rule = Rule(days=WORKDAYS, start_min=start * 60, end_min=end * 60, value=1.0)
    return WeeklyReservation(
        name="office", hours=Weekly.of([rule], None, ZoneInfo("UTC")), gpus=gpus, count=count, reason="people"
    )


def submit(store: Store, hours: float, **more: object) -> int:
    own = {"start_now": True, **more}
    return store.jobs.add_job(spec(hours * 3600, **own), user="ada", uid=1, now=T0)[0].id


def engine_of(world: World, store: Store, *weekly: WeeklyReservation) -> Engine:
    return new_engine(world, store, world.meter(), reserved=weekly)


def spans(world: World) -> dict[str, list[tuple[datetime, datetime]]]:
    """When each GPU was held."""
    found: dict[str, list[tuple[datetime, datetime]]] = {}
    for process in world.processes.values():
        for device in process.devices:
            found.setdefault(device, []).append((process.started_at, process.ends_at))
    return found


def nine(day: int = 0) -> datetime:
    return T0 + timedelta(days=day) + 9 * HOUR


def met(world: World, device: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    return [span for span in spans(world).get(device, ()) if span[0] < end and start < span[1]]


def test_a_long_job_takes_the_gpu_that_is_not_reserved_and_a_short_one_the_other(store: Store) -> None:
    world = World(values=[300.0] * 96, gpus=2)
    long, short = submit(store, 10), submit(store, 2)
    run_until(world, engine_of(world, store, office("1")), T0 + 12 * HOUR)
    by_job = {process.job_id: process.devices for process in world.processes.values()}
    assert by_job == {long: (world.devices[0].id,), short: (world.devices[1].id,)}


def test_a_job_that_would_not_end_before_waits_until_it_is_over_and_says_so(store: Store) -> None:
    world = World(values=[300.0] * 96, gpus=1)
    job = submit(store, 10)
    engine = engine_of(world, store, office("0"))
    run_until(world, engine, T0 + HOUR)
    reason = engine.plan.reason(job)
    assert reason is not None
    assert reason.code is ReasonCode.RESERVED
    assert "GPU 0 is reserved for people from 2026-03-02 09:00:00Z to 2026-03-02 18:00:00Z (office)" in reason.text
    run_until(world, engine, T0 + 19 * HOUR)
    (process,) = world.processes.values()
    assert process.started_at == T0 + 18 * HOUR


def test_an_interruptible_job_makes_room_in_time_and_goes_on_afterwards(store: Store) -> None:
    world = World(values=[300.0] * 120, gpus=1, saves_for=2 * MINUTE)
    job = submit(
        store, 12, start_now=False, interruptible=True, grace=5 * MINUTE, finish_by=T0 + 24 * HOUR, min_run=MINUTE
    )
    engine = engine_of(world, store, office("0"))
    run_until(world, engine, T0 + 24 * HOUR)
    assert met(world, world.devices[0].id, nine(), nine() + 9 * HOUR) == []
    assert store.jobs.job(job).state is State.SUCCEEDED
    assert len(world.processes) > 1


def test_a_job_that_runs_on_a_gpu_as_it_is_reserved_makes_room_at_once_if_it_can(store: Store) -> None:
    world = World(values=[300.0] * 96, gpus=2, saves_for=MINUTE)
    movable = submit(store, 20, start_now=False, interruptible=True, max_delay=timedelta(0))
    run_until(world, engine := engine_of(world, store), T0 + HOUR)
    (held,) = (process.devices[0] for process in world.processes.values())
    world.now = T0 + HOUR
    row = Reservation(devices=(held,), start=world.now, end=world.now + 5 * HOUR, user="ada", for_user="bob")
    kept = engine.reserved.reserve(row, world.now)
    run_until(world, engine, T0 + 3 * HOUR)
    assert met(world, held, T0 + HOUR + 2 * MINUTE, T0 + 3 * HOUR) == []
    other = next(device.id for device in world.devices if device.id != held)
    assert met(world, other, T0 + 2 * HOUR, T0 + 3 * HOUR)  # it goes on elsewhere
    assert store.jobs.job(movable).state is State.RUNNING
    assert kept.id == 1


def test_a_job_that_cannot_be_suspended_goes_on_and_the_gpu_tells_both(store: Store) -> None:
    world = World(values=[300.0] * 96, gpus=1)
    job = submit(store, 6)
    run_until(world, engine := engine_of(world, store), T0 + HOUR)
    row = Reservation(devices=(world.devices[0].id,), start=T0 + 2 * HOUR, end=T0 + 4 * HOUR, user="ada")
    engine.reserved.reserve(row, world.now)
    run_until(world, engine, T0 + 3 * HOUR)
    (absence,) = engine.availability.state(world.devices[0], world.now).absences
    assert absence.code is ReasonCode.RESERVED
    run_until(world, engine, T0 + 7 * HOUR)
    (run,) = store.runs.of_jobs([job])[job]
    assert run.outcome is Outcome.SUCCEEDED


def test_whoever_uses_a_gpu_that_is_reserved_makes_it_no_worse(store: Store) -> None:
    """Who works there is seen on it; it is planned with again from the end of the reservation on."""
    world = World(values=[300.0] * 96, gpus=1)
    world.process_owners[7] = ProcessOwner(user="bob")
    job = submit(store, 2)
    engine = engine_of(world, store, office("0", start=0, end=4))
    world.gpu_uses[world.devices[0].id] = GpuUse(at=T0, processes=(GpuProcess(pid=7),))
    run_until(world, engine, T0 + HOUR)
    place = engine.plan.placement(job)
    assert place is not None
    assert place.start == T0 + 4 * HOUR


def test_one_that_is_ended_frees_its_gpu_at_once(store: Store) -> None:
    world = World(values=[300.0] * 96, gpus=1)
    engine = engine_of(world, store)
    row = engine.reserved.reserve(
        Reservation(devices=(world.devices[0].id,), start=T0, end=T0 + 9 * HOUR, user="ada"), T0
    )
    submit(store, 1)
    run_until(world, engine, T0 + HOUR)
    assert not world.processes
    assert engine.reserved.end(row.id, user="ada", now=world.now) is not None
    run_until(world, engine, T0 + 3 * HOUR)
    assert len(world.processes) == 1


def test_a_restart_keeps_what_is_reserved(store: Store) -> None:
    world = World(values=[300.0] * 96, gpus=1)
    row = Reservation(devices=(world.devices[0].id,), start=T0, end=T0 + 5 * HOUR, user="ada", reason="a demo")
    engine_of(world, store).reserved.reserve(row, T0)
    submit(store, 1)
    run_until(world, engine_of(world, store), T0 + 8 * HOUR)
    (process,) = world.processes.values()
    assert process.started_at == T0 + 5 * HOUR


def test_a_job_that_never_fits_between_says_what_would_help(store: Store) -> None:
    world = World(values=[300.0] * 96, gpus=1)
    job = submit(store, 30)
    daily = Rule(days=frozenset(range(7)), start_min=9 * 60, end_min=18 * 60, value=1.0)
    every_day = WeeklyReservation(name="days", hours=Weekly.of([daily], None, ZoneInfo("UTC")), gpus=("0",))
    engine = engine_of(world, store, every_day)
    run_until(world, engine, T0 + HOUR)
    reason = engine.plan.reason(job)
    assert reason is not None
    assert reason.code is ReasonCode.RESERVED
    assert "make it interruptible" in reason.text


def test_the_last_gpus_are_taken_where_only_their_number_is_said(store: Store) -> None:
    world = World(values=[300.0] * 96, gpus=3)
    devices = [device.id for device in world.devices]
    assert office(count=2).devices(world.devices) == devices[1:]
    assert office(count=5).devices(world.devices) == devices
    assert office("2", "9", "2").devices(world.devices) == devices[2:]


def test_a_name_in_the_settings_that_is_no_gpus_is_told_with_those_that_there_are(store: Store) -> None:
    world = World(values=[300.0] * 96, gpus=1)
    (said,) = engine_of(world, store, office("0", "7")).reserved.not_there(world.devices)
    assert "devices.reserved.office names 7" in said
    assert world.devices[0].id in said

"""Clocks that are set back and devices that vanish: the books say less then, never something untrue."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.energy.model import Quality, Reading
from greenrun.core.jobs.job import Run, State
from greenrun.core.units import emissions_g
from greenrun.engine import bookkeeping, intensities
from greenrun.meters.recent_readings import RecentReadings
from greenrun.store import Store
from tests.engine.trouble import DAY, HOUR, MINUTE, POWER_W, TICK, Deaf, Hardware, live, only_energy, submit, total_of
from tests.world import SLOT, T0, World, new_engine, open_store, run_until, spec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


# --- a part of a run that no slice covers


def test_a_run_whose_device_fell_silent_has_no_emissions(store: Store) -> None:
    world, job = World([300] * 20, gpus=1), submit(store, 3600)
    live(store, world, 6 * HOUR, lambda reading: reading.at < T0 + 10 * MINUTE)
    booked_j = sum(row.slice.energy_j or 0.0 for row in store.books.entries(job_id=job))
    assert total_of(store, job) == only_energy(booked_j)
    assert 0 < booked_j < world.true_energy_j(job) / 5


def test_a_run_whose_device_was_first_read_late_has_no_emissions(store: Store) -> None:
    world, job = World([300] * 20, gpus=1), submit(store, 3600)
    live(store, world, 3 * HOUR, lambda reading: reading.at >= T0 + 30 * MINUTE)
    assert total_of(store, job) == only_energy(POWER_W * 1800)


def test_a_run_of_which_one_gpu_vanished_has_no_emissions(store: Store) -> None:
    world, job = World([300] * 20, gpus=2), submit(store, 3600, gpus=2)
    gone = world.devices[1].id
    live(store, world, 30 * MINUTE, lambda reading: reading.device != gone or reading.at <= T0 + 10 * MINUTE)
    assert (total_of(store, job).quality, total_of(store, job).emissions_g) == (Quality.UNKNOWN, None)
    live(store, world, 3 * HOUR, lambda reading: reading.device != gone)
    assert total_of(store, job) == only_energy(POWER_W * (3600 + 600))


def test_a_gpu_that_comes_back_with_its_counter_completes_its_runs(store: Store) -> None:
    world, job = World([300] * 200, gpus=2), submit(store, 3600, gpus=2)
    gone = world.devices[1].id
    away = (T0 + 10 * MINUTE, T0 + 30 * HOUR)
    live(store, world, 31 * HOUR, lambda reading: reading.device != gone or not away[0] <= reading.at < away[1])
    total = total_of(store, job)
    assert total.quality is Quality.BRIDGED
    assert total.energy_j is not None
    assert total.settled_g == pytest.approx(emissions_g(total.energy_j, 300), rel=1e-9)


def test_a_gpu_that_comes_back_with_another_counter_leaves_what_it_missed_unknown(store: Store) -> None:
    world = World([300] * 200, gpus=1)
    missed, later = submit(store, 3600), submit(store, 3600, start_after=T0 + 3 * DAY)
    live(store, world, 10 * MINUTE)
    live(store, world, 2 * DAY, lambda _: False)
    world.counters.name, world.sampled = "boot-2", RecentReadings()
    live(store, world, 3 * DAY + 2 * HOUR)
    assert (total_of(store, missed).quality, total_of(store, missed).settled_g) == (Quality.UNKNOWN, None)
    assert total_of(store, later).energy_j == pytest.approx(POWER_W * 3600, rel=1e-9)
    assert total_of(store, later).settled_g == pytest.approx(emissions_g(POWER_W * 3600, 300), rel=1e-9)


def test_a_last_reading_that_is_late_leaves_a_run_unknown_only_until_it_comes(store: Store) -> None:
    world, job = World([300] * 20, gpus=1), submit(store, 1800)
    silent = (T0 + 25 * MINUTE, T0 + 45 * MINUTE)
    deaf = new_engine(world, store, Deaf(world.meter(), lambda one: world.now < silent[0]), tick=TICK)  # type: ignore[arg-type]
    run_until(world, deaf, silent[1])
    assert (total_of(store, job).quality, total_of(store, job).emissions_g) == (Quality.UNKNOWN, None)
    live(store, world, 50 * MINUTE)
    assert total_of(store, job).energy_j == pytest.approx(POWER_W * 1800, rel=1e-9)
    assert total_of(store, job).settled_g == pytest.approx(emissions_g(POWER_W * 1800, 300), rel=1e-9)


def test_a_device_that_vanished_keeps_nothing_in_memory_and_nobody_waiting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_for = 6 * HOUR
    monkeypatch.setattr(intensities, "KEPT_FOR", kept_for)
    world = World([300] * 100, gpus=2)
    gone, since = world.devices[1].id, list[datetime]()
    asked = store.books.holds
    store.books.holds = lambda instant: (since.append(instant), asked(instant))[1]  # type: ignore[method-assign]
    engine = live(store, world, 3 * kept_for, lambda reading: reading.device != gone or reading.at <= T0 + MINUTE)
    (known,) = engine.zone.intensities.forecasts()
    assert since[-1] > world.now - 2 * SLOT
    assert known.start is not None
    assert known.start >= world.now - kept_for - SLOT


# --- the clock


def test_a_clock_set_back_between_two_runs_stops_nothing(store: Store) -> None:
    """The second run of a GPU seems to start before the first had ended."""
    world = World([300] * 20, gpus=1)
    first, second = submit(store, 60), submit(store, 600)
    other = store.jobs.add_job(spec(60, gpus=0, start_now=True), user="ada", uid=1, now=T0)[0].id
    engine = new_engine(world, store, world.meter())
    engine.refresh(world.now)
    engine.tick(world.now)
    world.now = T0 + timedelta(seconds=61)
    begin = world.start

    def start_later(run: Run, job: Any) -> None:
        world.now -= timedelta(seconds=5)
        begin(run, job)

    world.start = start_later  # type: ignore[method-assign]
    engine.tick(world.now)
    run_until(world, engine, T0 + HOUR)
    assert {store.jobs.job(job).state for job in (first, second, other)} == {State.SUCCEEDED}
    assert total_of(store, first).energy_j == pytest.approx(POWER_W * 60, rel=1e-9)
    assert total_of(store, second).emissions_g is None
    assert engine._books.failures["overlap"] > 0


def test_a_device_that_cannot_be_booked_keeps_no_other_waiting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    world, cut = World([300] * 20, gpus=2), bookkeeping.cut
    bad = world.devices[0].id

    def fails(mark: Any, rows: Sequence[Reading], *others: Any, **more: Any) -> Any:
        if rows[0].device == bad:
            raise ValueError("two runs hold it at the same time")
        return cut(mark, rows, *others, **more)

    monkeypatch.setattr(bookkeeping, "cut", fails)
    job = submit(store, 1800, gpus=2)
    engine = live(store, world, HOUR)
    assert store.jobs.job(job).state is State.SUCCEEDED
    assert {row.slice.device for row in store.books.entries()} == {world.devices[1].id}
    assert engine._books.failures["cut"] > 1
    monkeypatch.undo()
    live(store, world, 2 * HOUR)
    assert {row.slice.device for row in store.books.entries()} == {device.id for device in world.devices}


def test_when_the_clock_is_set_back_an_hour_booking_goes_on_and_nobody_gets_that_hours_energy(store: Store) -> None:
    gpu = Hardware(store)
    gpu.pass_time(30 * MINUTE)
    before = gpu.begin()
    gpu.pass_time(10 * MINUTE)
    gpu.end()
    across = gpu.begin()
    gpu.pass_time(20 * MINUTE)
    gpu.clock -= HOUR
    gpu.pass_time(5 * MINUTE)
    gpu.end()
    after = gpu.begin()
    gpu.pass_time(90 * MINUTE)
    gpu.end()
    gpu.pass_time(MINUTE)
    assert gpu.total(before).energy_j == POWER_W * 600
    assert gpu.total(before).quality is Quality.MEASURED
    assert (gpu.total(across).quality, gpu.total(across).emissions_g) == (Quality.UNKNOWN, None)
    assert gpu.total(after).energy_j == pytest.approx(POWER_W * 5400, rel=1e-9)
    assert gpu.total(after).quality is Quality.MEASURED
    assert gpu.books.failures == Counter(clock=1)


def test_a_run_that_began_just_before_the_clock_was_set_back_never_looks_complete(store: Store) -> None:
    """Its start lies ahead of the clock: once that has come round, every second of it seems to be booked."""
    gpu = Hardware(store)
    gpu.pass_time(HOUR)
    run = gpu.begin()
    gpu.pass_time(timedelta(seconds=20))
    gpu.clock -= HOUR
    gpu.pass_time(90 * MINUTE)
    gpu.end()
    assert (gpu.total(run).quality, gpu.total(run).emissions_g, gpu.total(run).settled_g) == (
        Quality.UNKNOWN, None, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    "steps", [[-3600], [-3600, -1800], [-70], [-30], [-5, -5], [3600, -3600], [-3600, 7200, -90_000]]
)
def test_however_the_clock_is_set_no_energy_is_booked_twice_or_in_no_time(store: Store, steps: list[int]) -> None:
    gpu = Hardware(store)
    gpu.pass_time(20 * MINUTE)
    for step in steps:
        gpu.begin()
        gpu.pass_time(4 * MINUTE)
        gpu.clock += timedelta(seconds=step)
        gpu.pass_time(4 * MINUTE)
        gpu.end()
    gpu.pass_time(HOUR + 10 * MINUTE)
    energies = [(piece.energy_j or 0.0, (piece.end - piece.start).total_seconds()) for piece in gpu.slices()]
    booked_j = sum(energy_j for energy_j, _ in energies)
    assert 0.5 * gpu.used_j < booked_j <= gpu.used_j * (1 + 1e-9)
    assert max(energy_j - POWER_W * seconds for energy_j, seconds in energies) <= POWER_W * 71


@pytest.mark.parametrize("ticks_after", [0, 20])
def test_a_run_whose_end_another_clock_tells_gets_what_was_used_until_it_was_seen_to_end(
    store: Store, ticks_after: int
) -> None:
    """The wall clock was set by five hours after four seconds of twelve, and what recorded its end did not follow."""
    gpu = Hardware(store)
    gpu.pass_time(30 * MINUTE)
    run = gpu.begin()
    began = gpu.clock
    gpu.pass_time(timedelta(seconds=4))
    gpu.tick()
    gpu.clock += 5 * HOUR
    gpu.pass_time(timedelta(seconds=8))
    gpu.tick()
    gpu.end(began + timedelta(seconds=12))
    gpu.pass_time(timedelta(seconds=ticks_after))
    gpu.tick()
    gpu.pass_time(3 * MINUTE)
    assert (gpu.total(run).energy_j, gpu.total(run).quality) == (pytest.approx(POWER_W * 12), Quality.BRIDGED)


def test_marks_in_the_future_do_not_stop_the_books_and_are_told_once(store: Store) -> None:
    """As when a clock was a day ahead, and was put right while the daemon was down."""
    world = World([300] * 20, gpus=1)
    live(store, world, 5 * MINUTE)
    marks = [replace(mark, at=mark.at + DAY) for mark in store.books.marks().values()]
    store.books.append_slices([], marks, now=world.now)
    job = store.jobs.add_job(spec(3600, start_after=T0 + 10 * MINUTE), user="ada", uid=1, now=T0)[0].id
    engine = live(store, world, 3 * HOUR)
    assert engine._books.failures == Counter(clock=1)
    assert total_of(store, job).settled_g == pytest.approx(emissions_g(POWER_W * 3600, 300), rel=1e-9)

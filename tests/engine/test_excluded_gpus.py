"""A GPU that the settings exclude: no job gets it, and its energy is nobody's or in no book."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.core.jobs.job import State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.store import Store
from tests.engine.trouble import submit
from tests.world import T0, WATTS, World, new_engine, open_store, run_until

HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


def excluding(last: int, *, booked: bool = True) -> World:
    """A world of that many GPUs, the last of which is excluded."""
    world = World(values=[300.0] * 48, gpus=last + 1)
    (*others, kept) = world.devices
    world.devices = (*others, replace(kept, excluded=str(last), booked=booked))
    return world


def energy_j(store: Store, device: str) -> float | None:
    return store.books.counters().get(("greenrun_gpu_energy_joules_total", (("gpu_uuid", device),)))


def test_no_job_gets_it_and_one_that_needs_it_is_told(store: Store) -> None:
    world = excluding(1)
    jobs = [submit(store, 600.0) for _ in range(3)]
    big = submit(store, 600.0, gpus=2)
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + 2 * HOUR)
    assert {device for process in world.processes.values() for device in process.devices} == {world.devices[0].id}
    assert [store.jobs.job(job).state for job in jobs] == [State.SUCCEEDED] * 3
    why = engine.plan.reason(big)
    assert why is not None
    assert why.code is ReasonCode.TOO_FEW_GPUS
    (absence,) = engine.availability.state(world.devices[1], world.now).absences
    assert absence.code is ReasonCode.EXCLUDED


def test_its_energy_is_in_the_books_as_nobodys(store: Store) -> None:
    world = excluding(1)
    run_until(world, new_engine(world, store, world.meter()), T0 + HOUR)
    assert energy_j(store, world.devices[1].id) == pytest.approx(WATTS.idle * 3600, rel=0.02)


def test_what_is_unmanaged_is_in_no_book(store: Store) -> None:
    world = excluding(1, booked=False)
    run_until(world, new_engine(world, store, world.meter()), T0 + HOUR)
    assert energy_j(store, world.devices[1].id) is None
    assert energy_j(store, world.devices[0].id) == pytest.approx(WATTS.idle * 3600, rel=0.02)

"""Boards that are given out in parts: who gets one, what keeps jobs from it, and whose its energy is."""

from collections.abc import Iterator
from datetime import timedelta
from math import fsum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.gpu_parts import board_of, excludes, slots_of
from greenrun.core.energy.model import Device, boards, gpus
from greenrun.core.jobs.availability import Drain
from greenrun.core.jobs.job import State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.meters.emulation.power_model import EMULATED
from greenrun.store import Store
from tests.engine.trouble import submit
from tests.sampling import examples
from tests.world import T0, WATTS, World, new_engine, open_store, run_until

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


def divided(*, slots: int = 3) -> World:
    """A world of a board with slots, one with two MIG instances, and a whole one."""
    world = World(values=[300.0] * 48, gpus=3)
    shared, *others = EMULATED.devices("world", 3, WATTS, {"1": ("1g.10gb", "2g.20gb")})
    world.devices = (*slots_of(shared, slots), *others)
    return world


def held(world: World, job: int) -> str:
    (process,) = [one for one in world.processes.values() if one.job_id == job]
    (device,) = process.devices
    return next(known.name for known in world.devices if known.id == device)


def test_a_part_is_for_who_allows_it_or_names_its_profile(store: Store) -> None:
    world = divided()
    whole, named = submit(store, 600.0), submit(store, 600.0, gpu_model="2g.20gb")
    shared = [submit(store, 600.0, shared=True) for _ in range(4)]
    waits = [submit(store, 600.0, gpus=2), submit(store, 600.0, gpu_model="3g.40gb")]
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + HOUR)
    assert (held(world, whole), held(world, named)) == ("2", "1/mig-1")
    assert {held(world, job) for job in shared} == {"0/slot-1", "0/slot-2", "0/slot-3", "1/mig-0"}
    reasons = [engine.plan.reason(job) for job in waits]
    assert [why.code for why in reasons if why] == [ReasonCode.TOO_FEW_GPUS] * 2


def test_what_is_drained_on_a_board_is_drained_on_its_parts(store: Store) -> None:
    world = divided()
    world.devices = tuple(device for device in world.devices if device.index == 0)
    (board,) = boards(world.devices)
    engine = new_engine(world, store, world.meter())
    engine.availability.drain([Drain(device=board.id, user="ada", since=T0, reason="fan")])
    job = submit(store, 600.0, shared=True)
    run_until(world, engine, T0 + HOUR)
    assert store.jobs.job(job).state is State.QUEUED
    why = engine.plan.reason(job)
    assert why is not None
    assert why.code is ReasonCode.DRAINED
    engine.availability.resume([board.id], user="ada", now=world.now)
    run_until(world, engine, T0 + 2 * HOUR)
    assert store.jobs.job(job).state is State.SUCCEEDED


def test_a_slot_that_is_held_keeps_the_board_from_others_after_it_is_no_longer_shared(store: Store) -> None:
    world = divided()
    board = Device(id=world.devices[0].id, index=0, model="", source="emulated", power_w=WATTS.busy)
    world.devices = tuple(device for device in world.devices if device.index == 0)
    first = submit(store, 1800.0, shared=True)
    run_until(world, new_engine(world, store, world.meter()), T0 + 5 * MINUTE)
    assert store.jobs.job(first).state is State.RUNNING
    world.devices = (board,)
    second, engine = submit(store, 600.0), new_engine(world, store, world.meter())
    run_until(world, engine, T0 + 15 * MINUTE)
    assert (store.jobs.job(first).state, store.jobs.job(second).state) == (State.RUNNING, State.QUEUED)
    run_until(world, engine, T0 + 2 * HOUR)
    assert [store.jobs.job(job).state for job in (first, second)] == [State.SUCCEEDED] * 2


JOBS = st.lists(
    st.tuples(st.integers(30, 1500), st.sampled_from(["shared", "whole", "2g.20gb"]), st.integers(0, 30)),
    min_size=1, max_size=9,
)  # fmt: skip


@examples(12)
@given(JOBS, st.integers(2, 4))
def test_nothing_is_given_twice_and_energies_add_up_to_the_boards(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, int]], slots: int
) -> None:
    world = divided(slots=slots)
    with open_store(tmp_path_factory.mktemp("parts")) as store:
        engine = new_engine(world, store, world.meter())
        for seconds, kind, pause in sorted(rows, key=lambda row: row[2]):
            run_until(world, engine, T0 + pause * MINUTE)
            wishes = {"shared": {"shared": True}, "whole": {}}.get(kind, {"gpu_model": kind})
            submit(store, float(seconds), **wishes)
        run_until(world, engine, T0 + 6 * HOUR)
        counters = store.books.counters()
    processes = list(world.processes.values())
    assert len(processes) == len(rows)
    leasable = {device.id for device in gpus(world.devices)}
    for number, one in enumerate(processes):
        assert set(one.devices) <= leasable
        for other in processes[number + 1 :]:
            if one.started_at < other.ends_at and other.started_at < one.ends_at:
                assert not any(excludes(mine, theirs) for mine in one.devices for theirs in other.devices)
    used = {dict(labels)["gpu_uuid"]: j for (name, labels), j in counters.items() if name == GPU_ENERGY}
    assert used.keys() == {board.id for board in boards(world.devices)}
    runs_j = fsum(j for (name, _), j in counters.items() if name == "greenrun_job_energy_joules_total")
    nobody_j = fsum(
        j for (name, labels), j in counters.items() if name == NOBODYS and dict(labels)["component"] == "gpu"
    )
    assert runs_j + nobody_j == pytest.approx(fsum(used.values()), rel=1e-9)
    assert {board_of(device) for one in processes for device in one.devices} <= used.keys()


GPU_ENERGY = "greenrun_gpu_energy_joules_total"
NOBODYS = "greenrun_unattributed_energy_joules_total"

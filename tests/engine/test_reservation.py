"""In the scripted world: no flow of small jobs that say too little keeps a large one waiting for ever."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.core.jobs.job import FINISHED, JobSpec, State
from greenrun.store import Store
from tests.world import T0, World, command, new_engine, open_store, spec

TICK = timedelta(seconds=1)
FLAT = [300.0] * 20


def add(store: Store, asked: JobSpec, world: World) -> int:
    return store.jobs.add_job(asked, user="ada", uid=1, now=world.now)[0].id


def optimist(says_s: float, takes_s: float, **more: object) -> JobSpec:
    """A job that says less than it takes."""
    return spec(says_s, command=command(takes_s), gpus=1, start_now=True, **more)


def are_over(store: Store, jobs: Sequence[int]) -> bool:
    """Whether all of them have ended, so that nothing is left to be seen of them."""
    return set(store.jobs.job_states(jobs).values()) <= FINISHED


@pytest.mark.parametrize("restarts", [False, True], ids=["one daemon", "a restart each 5 s"])
def test_a_large_job_is_overtaken_by_no_more_optimists_once_its_start_has_slipped(
    tmp_path: Path, *, restarts: bool
) -> None:
    """Four GPUs are busy; then come a job for all four, and 24 small ones that run 6 s and say 1 s."""
    world, store = World(FLAT, gpus=4), open_store(tmp_path)
    for length_s in (20, 22, 24, 30):
        add(store, spec(length_s, gpus=1, start_now=True), world)
    engine = new_engine(world, store, world.meter())
    engine.refresh(world.now)
    engine.tick(world.now)
    large = add(store, spec(60, gpus=4, start_now=True), world)
    small = [add(store, optimist(1, 6), world) for _ in range(24)]
    for second in range(400):
        if restarts and second % 5 == 0:
            engine = new_engine(world, store, world.meter())
            engine.refresh(world.now)
        engine.tick(world.now)
        world.now += TICK
        if are_over(store, [large, *small]):
            break
    before = world.launches[4 : world.launches.index(large)]
    assert len(before) <= 8, "those that were let run before its start had slipped"
    assert set(store.jobs.job_states([large, *small]).values()) == {State.SUCCEEDED}


def test_a_flow_of_optimists_that_never_ends_lets_each_large_job_start_in_turn(tmp_path: Path) -> None:
    world, store = World(FLAT, gpus=3), open_store(tmp_path)
    engine = new_engine(world, store, world.meter())
    engine.refresh(world.now)
    large = []
    for second in range(600):
        if second % 2 == 0:
            add(store, optimist(1, 7), world)
        if second in (30, 60):
            large.append(add(store, spec(20, gpus=3, start_now=True), world))
        engine.tick(world.now)
        world.now += TICK
        if second > 60 and are_over(store, large):
            break
    assert set(store.jobs.job_states(large).values()) == {State.SUCCEEDED}
    started = [min(run.started_at for run in own if run.started_at) for own in store.runs.of_jobs(large).values()]
    assert started == sorted(started)
    assert started[0] - T0 <= timedelta(seconds=60)
    assert started[1] - T0 <= timedelta(seconds=120)


def test_small_jobs_still_run_beside_a_large_one_that_waits_for_what_was_foreseen(tmp_path: Path) -> None:
    world, store = World(FLAT, gpus=2), open_store(tmp_path)
    add(store, spec(100, gpus=1, start_now=True), world)
    engine = new_engine(world, store, world.meter())
    engine.refresh(world.now)
    engine.tick(world.now)
    large, small = add(store, spec(10, gpus=2, start_now=True), world), add(store, optimist(50, 50), world)
    for _ in range(130):
        engine.tick(world.now)
        world.now += TICK
        if are_over(store, [large, small]):
            break
    assert world.launches[1:] == [small, large]
    assert set(store.jobs.job_states([large, small]).values()) == {State.SUCCEEDED}


@pytest.mark.parametrize("ends_s", [22.0, 22.5, 23.0])
@pytest.mark.parametrize("apart_s", [0.3, 0.7])
def test_no_optimist_passes_a_large_job_on_a_plan_that_was_made_before_its_start_slipped(
    tmp_path: Path, ends_s: float, apart_s: float
) -> None:
    """Four GPUs are busy with jobs that overrun and end together, within what a plan takes for on time."""
    world, store = World(FLAT, gpus=4), open_store(tmp_path)
    engine = new_engine(world, store, world.meter())
    engine.refresh(world.now)
    blockers, small, large = list[int](), list[int](), 0
    for quarter in range(240):
        second = quarter / 4
        while len(blockers) < 4 and second >= len(blockers) * apart_s:
            blockers.append(add(store, optimist(1, ends_s - second), world))
        if second == 20:
            large = add(store, spec(10, gpus=4, start_now=True), world)
            small = [add(store, optimist(1, 6), world) for _ in range(24)]
        engine.tick(world.now)
        world.now += TICK / 4
        if large in world.launches:
            break
    assert world.launches == [*blockers, large]
    assert set(small).isdisjoint(world.launches)

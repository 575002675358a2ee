"""The engine counts how often a new plan moves a waiting job, and a restart forgets no promise."""

from pathlib import Path

from greenrun.core.planning.stability import MOST_PUT_OFFS
from tests.world import SLOT, T0, World, new_engine, open_store, spec


def clean_in(slot: int) -> list[float]:
    return [100.0 if index == slot else 300.0 for index in range(40)]


def test_only_a_job_that_is_moved_counts_as_a_change_of_plan(tmp_path: Path) -> None:
    world, store = World([300, 300, 100, 300, 300, 300]), open_store(tmp_path)
    store.jobs.add_job(spec(1800, max_delay=4 * SLOT), user="ada", uid=1, now=T0)
    engine = new_engine(world, store, world.meter())
    counts = []
    for values in ([300, 300, 100, 300, 300, 300], [300, 300, 90, 300, 300, 300], [300, 300, 300, 300, 50, 300]):
        world.values = values
        engine.refresh(T0)
        engine.tick(T0)
        counts.append((engine.planning.changes, engine.planning.put_offs))
    assert counts == [(0, 0), (0, 0), (1, 1)]
    store.close()


def test_a_job_that_is_moved_forward_was_not_put_off(tmp_path: Path) -> None:
    world, store = World([]), open_store(tmp_path)
    store.jobs.add_job(spec(1800), user="ada", uid=1, now=T0)
    engine, counts = new_engine(world, store, world.meter()), []
    for slot in (20, 10, 20, 21):
        world.values = clean_in(slot)
        engine.refresh(T0)
        engine.tick(T0)
        counts.append((engine.planning.changes, engine.planning.put_offs))
    assert counts == [(0, 0), (1, 0), (2, 0), (3, 1)]
    store.close()


def test_however_often_the_daemon_restarts_a_job_is_put_off_so_often_and_no_more(tmp_path: Path) -> None:
    world, store = World([]), open_store(tmp_path)
    store.jobs.add_job(spec(1800), user="ada", uid=1, now=T0)
    starts, put_offs = [], 0
    for slot in range(10, 10 + MOST_PUT_OFFS + 3):
        world.values = clean_in(slot)
        engine = new_engine(world, store, world.meter())
        engine.refresh(T0)
        engine.tick(T0)
        put_offs += engine.planning.put_offs
        starts.append((engine.plan.placements[0].start - T0) / SLOT)
    last = 10 + MOST_PUT_OFFS
    assert starts == [*range(10, last + 1), last, last]
    assert put_offs == MOST_PUT_OFFS
    store.close()

"""The engine counts how often a new plan moves a waiting job."""

from pathlib import Path

from tests.world import SLOT, T0, World, new_engine, open_store, spec


def test_only_a_job_that_is_moved_counts_as_a_change_of_plan(tmp_path: Path) -> None:
    world, store = World([300, 300, 100, 300, 300, 300]), open_store(tmp_path)
    store.add_job(spec(1800, max_delay=4 * SLOT), user="ada", uid=1, now=T0)
    engine = new_engine(world, store, world.meter())
    counts = []
    for values in ([300, 300, 100, 300, 300, 300], [300, 300, 90, 300, 300, 300], [300, 300, 300, 300, 50, 300]):
        world.values = values
        engine.refresh(T0)
        engine.tick(T0)
        counts.append(engine.plan_changes)
    assert counts == [0, 0, 1]
    store.close()

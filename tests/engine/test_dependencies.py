"""In the scripted world: jobs start after those they wait for, and a restarted daemon goes on with the same plan."""

from datetime import timedelta
from pathlib import Path

from greenrun.core.jobs.job import After, ArrayPlace, Dependency, Job, JobSpec, State
from greenrun.core.jobs.reasons import ReasonCode
from greenrun.store import Store
from tests.world import SLOT, T0, World, new_engine, open_store, run_until, spec

DAY = [300, 300, 100, 300, 200, 300, 50, 300, 300, 300]


def add(store: Store, asked: JobSpec) -> Job:
    return store.jobs.add_job(asked, user="ada", uid=1, now=T0)[0]


def after(job: Job, on: After = After.OK) -> tuple[Dependency, ...]:
    return (Dependency(job_id=job.id, on=on),)


def test_a_job_starts_when_the_one_before_it_has_succeeded_and_a_chain_falls_with_its_first(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    good = add(store, spec(600, start_now=True))
    bad = add(store, spec(600, exit_code=1, start_now=True))
    second = add(store, spec(600, start_now=True, after=after(good)))
    whatever = add(store, spec(600, start_now=True, after=after(bad, After.ANY)))
    lost = add(store, spec(600, start_now=True, after=after(bad)))
    last = add(store, spec(600, start_now=True, after=after(lost)))
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + timedelta(minutes=5))
    reason = store.jobs.job(second.id).reason
    assert reason is not None
    at = "2026-03-02 00:10:00Z"
    assert (reason.code, reason.text) == (
        ReasonCode.WAITS_FOR, f"waits for job {good.id} to succeed and is planned for {at}",
    )  # fmt: skip
    run_until(world, engine, T0 + SLOT)
    states = store.jobs.job_states([second.id, whatever.id, lost.id, last.id])
    assert list(states.values()) == [State.SUCCEEDED, State.SUCCEEDED, State.CANCELLED, State.CANCELLED]
    told = [store.jobs.job(job.id).reason for job in (lost, last)]
    assert [row and row.code for row in told] == [ReasonCode.DEPENDENCY_FAILED] * 2
    assert world.launches == [good.id, bad.id, second.id, whatever.id]


def test_no_more_of_an_array_run_at_once_than_its_limit(tmp_path: Path) -> None:
    world, store = World(DAY, gpus=4), open_store(tmp_path)
    jobs = [
        add(store, spec(600, start_now=True, array=ArrayPlace(key="a", index=index, size=5, at_once=2)))
        for index in range(5)
    ]
    engine, most = new_engine(world, store, world.meter()), 0
    while world.now < T0 + 2 * SLOT:
        world.now = min(engine.tick(world.now), world.now + timedelta(minutes=3))
        most = max(most, sum(process.ends_at > world.now for process in world.processes.values()))
    assert most == 2
    assert set(store.jobs.job_states([job.id for job in jobs]).values()) == {State.SUCCEEDED}


def test_a_restarted_daemon_has_the_plan_that_it_had(tmp_path: Path) -> None:
    world, store = World(DAY), open_store(tmp_path)
    for slots in (2, 3, 6):
        add(store, spec(1800, max_delay=slots * SLOT))
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + timedelta(minutes=1))
    again = new_engine(world, store, world.meter())
    assert again.plan.decides_as(engine.plan)
    assert len(again.plan.placements) == 3


def test_a_job_leaves_time_for_the_one_after_it_which_starts_when_it_has_ended_although_late(tmp_path: Path) -> None:
    """The first takes 25 minutes longer than it said, so the second starts when it was not planned to."""
    world, store = World(DAY), open_store(tmp_path)
    first = add(store, spec(3900, duration=timedelta(minutes=40)))
    second = add(store, spec(1800, after=after(first), finish_by=T0 + 3.5 * SLOT))
    engine = new_engine(world, store, world.meter())
    engine.refresh(T0)
    engine.planning.replan(engine.situation(T0))
    placed = engine.plan.placements
    assert [row.job_id for row in placed] == [first.id, second.id]
    assert placed[0].end <= placed[1].start <= T0 + 2.5 * SLOT
    run_until(world, engine, T0 + 4 * SLOT)
    runs = {process.job_id: process for process in world.processes.values()}
    assert runs[second.id].started_at >= runs[first.id].ends_at
    assert runs[second.id].ends_at <= T0 + 3.5 * SLOT

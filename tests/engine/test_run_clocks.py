"""A run that another clock dates: what it used is unknown where its own time cannot be told, and nobody else's."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from greenrun.core.energy.ledger import Total
from greenrun.core.energy.model import Quality
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.status import RunStatus
from greenrun.store import Store
from tests.engine.trouble import HOUR, MINUTE, submit, total_of
from tests.world import T0, WATTS, World, new_engine, open_store, run_until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


class Elsewhere(World):
    """A world whose first job is under a supervisor with another clock, of which nothing else is known."""

    off = timedelta(hours=-5)

    def poll(self, run: Run) -> RunStatus:
        status = super().poll(run)
        if run.job_id != 1 or status.started_at is None:
            return status
        ended_at, ran = status.ended_at, None
        if ended_at is not None:
            ended_at, ran = ended_at + self.off, ended_at - status.started_at
        return replace(status, started_at=status.started_at + self.off, ended_at=ended_at, ran=ran)


@pytest.mark.parametrize("hours", [-5, 5, -400, 0.01])
def test_what_a_run_used_that_another_clock_dates_is_unknown_and_what_others_used_is_not(
    store: Store, hours: float
) -> None:
    world = Elsewhere([300] * 20, gpus=2)
    world.off = timedelta(hours=hours)
    jobs = [submit(store, 180.0), submit(store, 240.0)]
    run_until(world, new_engine(world, store, world.meter()), T0 + 8 * MINUTE, step=timedelta(seconds=7))
    assert total_of(store, jobs[0]) == Total()
    assert total_of(store, jobs[1]).energy_j == pytest.approx(WATTS.busy * 240, rel=1e-9)
    assert total_of(store, jobs[1]).quality is Quality.MEASURED
    (run,) = store.runs.of_jobs(jobs)[jobs[0]]
    assert run.length == timedelta(seconds=180)
    assert run.started_at == run.claimed_at
    assert run.ended_at is not None
    assert timedelta(seconds=180) <= run.ended_at - run.claimed_at <= timedelta(seconds=180 + 8)


def test_a_run_that_the_clock_was_set_under_keeps_its_start_and_its_length(store: Store) -> None:
    world = World([300] * 20, gpus=1)
    job = submit(store, 1800.0)
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + 10 * MINUTE)
    (process,) = world.processes.values()
    began = process.started_at

    class Counted:
        """The world, whose supervisors count the seconds; their clock was set forward an hour since."""

        def __getattr__(self, name: str) -> object:
            return getattr(world, name)

        def poll(self, run: Run) -> RunStatus:
            status = replace(world.poll(run), started_at=began + HOUR)
            return replace(status, ran=timedelta(minutes=30)) if status.ended_at else status

    engine = new_engine(world, store, world.meter(), wrap=lambda port, name: Counted() if name == "executor" else port)
    run_until(world, engine, T0 + HOUR)
    (run,) = store.runs.of_jobs([job])[job]
    assert (run.started_at, run.length) == (began, timedelta(minutes=30))
    assert total_of(store, job).energy_j == pytest.approx(WATTS.busy * 1800, rel=1e-9)

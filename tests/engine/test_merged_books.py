"""A daemon that goes on keeps its books small by itself, and says of a job what it said before."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from greenrun.core.energy.ledger import Total
from greenrun.store import Store
from greenrun.store.ledger import merged_slices
from greenrun.store.ledger.counters import EMISSIONS, JOB_ENERGY, SETTLED_EMISSIONS
from tests.engine.day import counted
from tests.world import SLOT, T0, WATTS, World, new_engine, open_store, run_until, spec

HOUR = timedelta(hours=1)
DAY = 24 * HOUR


def used(store: Store, job: int) -> Total:
    (run,) = store.runs.of_jobs([job])[job]
    return store.books.run_totals([run.id])[run.id]


def early(store: Store) -> list[datetime]:
    """When the slices of the first six hours begin."""
    starts = [row.slice.start for row in store.books.entries(limit=100_000)]
    return [start for start in starts if start < T0 + 6 * HOUR]


def test_the_day_before_keeps_its_figures_in_fewer_rows(tmp_path: Path) -> None:
    world = World([310.0, 150.5, 87.25, 244.0] * 40)
    with open_store(tmp_path) as store:
        job = store.jobs.add_job(spec(3000, gpus=2, start_now=True), user="ada", uid=1, now=T0)[0].id
        engine = new_engine(world, store, world.meter(), tick=SLOT)
        run_until(world, engine, T0 + 6 * HOUR)
        before, rows = used(store, job), early(store)
        assert before.avoided_g is not None
        run_until(world, engine, T0 + 2 * DAY)
        assert len(early(store)) < len(rows) / 10
        after = used(store, job)
        for name in ("energy_j", "emissions_g", "settled_g", "baseline_g", "avoided_g"):
            assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-9, abs=1e-12)
        same = {
            name: getattr(before, name) for name in ("quality", "gpu_energy_j", "utilization", "utilization_coverage")
        }
        assert {name: getattr(after, name) for name in same} == same


def test_joules_and_grams_of_a_long_job_survive_restarts_and_merging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the job itself, and of the counters of its project, while it goes on and once it has ended."""
    monkeypatch.setattr(merged_slices, "AGED_AFTER", timedelta(hours=2))  # else it would take a week
    world = World([310.0, 150.5, 87.25, 244.0] * 50, gpus=1)
    long, kept = 41 * HOUR, None
    job = 0
    for hour in (5, 22, 38, 72):
        with open_store(tmp_path) as store:
            if not job:
                job = store.jobs.add_job(spec(long.total_seconds(), start_now=True), user="ada", uid=1, now=T0)[0].id
            else:
                assert figures(store, job) == kept
            engine = new_engine(world, store, world.meter(), tick=SLOT)
            run_until(world, engine, T0 + hour * HOUR)
            true_j = WATTS.busy * min(world.now - T0, long).total_seconds()
            total = used(store, job)
            assert total.energy_j == pytest.approx(true_j, rel=1e-9)
            assert counted(store, JOB_ENERGY) == pytest.approx(true_j, rel=1e-9)
            assert counted(store, EMISSIONS) == pytest.approx(total.emissions_g, rel=1e-9)
            kept = figures(store, job)
    with open_store(tmp_path) as store:
        assert counted(store, SETTLED_EMISSIONS) == pytest.approx(used(store, job).settled_g, rel=1e-9)
        assert len(store.books.entries(limit=100_000)) < 1.6 * 1440


def figures(store: Store, job: int) -> tuple[object, ...]:
    """All that is told of a job and its project."""
    (run,) = store.runs.of_jobs([job])[job]
    live = store.books.running_totals([run.id])[run.id]
    return used(store, job), live.energy_j, live.emissions_g, store.books.counters()

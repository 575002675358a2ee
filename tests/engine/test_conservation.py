"""In the books of a day, what runs used and what nobody used is what the devices used, however it is added up."""

import tempfile
from math import fsum
from pathlib import Path

import pytest
from hypothesis import given

from greenrun.core.jobs.job import JobSpec
from tests.engine.day import BEATS, DAY, JOBS, Beat, counted, tick_through
from tests.sampling import examples
from tests.world import T0, World, open_store


@examples(3)
@given(jobs=JOBS, beat=BEATS)
def test_runs_and_nobody_together_use_what_the_devices_use(jobs: list[JobSpec], beat: Beat) -> None:
    """Slices, runs, counters and the devices' own meters agree to a billionth, over ticks, restarts and gaps."""
    world = World(DAY)
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder)) as store:
        ids = [store.jobs.add_job(one, user="ada", uid=1, now=T0)[0].id for one in jobs]
        tick_through(world, store, beat)
        runs = [run.id for rows in store.runs.of_jobs(ids).values() for run in rows]
        of_runs = fsum(total.energy_j or 0.0 for total in store.books.run_totals(runs).values())
        slices = [entry.slice for entry in store.books.entries(limit=10_000)]
        of_nobody = fsum(piece.energy_j or 0.0 for piece in slices if piece.run_id is None)
        of_devices = fsum(mark.energy_j for mark in store.books.marks().values())
        assert of_runs > 0
        assert of_runs + of_nobody == pytest.approx(of_devices, rel=1e-9)
        assert fsum(piece.energy_j or 0.0 for piece in slices) == pytest.approx(of_devices, rel=1e-9)
        assert counted(store, "greenrun_job_energy_joules_total") == pytest.approx(of_runs, rel=1e-9)
        assert counted(store, "greenrun_unattributed_energy_joules_total") == pytest.approx(of_nobody, rel=1e-9)
        assert counted(store, "greenrun_energy_joules_total") == pytest.approx(of_devices, rel=1e-9)

"""Avoided emissions of jobs that the engine itself put off, against what the world's own figures say."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.jobs.transitions import Intent
from greenrun.core.units import emissions_g
from greenrun.reports.build import Reports, ReportSettings
from greenrun.store import Store
from tests.world import T0, WATTS, World, new_engine, open_store, run_until, spec

HOUR = timedelta(hours=1)
CLEAN_AT = 6  # from this hour on the grid is clean
VALUES = [400] * (2 * CLEAN_AT) + [100] * 40


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


def live(store: Store, *specs: Any, gpus: int = 1, values: list[int] = VALUES) -> dict[str, Any]:
    """Let a world run these jobs for a day, and report them."""
    world = World(values, gpus=gpus)
    store.jobs.add_jobs(specs, user="ada", uid=1, now=T0)
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + 15 * HOUR)
    reports = Reports(store.archive, lambda: world.devices, ReportSettings(zone="GB"))
    return reports.report(T0, T0 + 15 * HOUR, "job", world.now).document()


def grams(hours: float, g_per_kwh: float) -> float:
    return emissions_g(WATTS.busy * hours * 3600, g_per_kwh)


def test_a_job_that_waited_for_clean_power_avoided_the_difference(store: Store) -> None:
    report = live(store, spec(3600, max_delay=12 * HOUR))
    row = report["rows"][0]
    assert row["deferral_seconds"] >= CLEAN_AT * 3600
    assert row["baseline_emissions_g"] == pytest.approx(grams(1, 400), rel=1e-6)
    assert row["avoided_g"] == pytest.approx(grams(1, 300), rel=1e-6)
    assert (row["complete"], row["coverage_ratio"]) == (True, pytest.approx(1))
    assert "Some devices are emulated" in str(report["data_quality"])


def test_jobs_of_one_gpu_wait_for_one_another_in_the_baseline_too(store: Store) -> None:
    report = live(store, *(spec(4 * 3600, max_delay=14 * HOUR) for _ in range(2)))
    baseline = sorted(row["baseline_emissions_g"] for row in report["rows"])
    assert baseline == pytest.approx([grams(2, 400) + grams(2, 100), grams(4, 400)], rel=1e-6)


def test_a_job_that_started_at_once_avoided_nothing(store: Store) -> None:
    row = live(store, spec(3600, start_now=True))["rows"][0]
    assert row["avoided_g"] == pytest.approx(0, abs=grams(1, 400) * 1e-3)


def test_a_job_that_was_held_into_dirtier_hours_avoided_less_than_nothing(store: Store) -> None:
    world = World([100] * 6 + [400] * 40, gpus=1)
    job, _ = store.jobs.add_job(spec(3600), user="ada", uid=1, now=T0)
    store.jobs.intend(Intent.HOLD, [job.id], actor="ada", now=T0)
    engine = new_engine(world, store, world.meter())
    run_until(world, engine, T0 + 4 * HOUR)
    store.jobs.intend(Intent.RELEASE, [job.id], actor="ada", now=world.now)
    run_until(world, engine, T0 + 8 * HOUR)
    row = Reports(store.archive, lambda: (), ReportSettings()).report(T0, T0 + 8 * HOUR, "job", world.now).rows[0]
    assert row.avoided_g == pytest.approx(grams(1, -300), rel=1e-6)


def test_an_interrupted_job_is_compared_with_one_piece_without_its_restart(store: Store) -> None:
    values = [400, 400, 100, 100, 400, 400, 400, 400, 100, 100, *[400] * 50]
    options = {"interruptible": True, "max_delay": 12 * HOUR, "restart_cost": timedelta(minutes=3)}
    report = live(store, spec(2 * 3600 - 900, min_run=timedelta(0), **options), values=values)
    row = report["rows"][0]
    assert row["attempts"] > 1
    assert row["avoided_runs"] == row["attempts"]
    at_once = grams(1, 400) + grams(0.75, 100)
    assert row["baseline_emissions_g"] == pytest.approx(at_once, rel=0.05)
    assert row["avoided_g"] > 0

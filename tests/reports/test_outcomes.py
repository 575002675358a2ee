"""Work that succeeded is what the headline of avoided emissions counts; how runs ended parts all of a report."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from math import fsum
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.jobs.job import Outcome
from greenrun.core.jobs.transitions import Intent
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.emissions import NOT_SUCCEEDED
from greenrun.reports.formats import BY
from greenrun.reports.model import OutcomeRow, Report
from greenrun.reports.rows.members import WASTED
from greenrun.store import Store
from tests.reports.build import END, NOW, T0, fill, reports_of
from tests.sampling import sampled
from tests.world import T0 as BEGIN
from tests.world import World, new_engine, open_store, run_until, spec

HOUR = timedelta(hours=1)
VALUES = [400] * 12 + [100] * 40
SUMMED = ("it_energy_kwh", "emissions_location_g")


@pytest.fixture(scope="module", params=sampled(range(1, 9), "books by outcome", user=1, ci=2))
def store(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("books") / "greenrun.db") as opened:
        fill(opened, 40, seed=request.param)
        yield opened


@pytest.fixture(scope="module", params=BY)
def report(store: Store, request: pytest.FixtureRequest) -> Report:
    return reports_of(store).report(T0, END, request.param, NOW)


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9)


def total_of(found: list[OutcomeRow], field: str) -> float:
    return fsum(getattr(row, field) or 0.0 for row in found)


@pytest.mark.parametrize("field", SUMMED)
def test_all_outcomes_and_what_nobody_held_make_the_total(report: Report, field: str) -> None:
    assert total_of(report.waste, field) + getattr(report.unattributed, field) == close(getattr(report.total, field))


@pytest.mark.parametrize("field", ["baseline_emissions_g", "compared_emissions_g"])
def test_all_outcomes_make_the_comparison_of_all_runs(report: Report, field: str) -> None:
    assert total_of(report.waste, field) == close(getattr(report.total, field))


@pytest.mark.parametrize(
    ("field", "of_total"), [("avoided_g", "avoided_g"), ("baseline_emissions_g", "avoided_baseline_g")]
)
def test_the_headline_is_what_succeeded_and_no_more(report: Report, field: str, of_total: str) -> None:
    won = [row for row in report.waste if row.is_success]
    assert {row.outcome for row in won} <= {"succeeded", "checkpointed"}
    assert total_of(won, field) == close(getattr(report.total, of_total) or 0.0)
    rest = [row for row in report.waste if not row.is_success]
    assert total_of(rest, "avoided_g") == close(report.total.avoided_not_counted_g or 0.0)


@pytest.mark.parametrize("field", ["avoided_g", "avoided_not_counted_g"])
def test_rows_add_up_to_what_is_and_is_not_counted(report: Report, field: str) -> None:
    parts = [getattr(row, field) or 0.0 for row in report.rows]
    assert fsum(parts) == close(getattr(report.total, field) or 0.0)


def test_percent_is_of_the_baseline_in_every_row(report: Report) -> None:
    for row in [*report.rows, report.total]:
        if row.avoided_pct is not None:
            assert row.avoided_pct == close(100 * row.avoided_g / row.avoided_baseline_g)
    for part in report.waste:
        if part.avoided_pct is not None:
            assert part.avoided_pct == close(100 * part.avoided_g / part.baseline_emissions_g)


def test_to_be_cancelled_is_no_waste() -> None:
    assert frozenset(WASTED).isdisjoint({Outcome.CANCELLED, Outcome.SUCCEEDED, Outcome.CHECKPOINTED})


# through the engine: a job is put off to clean power, and then it fails, is cancelled, or succeeds


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


def lived(
    books: Store, *, cancelled_at: timedelta | None = None, values: Sequence[float] = VALUES, **how: Any
) -> Report:
    """What is reported of a job of an hour that could wait half a day for clean power."""
    world = World(values, gpus=1)
    job, _ = books.jobs.add_job(spec(3600, max_delay=12 * HOUR, **how), user="ada", uid=1, now=BEGIN)
    engine = new_engine(world, books, world.meter())
    if cancelled_at is not None:
        run_until(world, engine, BEGIN + cancelled_at)
        books.jobs.intend(Intent.CANCEL, [job.id], actor="ada", now=world.now)
    run_until(world, engine, BEGIN + 15 * HOUR)
    reports = Reports(books.archive, lambda: world.devices, ReportSettings(zone="GB"))
    return reports.report(BEGIN, BEGIN + 14 * HOUR, "project", world.now)


def test_a_job_that_succeeded_is_the_headline(books: Store) -> None:
    report = lived(books)
    assert report.total.avoided_pct == pytest.approx(75)
    assert (report.rows[0].avoided_pct, report.total.avoided_not_counted_g) == (report.total.avoided_pct, None)


def test_a_job_that_failed_avoided_nothing_though_it_ran_when_power_was_clean(books: Store) -> None:
    report = lived(books, exit_code=1)
    assert (report.total.avoided_g, report.total.avoided_pct, report.total.avoided_runs) == (None, None, 0)
    assert report.total.avoided_missing == NOT_SUCCEEDED
    (failed,) = report.waste
    assert (failed.outcome, failed.is_waste, failed.avoided_pct) == ("failed", True, pytest.approx(75))
    assert report.total.avoided_not_counted_g == failed.avoided_g
    assert "not_counted" in {note.field for note in report.data_quality}


def test_neither_did_one_that_was_cancelled_which_is_no_waste(books: Store) -> None:
    report = lived(books, cancelled_at=6.5 * HOUR)
    assert (report.total.avoided_g, report.wasted_runs) == (None, 0)
    (cancelled,) = report.waste
    assert (cancelled.outcome, cancelled.is_waste, cancelled.is_success) == ("cancelled", False, False)
    assert report.total.avoided_not_counted_g == pytest.approx(cancelled.avoided_g)


def test_what_a_job_saved_counts_once_it_succeeds_and_not_if_it_is_cancelled(books: Store, tmp_path: Path) -> None:
    """Twice half an hour of clean power between dirty hours, so that it is checkpointed once."""
    up_and_down = [400, 400, 100, 400, 400, 400, 400, 400, 100, *[400] * 50]
    how = {"interruptible": True, "min_run": timedelta(0), "restart_cost": timedelta(0), "values": up_and_down}
    whole = lived(books, **how)
    assert {"checkpointed", "succeeded"} <= {row.outcome for row in whole.waste}
    assert whole.total.avoided_not_counted_g is None
    with open_store(tmp_path, "other.db") as other:
        broken = lived(other, cancelled_at=2.5 * HOUR, **how)
    (saved,) = broken.waste
    assert (saved.outcome, saved.is_waste, saved.is_success) == ("unfinished", False, False)
    assert broken.total.avoided_g is None


def test_runs_that_waited_for_clean_power_are_below_the_grid_s_mean_of_the_same_hours(books: Store) -> None:
    report = lived(books)
    grid = report.against_grid
    assert grid is not None
    assert grid.runs_ci_g_per_kwh == pytest.approx(100)
    assert (grid.grid_ci_g_per_kwh, grid.hours) == (pytest.approx((6 * 400 + 8 * 100) / 14), pytest.approx(14))
    assert (grid.difference_pct, grid.verdict) == (pytest.approx(100 * (100 * 14 / 3200 - 1)), "cleaner")
    by_hour = {row.hour: row for row in report.hours_of_day}
    assert [by_hour[hour].grid_ci_g_per_kwh for hour in (0, 5, 6, 13, 20)] == [400, 400, 100, 100, None]
    energies = [row.runs_energy_kwh or 0.0 for row in report.hours_of_day]
    assert fsum(energies) == pytest.approx(report.rows[0].it_energy_kwh)


def test_the_grid_s_mean_is_of_the_very_span_of_the_books_to_the_minute(books: Store) -> None:
    """Six hours at 400 g/kWh, and a quarter at 100."""
    world = World(VALUES, gpus=1)
    books.jobs.add_job(spec(3600, start_now=True, duration=10 * HOUR), user="ada", uid=1, now=BEGIN)
    run_until(world, new_engine(world, books, world.meter()), BEGIN + 8 * HOUR)
    reports = Reports(books.archive, lambda: world.devices, ReportSettings(zone="GB"))
    grid = reports.report(BEGIN, BEGIN + 6.25 * HOUR, "project", world.now).against_grid
    assert grid is not None
    assert (grid.hours, grid.grid_ci_g_per_kwh) == (pytest.approx(6.25), pytest.approx((6 * 400 + 0.25 * 100) / 6.25))


def test_runs_that_could_not_wait_are_not_cleaner_than_the_grid(books: Store) -> None:
    grid = lived(books, start_now=True).against_grid
    assert grid is not None
    assert (grid.runs_ci_g_per_kwh, grid.verdict) == (pytest.approx(400), "dirtier")

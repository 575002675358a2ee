"""Runs of which nothing could be metered are counted in every kind of row, and sums say that they lack them."""

from datetime import datetime, timedelta
from math import fsum
from pathlib import Path

import pytest

from greenrun.core.jobs.job import JobSpec, Outcome, State
from greenrun.reports.formats import BY
from greenrun.store import Store
from tests.reports.build import END, NOW, T0, WHY, fill, reports_of

HOUR = timedelta(hours=1)
TWO_MONTHS = (datetime(2026, 10, 31, 22, tzinfo=T0.tzinfo), datetime(2026, 11, 1, 3, tzinfo=T0.tzinfo))


def run_without_gpu(store: Store, start: datetime, end: datetime) -> None:
    """A CPU job that succeeded on a machine without a CPU meter: no slice is ever of it."""
    [(job, _)] = store.jobs.add_jobs(
        [JobSpec(command=("a",), workdir="/", gpus=0, duration=end - start)], user="ann", uid=1, now=start
    )
    run = store.runs.claim(job.id, [], reason=WHY, now=start)
    assert run is not None
    store.runs.confirm(run.id, started_at=start, log=None, now=start)
    store.runs.close_run(
        run.id, outcome=Outcome.SUCCEEDED, exit_code=0, started_at=start, ended_at=end, log=None,
        job_state=State.SUCCEEDED, reason=WHY, now=end,
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store(tmp_path / "greenrun.db")
    fill(opened, 6)
    run_without_gpu(opened, T0 + HOUR, T0 + 3 * HOUR)
    run_without_gpu(opened, *TWO_MONTHS)
    return opened


@pytest.mark.parametrize("by", BY)
def test_every_kind_of_rows_has_the_time_of_all_runs(store: Store, by: str) -> None:
    with store:
        made = reports_of(store).report(T0, END, by, NOW)
    assert fsum(row.run_seconds for row in made.rows) == pytest.approx(made.total.run_seconds, rel=1e-9)
    twice = 1 if by == "month" else 0  # what ran in two months is in both
    assert sum(row.runs for row in made.rows) == made.total.runs + twice


def test_each_month_has_its_part_of_such_a_run(store: Store) -> None:
    with store:
        [october, november] = reports_of(store).report(*TWO_MONTHS, "month", NOW).rows
    assert (october.group, november.group) == ("2026-10", "2026-11")
    assert november.run_seconds - october.run_seconds == pytest.approx(HOUR.total_seconds())


def test_runs_of_no_zone_that_is_known_have_a_row(store: Store) -> None:
    with store:
        made = reports_of(store).report(T0, END, "zone", NOW)
    [unknown] = [row for row in made.rows if row.runs == 2 and row.it_energy_kwh is None]
    assert (unknown.group, unknown.complete) == ("unknown", False)


@pytest.mark.parametrize("by", BY)
def test_sums_that_lack_them_are_not_complete(tmp_path: Path, by: str) -> None:
    with Store(tmp_path / "greenrun.db") as store:
        run_without_gpu(store, T0 + HOUR, T0 + 3 * HOUR)
        made = reports_of(store).report(T0, END, by, NOW)
    [row], [ended] = made.rows, made.waste
    assert (row.complete, made.total.complete, ended.complete) == (False, False, False)
    assert "not_metered" in row.flags
    assert "no meter read the CPU" in " ".join(note.note for note in made.data_quality)


def test_sums_without_such_runs_lack_nothing_of_the_kind(tmp_path: Path) -> None:
    with Store(tmp_path / "greenrun.db") as store:
        fill(store, 6)
        made = reports_of(store).report(T0, END, "project", NOW)
    assert not [row for row in [*made.rows, made.total] if "not_metered" in row.flags]

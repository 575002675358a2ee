"""The work of runs in a report: summed where it counts the same, and set beside the energy of those very runs."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.accounting.parts import Part, Parts
from greenrun.core.accounting.period import Period
from greenrun.core.energy.model import Component, Quality
from greenrun.core.jobs.job import Outcome, Run
from greenrun.reports.figure_models import WorkFigures
from greenrun.reports.rows.members import Members, RunBooks
from greenrun.store import Store
from tests.reports.build import END, HOUR, NOW, T0, fill, reports_of
from tests.reports.columns import jobs_table, only, runs_table

NOTHING = WorkFigures(work=None, work_unit=None, energy_per_work_j=None)


def run(number: int, done: float | None, unit: str = "samples", **more: Any) -> Run:
    """A run of an hour within the period."""
    times = {"started_at": T0 + HOUR, "ended_at": T0 + 2 * HOUR, "outcome": Outcome.SUCCEEDED}
    said = {} if done is None else {"work": done, "work_unit": unit}
    return Run(id=number, job_id=1, number=1, token="t", devices=("GPU-0",), claimed_at=T0, **{**times, **said, **more})


def part(number: int, energy_j: float | None) -> Part:
    """What a run used in an hour."""
    quality = Quality.UNKNOWN if energy_j is None else Quality.MEASURED
    return Part(
        run_id=number, device="GPU-0", component=Component.GPU, quality=quality, hour=T0 + HOUR, seconds=3600.0,
        energy_j=energy_j, pue=1.5, booked=None, settled=None,
    )  # fmt: skip


def told(runs: Sequence[Run], parts: Sequence[Part], *, now: Any = NOW) -> WorkFigures:
    """What a row says of them."""
    period = Period(start=T0, end=END, parts=Parts.of(parts), jobs=jobs_table(), runs=runs_table(runs))
    everyone = Members.of(np.zeros(len(runs), dtype=np.int64), np.ones(len(runs), dtype=np.bool_), 1)
    return WorkFigures(**only(RunBooks(period, now).work(everyone)))


def test_work_is_summed_and_set_beside_the_energy_of_the_runs_that_reported_it() -> None:
    runs = [run(1, 100.0), run(2, 300.0), run(3, None)]
    parts = [part(1, 1000.0), part(1, 1000.0), part(2, 6000.0), part(3, 1e9)]
    assert told(runs, parts) == WorkFigures(work=400.0, work_unit="samples", energy_per_work_j=20.0)


def test_apples_and_pears_are_not_added() -> None:
    assert told([run(1, 100.0), run(2, 1.0, "epochs")], [part(1, 1000.0), part(2, 1000.0)]) == NOTHING


def test_where_nothing_is_reported_nothing_is_told() -> None:
    assert told([run(1, None)], [part(1, 1000.0)]) == NOTHING


def test_energy_that_is_not_all_known_is_not_divided() -> None:
    found = told([run(1, 100.0)], [part(1, 1000.0), part(1, None)])
    assert (found.work, found.energy_per_work_j) == (100.0, None)
    assert told([run(1, 100.0)], []).energy_per_work_j is None
    assert told([run(1, 0.0)], [part(1, 1000.0)]).energy_per_work_j is None


def test_a_run_that_is_not_wholly_in_the_period_is_left_out() -> None:
    late = run(1, 100.0, ended_at=END + timedelta(seconds=1))
    early = run(2, 100.0, started_at=T0 - timedelta(seconds=1))
    going_on = run(3, 50.0, ended_at=None, outcome=None)
    parts = [part(number, 1000.0) for number in (1, 2, 3)]
    assert told([late, early, going_on], parts) == NOTHING
    assert told([late, early, going_on], parts, now=END).work == 50.0


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(1, 1e9)), min_size=1, max_size=20))
def test_a_row_needs_for_a_unit_of_work_what_its_runs_need_in_the_mean(rows: list[tuple[float, float]]) -> None:
    runs = [run(number, done) for number, (done, _) in enumerate(rows, 1)]
    parts = [part(number, energy_j) for number, (_, energy_j) in enumerate(rows, 1)]
    ratios = [energy_j / done for done, energy_j in rows]
    found = told(runs, parts).energy_per_work_j
    assert min(ratios) * (1 - 1e-9) <= found <= max(ratios) * (1 + 1e-9)


def test_a_report_tells_it_by_job_and_not_by_month(tmp_path: Path) -> None:
    with Store(tmp_path / "greenrun.db") as store:
        fill(store, jobs=4, settled=1.0)
        first = store.runs.of_jobs([1])[1][0]
        store.runs.keep_work(first.id, work=1000.0, unit="samples", at=END)
        by_job = reports_of(store).report(T0, END, "job", NOW)
        by_month = reports_of(store).report(T0, END, "month", NOW)
    row, *others = by_job.rows
    assert (row.work, row.work_unit) == (1000.0, "samples")
    if row.complete:
        assert row.energy_per_work_j * 1000.0 == pytest.approx(row.it_energy_kwh * 3.6e6)
    assert {each.work for each in others} == {None}
    assert by_job.total.work == 1000.0
    assert {each.work for each in by_month.rows} == {None}

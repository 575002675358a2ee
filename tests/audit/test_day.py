"""The report of a day says what an auditor finds who has the trace, the run folders and the hardware's script."""

import ast
import csv
import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import fsum
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from greenrun.cli import report_output
from greenrun.core.accounting.market_based import Contract, Contracts
from greenrun.core.accounting.step_function import Span, Steps
from greenrun.core.accounting.weekly import Rule, Weekly, parse_days
from greenrun.core.jobs.job import Outcome
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.cost_and_scope2 import Bases
from greenrun.reports.model import JobRow, Report
from greenrun.store import Store
from tests.audit import auditor
from tests.audit.auditor import Auditor, Finding
from tests.audit.lab_day import END, GPUS, PUE, Lab, lived
from tests.world import T0

pytestmark = pytest.mark.slow  # a whole day of the engine

CONTRACT_ENDS = T0 + timedelta(hours=11)
BASES = {
    "share": 0.6, "contract_g_per_kwh": 14.0, "residual_g_per_kwh": 487.0, "contract_ends": CONTRACT_ENDS.timestamp(),
    "time_zone": "Europe/Berlin", "day": [7, 21], "day_price": 0.36, "night_price": 0.21,
}  # fmt: skip
EXACT = 1e-9


@dataclass(frozen=True, kw_only=True)
class Audited:
    """A day, its report, and who recomputes it."""

    lab: Lab
    store: Store
    report: Report
    auditor: Auditor


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    folder = tmp_path_factory.mktemp("day")
    store = Store(folder / "greenrun.db")
    lab = lived(store, folder)
    (folder / "bases.json").write_text(json.dumps(BASES), encoding="utf-8")
    settings = ReportSettings(zone="GB", pue=PUE, bases=_bases())
    report = Reports(store.archive, lambda: lab.devices, settings).report(T0, END, "job", END)
    return Audited(lab=lab, store=store, report=report, auditor=Auditor(folder))


def _bases() -> Bases:
    by_day = Rule(days=parse_days("mon-fri"), start_min=7 * 60, end_min=21 * 60, value=0.36)
    contract = Contract(source="PPA", factors=Steps.of([Span(T0, CONTRACT_ENDS, 14.0)]), share=0.6)
    return Bases(
        price=Weekly.of([by_day], 0.21, ZoneInfo("Europe/Berlin")).steps,
        currency="EUR",
        contracts=lambda: Contracts(rows=[contract], residual_g_per_kwh=487.0),
    )


def found(row: Mapping[str, object] | JobRow) -> Finding:
    """Return what a row of the report, or of its CSV, says."""
    said = row if isinstance(row, Mapping) else vars(row)

    def number(name: str) -> float:
        return float(said[name] or 0.0)  # type: ignore[arg-type]

    return Finding(
        gpu_kwh=number("gpu_energy_kwh"),
        shared_kwh=number("cpu_energy_kwh") + number("dram_energy_kwh"),
        facility_kwh=number("facility_energy_kwh"),
        location_g=number("emissions_location_g"),
        market_g=number("emissions_market_g"),
        cost=number("cost"),
        baseline_g=number("baseline_emissions_g"),
    )


def close(finding: Finding) -> object:
    """Return what is equal to a finding to rounding."""
    return pytest.approx(vars(finding), rel=EXACT, abs=1e-12)


def test_the_day_has_what_it_was_meant_to_have(day: Audited) -> None:
    ends = {job: [run.outcome for run in runs] for job, runs in day.store.runs.of_jobs(range(1, 9)).items()}
    assert ends[2] == [Outcome.FAILED] * 3
    assert ends[3].count(Outcome.CHECKPOINTED) >= 1
    assert ends[3][-1] is Outcome.SUCCEEDED
    assert ends[7] == [Outcome.CANCELLED]
    assert [ends[job] for job in (1, 4, 5, 6, 8)] == [[Outcome.SUCCEEDED]] * 5
    assert {device for run in day.auditor.attempts for device in run.devices} == GPUS.keys()
    assert {row.emissions_settled_g == row.emissions_location_g for row in day.report.rows} == {True}


@pytest.mark.parametrize("job", range(1, 9))
def test_a_job_is_told_what_an_auditor_finds(day: Audited, job: int) -> None:
    (row,) = [row for row in day.report.rows if isinstance(row, JobRow) and row.job_id == job]
    assert vars(found(row)) == close(day.auditor.of_job(str(job)))


def test_what_nobody_used_is_told_too(day: Audited) -> None:
    said = vars(found(vars(day.report.unattributed)))
    assert said == close(day.auditor.of_nobody(T0.timestamp(), END.timestamp()))


def test_jobs_and_nobody_are_all_that_there_is(day: Audited) -> None:
    every = [day.auditor.of_job(str(job)) for job in range(1, 9)]
    every.append(day.auditor.of_nobody(T0.timestamp(), END.timestamp()))
    said = vars(found(vars(day.report.total)))
    whole = {name: fsum(vars(one)[name] for one in every) for name in said}
    assert said == pytest.approx(whole, rel=EXACT)


def test_the_csv_says_the_same(day: Audited) -> None:
    text = report_output.render(day.report, "csv")
    rows = {row["job_id"]: row for row in csv.DictReader(io.StringIO(text))}
    for job in range(1, 9):
        assert vars(found(rows[str(job)])) == close(day.auditor.of_job(str(job)))


def test_the_auditor_shares_nothing_with_what_is_audited() -> None:
    tree = ast.parse(Path(auditor.__file__).read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {str(name).partition(".")[0] for name in modules} <= sys.stdlib_module_names

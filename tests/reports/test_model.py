"""What a report's JSON has is published as JSON Schema: every report is of it, and nothing invented or left out is."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.formats import BY
from greenrun.reports.model import Report, json_schema
from greenrun.reports.movement import compared
from greenrun.reports.rows import job_rows, row_texts
from greenrun.store import Store
from tests.patience import HANGS_S
from tests.reports.build import ALL_BASES, END, GPUS, NOW, T0, fill, reports_of

SCHEMA: dict[str, Any] = json_schema()  # type: ignore[assignment]
OBJECTS = {name: part for name, part in SCHEMA["$defs"].items() if "properties" in part}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("books") / "greenrun.db") as opened:
        fill(opened, 12)
        yield opened


@pytest.fixture(scope="module")
def report(store: Store) -> Report:
    return reports_of(store).report(T0, END, "job", NOW)


def faults(document: Any) -> list[str]:
    return [fault.message[:200] for fault in Draft202012Validator(SCHEMA).iter_errors(document)]


def test_the_schema_itself_is_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize(
    "settings", [ReportSettings(), ReportSettings(zone="GB", bases=ALL_BASES)], ids=["bare", "all set"]
)
def test_every_report_is_of_the_schema(store: Store, by: Any, settings: ReportSettings) -> None:
    reports = Reports(store.archive, lambda: GPUS, settings)
    assert faults(reports.report(T0, END, by, NOW).document()) == []
    assert faults(reports.report(END, END + timedelta(days=1), by, NOW).document()) == []


@pytest.mark.parametrize("end", [END, T0 + timedelta(minutes=1)])
def test_what_is_written_a_row_at_a_time_is_the_same_report(store: Store, end: datetime) -> None:
    """Also what it says of fields that are null in some row, which are known only after the last one."""
    reports = Reports(store.archive, lambda: GPUS, ReportSettings(zone="GB", bases=ALL_BASES))
    written = list(reports.json_by_job(T0, end, NOW))
    document = reports.report(T0, end, "job", NOW).document()
    assert json.loads(b"".join(written)) == document
    assert list(json.loads(b"".join(written))) == list(document)
    assert len(written) > 1


@pytest.mark.parametrize(("jobs", "rows"), [(1, 1), (5, 2), (12, 3)])
def test_it_makes_no_difference_how_many_rows_are_made_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, jobs: int, rows: int
) -> None:
    whole = b"".join(reports_of(store).json_by_job(T0, END, NOW))
    monkeypatch.setattr(job_rows, "AT_ONCE", jobs)
    monkeypatch.setattr(row_texts, "ROWS_AT_ONCE", rows)
    assert b"".join(reports_of(store).json_by_job(T0, END, NOW)) == whole


@pytest.mark.parametrize("most", [1, 5, 12, 13])
def test_a_report_of_some_rows_says_how_many_more_there_are(store: Store, report: Report, most: int) -> None:
    made = reports_of(store).report(T0, END, "job", NOW, most_rows=most)
    assert (made.rows, made.rows_left_out) == (report.rows[:most], max(0, 12 - most))
    assert made.total == report.total
    assert faults(made.document()) == []
    of_projects = reports_of(store).report(T0, END, "project", NOW, most_rows=2)
    assert (len(of_projects.rows), of_projects.rows_left_out) == (2, 3)


def test_so_is_one_that_says_what_moved(report: Report) -> None:
    old = report.document()
    old["total"] = {**report.total.document(), "cost": 1.0, "flags": []}
    document = compared(old, report).document()
    assert (len(document["moved"]), faults(document)) == (2, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("part", ["total", "unattributed", "forecast_against_settled", "uncertainty"])
def test_an_invented_field_is_refused(report: Report, part: str) -> None:
    document: dict[str, Any] = report.document()
    assert faults({**document, "invented": 1.0})
    assert faults({**document, part: {**document[part], "invented": 1.0}})
    with pytest.raises(ValueError, match="invented"):
        Report.model_validate({**document, part: {**document[part], "invented": 1.0}})


def test_so_is_one_in_a_row_or_in_an_hour(report: Report) -> None:
    document: dict[str, Any] = report.document()
    first, *rest = document["rows"]
    assert faults({**document, "rows": [{**first, "invented": None}, *rest]})
    assert faults({**document, "rows": [{**first, "slices": [{**first["slices"][0], "invented": 0.0}]}, *rest]})


@pytest.mark.parametrize("name", OBJECTS)
def test_a_field_without_a_value_is_null_and_not_left_out(name: str) -> None:
    assert OBJECTS[name]["additionalProperties"] is False
    assert sorted(OBJECTS[name]["required"]) == sorted(OBJECTS[name]["properties"])


def test_what_is_not_known_is_null_and_no_number(store: Store) -> None:
    total = (
        Reports(store.archive, tuple, ReportSettings())
        .report(END, END + timedelta(days=1), "user", NOW)
        .document()["total"]
    )
    assert isinstance(total, dict)
    known = {name for name, value in total.items() if value is not None}
    counts = {"jobs", "failed_jobs", "runs", "wasted_runs", "run_seconds", "avoided_runs"}
    assert known == {"group", *counts, "gap_seconds", "unpriced_kwh", "flags", "complete"}
    assert {total[name] for name in (*counts, "gap_seconds", "unpriced_kwh")} == {0}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "many"])
def test_a_figure_is_a_finite_number_or_null(report: Report, value: Any) -> None:
    total = {**report.total.document(), "it_energy_kwh": value}
    with pytest.raises(ValueError, match="it_energy_kwh"):
        Report.model_validate({**report.document(), "total": total})


def test_what_was_written_is_read_as_it_was(report: Report) -> None:
    assert Report.model_validate_json(report.model_dump_json()) == report
    assert Report.model_validate(report.document()) == report


def test_what_draws_pages_is_loaded_when_a_page_is_written_and_not_before() -> None:
    """A daemon that makes reports needs neither until it writes a month."""
    code = "import sys, greenrun.reports.monthly; print(sys.modules.keys() & {'jinja2', 'plotly'})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=HANGS_S)
    assert ran.stdout.strip() == "set()"

"""What a report says is what the books say, in every form of it; and what it cannot say it does not."""

import csv
import io
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from math import fsum
from pathlib import Path
from typing import Any

import pytest

from greenrun.charts import browser
from greenrun.cli import report_output
from greenrun.reports.exports import boamps, spreadsheet
from greenrun.reports.exports.codecarbon import codecarbon
from greenrun.reports.exports.sci import sci
from greenrun.reports.formats import BY
from greenrun.reports.html import page
from greenrun.reports.model import Report
from greenrun.store import Store
from tests.charts.pages import Page
from tests.reports.build import END, GPUS, NOW, T0, fill, reports_of

pytestmark = pytest.mark.slow  # to make what all of them look at; on one worker

ADD_UP = (
    "it_energy_kwh", "facility_energy_kwh", "measured_kwh", "bridged_kwh", "gap_seconds", "emissions_location_g",
    "emissions_booked_g", "emissions_settled_g", "unpriced_kwh", "baseline_emissions_g", "compared_emissions_g",
)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("books") / "greenrun.db"


@pytest.fixture(scope="module")
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        fill(opened, 300)
        yield opened


@pytest.fixture(scope="module", params=BY)
def made(store: Store, request: pytest.FixtureRequest) -> Report:
    return reports_of(store).report(T0, END, request.param, NOW)


@pytest.fixture(scope="module")
def report(made: Report) -> dict[str, Any]:
    """The same as plain values."""
    return made.document()


@pytest.fixture(scope="module")
def parts(store: Store) -> Sequence[Report]:
    """The reports of two periods that follow one another, and of both in one."""
    middle = T0 + timedelta(days=2, hours=7, minutes=13)
    return [reports_of(store).report(*span, "project", NOW) for span in ((T0, middle), (middle, END), (T0, END))]


def sql(path: Path, query: str) -> float:
    with closing(sqlite3.connect(path)) as connection:
        return float(connection.execute(query).fetchone()[0])


def counted(store: Store, name: str) -> float:
    return fsum(value for (metric, _), value in store.books.counters().items() if metric == name)


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9)


# it closes, and it agrees


@pytest.mark.parametrize("field", ADD_UP)
def test_rows_and_unattributed_make_the_total(report: dict[str, Any], field: str) -> None:
    parts = [row[field] for row in [*report["rows"], report["unattributed"]] if row[field] is not None]
    assert fsum(parts) == close(report["total"][field])


def test_the_total_is_what_sqlite_and_the_persisted_counters_say(
    report: dict[str, Any], path: Path, store: Store
) -> None:
    total = report["total"]
    joules = sql(path, "SELECT sum(energy_j) FROM slices")
    booked = sql(path, "SELECT sum(emissions_g) FROM ledger WHERE stage = 'booked'")
    settled = sql(path, "SELECT sum(emissions_g) FROM ledger WHERE stage = 'settled'")
    assert total["it_energy_kwh"] * 3.6e6 == close(joules) == close(counted(store, "greenrun_energy_joules_total"))
    assert (total["emissions_booked_g"], total["emissions_settled_g"]) == (close(booked), close(settled))
    runs_g, free_g = (counted(store, f"greenrun_{what}emissions_grams_total") for what in ("", "unattributed_"))
    assert runs_g + free_g == close(booked)
    assert counted(store, "greenrun_unattributed_energy_joules_total") == close(
        report["unattributed"]["it_energy_kwh"] * 3.6e6
    )


def test_csv_says_what_the_json_says(made: Report, report: dict[str, Any]) -> None:
    told = list(csv.DictReader(io.StringIO(spreadsheet.as_csv(made))))
    rows = [*report["rows"], report["unattributed"], report["total"]]
    assert len(told) == len(rows)
    for line, row in zip(told, rows, strict=True):
        for field in ADD_UP:
            told_value = float(line[field]) if line[field] else None
            assert told_value == (None if row[field] is None else pytest.approx(row[field], rel=1e-11))


def test_days_and_series_make_the_total_too(report: dict[str, Any]) -> None:
    assert fsum(row["it_energy_kwh"] or 0.0 for row in report["days"]) == close(report["total"]["it_energy_kwh"])
    assert fsum(row["emissions_settled_g"] for row in report["series"]) == close(report["total"]["emissions_settled_g"])
    wasted = fsum(row["it_energy_kwh"] for row in report["waste"])
    assert wasted + report["unattributed"]["it_energy_kwh"] == close(report["total"]["it_energy_kwh"])


def test_the_time_of_runs_adds_up_however_rows_are_made(store: Store, report: dict[str, Any]) -> None:
    """A run may go on over the end of a month: each month has its part of it."""
    assert fsum(row["run_seconds"] for row in report["rows"]) == close(report["total"]["run_seconds"])
    assert report["by"] != "month" or len(report["rows"]) == 2


@pytest.mark.parametrize("field", ADD_UP)
def test_periods_that_follow_one_another_add_up(parts: Sequence[Report], field: str) -> None:
    first, second, whole = (getattr(part.total, field) for part in parts)
    assert (first or 0.0) + (second or 0.0) == close(whole)


def test_a_report_made_again_is_the_same(store: Store) -> None:
    one, other = (reports_of(store).report(T0, END, "job", NOW).model_dump_json() for _ in range(2))
    assert one == other


def test_a_job_s_hours_make_its_row(store: Store) -> None:
    for row in reports_of(store).report(T0, END, "job", NOW).job_rows:
        hours = [hour.it_energy_kwh for hour in row.slices if hour.it_energy_kwh is not None]
        assert fsum(hours) == close(row.it_energy_kwh or 0.0)


# what is missing is said


def test_what_is_not_known_is_flagged_and_told(report: dict[str, Any], path: Path) -> None:
    total = report["total"]
    assert {"unknown_energy", "no_intensity", "bridged", "not_settled"} <= set(total["flags"])
    assert not total["complete"]
    known = sql(path, "SELECT count(energy_j) FROM slices")  # of ten minutes each
    assert total["coverage_ratio"] == pytest.approx(known * 600 / (len(GPUS) * (END - T0).total_seconds()))
    assert {note["field"] for note in report["data_quality"]} >= {"coverage", "intensity", "settled", "avoided"}


def test_uncertainty_is_at_least_the_meter_s(report: dict[str, Any]) -> None:
    total = report["total"]
    assert 4 < total["energy_uncertainty_pct"] < total["emissions_uncertainty_pct"] < 20


def test_a_period_without_books_says_so_without_a_zero(store: Store) -> None:
    later = END + timedelta(days=40)
    made = reports_of(store).report(later, later + timedelta(days=1), "project", NOW)
    assert (made.rows, made.total.it_energy_kwh, made.total.emissions_location_g) == ([], None, None)
    assert (made.total.avoided_g, made.total.energy_uncertainty_pct) == (None, None)
    assert "nothing is booked" in report_output.render(made, "table")
    assert "No run held a device" in page.as_html(made)


def test_avoided_emissions_are_apart_and_compare_like_with_like(report: dict[str, Any], store: Store) -> None:
    total = report["total"]
    assert 0 < total["avoided_runs"] < total["runs"]
    difference = total["baseline_emissions_g"] - total["compared_emissions_g"]
    assert total["avoided_g"] + total["avoided_not_counted_g"] == close(difference)
    assert total["baseline_emissions_g"] == close(counted(store, "greenrun_settled_baseline_emissions_grams_total"))
    assert total["compared_emissions_g"] == close(counted(store, "greenrun_compared_emissions_grams_total"))
    reasons = ("a part of its energy is not known", "its job did not succeed", "not all of it is settled yet")
    assert total["avoided_missing"] == "; ".join(reasons)
    assert total["compared_emissions_g"] < total["emissions_settled_g"]


# forms for others


def test_the_page_loads_nothing_and_runs_only_what_draws_its_charts(made: Report) -> None:
    written = page.as_html(made)
    own = written.replace(str(browser.page_script()), "")
    read = Page(own)
    assert (read.asked, "url(" in own, read.tags.count("figure")) == ([], False, 3)
    assert all(script.strip().startswith("window.PLOTLYENV") for script in read.scripts)
    assert len(read.scripts) == 3
    assert "default-src 'none'" in own
    for heading in ("Summary", "Method", "Data quality", "Limits", "Sources", "Forecast against settled", "Avoided"):
        assert heading in written
    assert "Data: &lt;NESO&gt;" in written


def test_a_spreadsheet_takes_no_job_s_name_for_a_formula(store: Store) -> None:
    told = csv.DictReader(io.StringIO(spreadsheet.as_csv(reports_of(store).report(T0, END, "job", NOW))))
    assert not [row["job_name"] for row in told if row["job_name"][:1] in ("=", "+", "-", "@")]


@pytest.mark.parametrize("name", ["=1", "\n=1", " =1", "\t1", "\uff1d1", "-1", "@a"])
def test_neither_does_it_where_the_sign_is_hidden_or_wide(name: str) -> None:
    (row,) = csv.DictReader(io.StringIO(spreadsheet.table_of([{"name": name, "names": [name]}])))
    assert (row["name"], row["names"]) == (f"'{name}", f"'{name}")


def test_each_other_form_has_a_part_for_each_job(store: Store) -> None:
    made = reports_of(store).report(T0, END, "job", NOW)
    kg = [float(row["emissions"] or 0) for row in csv.DictReader(io.StringIO(codecarbon(made)))]
    known = [row.emissions_location_g or 0.0 for row in made.rows]
    assert fsum(kg) == close(fsum(known) / 1000)
    assert len(boamps.boamps(made)) == len([row for row in made.rows if row.it_energy_kwh is not None])
    assert [row.sci_g_per_job for row in sci(made).jobs] == [None] * len(made.rows)

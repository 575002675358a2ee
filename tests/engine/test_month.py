"""A month of 2,000 jobs, with reloads, losses and restarts: CSV = JSON = Prometheus = SQLite, and all of it closes."""

import csv
import io
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from math import fsum
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from greenrun.cli import report_output
from greenrun.core.energy.model import Quality
from greenrun.core.jobs.job import FINISHED
from greenrun.core.planning.model import Plan
from greenrun.metrics import Health, LiveState, MetricsCollector, registry_of
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.formats import BY
from greenrun.reports.model import Report
from greenrun.store import Store
from tests.engine.month import PUE, Month, jobs, lived
from tests.sampling import EFFORT, Effort
from tests.world import T0, WATTS

pytestmark = pytest.mark.slow  # to make what all of them look at; on one worker

Rows = Mapping[str, float]
J_PER_KWH = 3.6e6
NOBODY = "unattributed"

# A figure by project, in each of the four places. SQL reads the file with nothing of greenrun's own.
OF_SLICES = """
    SELECT coalesce(jobs.project, 'unattributed'), {what} FROM slices LEFT JOIN runs ON runs.id = slices.run_id
    LEFT JOIN jobs ON jobs.id = runs.job_id {join} GROUP BY 1
"""
OF_LEDGER = "JOIN ledger ON ledger.slice_id = slices.id AND ledger.stage = '{stage}'"
FIGURES = {
    "energy": (
        ("greenrun_job_energy_joules_total", "greenrun_unattributed_energy_joules_total"),
        ("it_energy_kwh", J_PER_KWH),
        OF_SLICES.format(what="sum(slices.energy_j)", join=""),
    ),
    "booked": (
        ("greenrun_emissions_grams_total", "greenrun_unattributed_emissions_grams_total"),
        ("emissions_booked_g", 1.0),
        OF_SLICES.format(what="sum(ledger.emissions_g)", join=OF_LEDGER.format(stage="booked")),
    ),
    "settled": (
        ("greenrun_settled_emissions_grams_total", "greenrun_unattributed_settled_emissions_grams_total"),
        ("emissions_settled_g", 1.0),
        OF_SLICES.format(what="sum(ledger.emissions_g)", join=OF_LEDGER.format(stage="settled")),
    ),
    "baseline": (
        ("greenrun_settled_baseline_emissions_grams_total", ""),
        ("baseline_emissions_g", 1.0),
        OF_SLICES.format(what="sum(ledger.emissions_g)", join=OF_LEDGER.format(stage="baseline")),
    ),
    "compared": (
        ("greenrun_compared_emissions_grams_total", ""),
        ("compared_emissions_g", 1.0),
        OF_SLICES.format(
            what="sum(ledger.emissions_g)",
            join="JOIN ledger baseline ON baseline.slice_id = slices.id AND baseline.stage = 'baseline' "
            + OF_LEDGER.format(stage="settled"),
        ),
    ),
}
PROJECTS = 7


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("month") / "greenrun.db"


@pytest.fixture(scope="module")
def books(path: Path) -> Iterator[tuple[Store, Month]]:
    store, month = lived(path)
    yield store, month
    store.close()


@pytest.fixture(scope="module")
def store(books: tuple[Store, Month]) -> Store:
    return books[0]


@pytest.fixture(scope="module")
def month(books: tuple[Store, Month]) -> Month:
    return books[1]


@pytest.fixture(scope="module")
def report(store: Store, month: Month) -> Callable[[str], Report]:
    """The report by something, each made once."""
    made: dict[str, Report] = {}
    reports = Reports(store.archive, lambda: month.devices, ReportSettings(zone="GB", pue=PUE))

    def of(by: str) -> dict[str, Any]:
        if by not in made:
            made[by] = reports.report(T0, month.now, by, month.now + timedelta(days=1))
        return made[by]

    return of


@pytest.fixture(scope="module")
def scraped(store: Store, month: Month) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of a scrape, as Prometheus would read it."""
    state = LiveState(
        now=lambda: month.now, plan=lambda: Plan(made_at=month.now), health=lambda: Health(started_at=T0),
        active_forecasts=dict, received=tuple, devices=lambda: month.devices, pue=PUE,
    )  # fmt: skip
    text = generate_latest(registry_of(MetricsCollector(store, state))).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}


def rows_of(path: Path, query: str) -> dict[str, Any]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute(query).fetchall())


def in_prometheus(scraped: Mapping[tuple[str, frozenset[tuple[str, str]]], float], names: tuple[str, str]) -> Rows:
    """A counter by project, and that of what nobody used."""
    of_projects, of_nobody = names
    found: defaultdict[str, float] = defaultdict(float)
    for (name, labels), value in scraped.items():
        if name == of_projects and value:
            found[dict(labels)["project"]] += value
        if name == of_nobody:
            found[NOBODY] += value
    return found


def in_document(rows: list[dict[str, Any]], field: str, unit: float) -> Rows:
    told = [row for row in rows if row["group"] != "total" and row[field] not in (None, "")]
    return {row["group"]: float(row[field]) * unit for row in told}


# it agrees


@pytest.mark.parametrize("figure", FIGURES)
def test_csv_json_prometheus_and_sqlite_say_the_same(
    figure: str, path: Path, report: Callable[[str], Report], scraped: Any
) -> None:
    """Energy in joules and grams, as booked and as settled, of each project and of nobody, to a billionth.

    So do the grams that runs would have emitted as soon as possible, and those that they are compared with.
    """
    names, (field, unit), query = FIGURES[figure]
    document = report("project")
    of_csv = [*csv.DictReader(io.StringIO(report_output.render(document, "csv")))]
    sqlite = pytest.approx(rows_of(path, query), rel=1e-9)
    assert len(in_prometheus(scraped, names)) == PROJECTS + (names[1] != "")
    assert dict(in_prometheus(scraped, names)) == sqlite
    assert in_document([row.document() for row in (*document.rows, document.unattributed)], field, unit) == sqlite
    assert in_document(of_csv, field, unit) == sqlite


def test_energy_by_grade_agrees_everywhere(path: Path, report: Callable[[str], Report], scraped: Any) -> None:
    """So does the time of gaps; and the month has some of each."""
    total = report("month").total.document()
    joules = rows_of(path, "SELECT quality, sum(energy_j) FROM slices WHERE energy_j IS NOT NULL GROUP BY 1")
    assert set(joules) == {Quality.MEASURED, Quality.BRIDGED}
    for quality, used_j in joules.items():
        labels = frozenset({("component", "gpu"), ("quality", quality)})
        assert scraped["greenrun_energy_joules_total", labels] == pytest.approx(used_j, rel=1e-9)
        assert total[f"{quality}_kwh"] * J_PER_KWH == pytest.approx(used_j, rel=1e-9)
    gap_s = scraped["greenrun_energy_gap_seconds_total", frozenset({("component", "gpu")})]
    assert total["gap_seconds"] == pytest.approx(gap_s, rel=1e-6)  # SQLite's own clock knows milliseconds
    unknown = rows_of(path, "SELECT quality, count(*) FROM slices WHERE energy_j IS NULL GROUP BY 1")
    assert unknown[Quality.UNKNOWN] > 0


# it closes


@pytest.mark.parametrize("by", BY)
@pytest.mark.parametrize("field", ["it_energy_kwh", "facility_energy_kwh", "emissions_booked_g", "emissions_settled_g"])
def test_rows_and_nobody_make_the_total(by: str, field: str, report: Callable[[str], Report]) -> None:
    document = report(by)
    parts = [getattr(row, field) for row in [*document.rows, document.unattributed]]
    assert fsum(part for part in parts if part is not None) == pytest.approx(getattr(document.total, field), rel=1e-9)


def test_what_is_booked_is_what_the_gpus_used_but_for_what_nobody_could_know(path: Path, month: Month) -> None:
    """No joule of physics is booked twice; what is missing fits into the slices that say so."""
    booked_j = fsum(rows_of(path, "SELECT id, energy_j FROM slices WHERE energy_j IS NOT NULL").values())
    unknown_s = fsum(
        rows_of(
            path,
            "SELECT id, (julianday(ended_at) - julianday(started_at)) * 86400 FROM slices WHERE energy_j IS NULL",
        ).values()
    )
    missing_j = month.used_j - booked_j
    assert WATTS.idle * unknown_s <= missing_j + 1.0
    assert missing_j <= WATTS.busy * unknown_s + 1.0
    assert 0 < missing_j < 0.01 * month.used_j


def test_a_run_whose_energy_is_known_used_what_its_process_did(store: Store, month: Month) -> None:
    """Losses and restarts are bridged to the joule, since what a GPU draws at work and at rest had been seen."""
    ended = store.jobs.jobs()
    assert (len(ended), {job.state for job in ended} - FINISHED) == (len(jobs()), set())
    runs = [run for rows in store.runs.of_jobs([job.id for job in ended]).values() for run in rows]
    assert len(runs) == len(month.launches) == len(month.processes)  # each run once
    totals = store.books.run_totals([run.id for run in runs])
    known = [run for run in runs if totals[run.id].quality is not Quality.UNKNOWN]
    assert 0.9 * len(runs) < len(known) <= len(runs)
    assert len(known) < len(runs) or EFFORT < Effort.LONG  # on some days no reload cut any run short
    for run in known:
        process = month.processes[run.token]
        true_j = WATTS.busy * len(process.devices) * (process.ends_at - process.started_at).total_seconds()
        assert totals[run.id].energy_j == pytest.approx(true_j, rel=1e-6)


def test_a_month_of_jobs_leaves_few_series(scraped: Any) -> None:
    assert len(scraped) <= 500

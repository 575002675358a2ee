"""Sums of columns are those of Python's own arithmetic over the slices, row by row, to nine digits."""

import csv
import io
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from math import fsum
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from greenrun.core.accounting.grouping import Grouping
from greenrun.core.formatting import plain_number
from greenrun.core.units import significant
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.exports.spreadsheet import as_csv
from greenrun.reports.formats import BY
from greenrun.reports.model import JobRow
from greenrun.reports.rows.groups import names, significants
from greenrun.reports.rows.row_texts import csv_rows, json_rows
from greenrun.store import Store
from greenrun.store.ledger import period_parts
from tests.reports.build import ALL_BASES, END, GPUS, NOW, PUE, T0, TARIFF, fill

HOUR_S = 3600


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("columns") / "greenrun.db") as opened:
        fill(opened, 60)
        while opened.books.merge(T0 + timedelta(days=3)):  # some of it is merged, some is not
            pass
        yield opened


def slices(store: Store) -> list[dict[str, Any]]:
    """The slices of runs as they are in the file, with the project and the user of each."""
    query = """
        SELECT jobs.id AS job, jobs.project, jobs.user, slices.* FROM slices
        JOIN runs ON runs.id = slices.run_id JOIN jobs ON jobs.id = runs.job_id
    """
    with closing(sqlite3.connect(store.path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


def cost(row: dict[str, Any]) -> float:
    """What a slice cost, by the price of the hour that it began in."""
    start = datetime.fromisoformat(row["started_at"]).replace(minute=0, second=0, microsecond=0)
    at_s = np.array([start.timestamp()])
    (price,) = TARIFF.steps(start, start + timedelta(hours=1)).means(at_s, at_s + HOUR_S).tolist()
    return float(row["energy_j"] * row["pue"] / 3.6e6 * price)


def summed(rows: list[dict[str, Any]]) -> dict[str, float]:
    """What Python makes of slices."""
    known = [row for row in rows if row["energy_j"] is not None]
    best = [row["booked_g"] if row["settled_at"] is None else row["settled_g"] for row in rows]
    compared = [row for row in rows if row["baseline_at"] is not None and row["baseline_g"] is not None]
    return {
        "it_energy_kwh": fsum(row["energy_j"] for row in known) / 3.6e6,
        "facility_energy_kwh": fsum(row["energy_j"] * row["pue"] for row in known) / 3.6e6,
        "emissions_location_g": fsum(grams for grams in best if grams is not None),
        "emissions_booked_g": fsum(row["booked_g"] for row in rows if row["booked_g"] is not None),
        "baseline_emissions_g": fsum(row["baseline_g"] for row in compared),
        "compared_emissions_g": fsum(row["settled_g"] for row in compared),
        "cost": fsum(map(cost, known)),
    }


@pytest.mark.parametrize("by", ["job", "project", "user"])
def test_each_row_is_the_sum_of_its_slices(store: Store, by: str) -> None:
    of_group: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in slices(store):
        of_group[str(row[by])].append(row)
    report = reports(store).report(T0, END, by, NOW)  # type: ignore[arg-type]
    rows = {row.group: row for row in report.rows}
    assert rows.keys() == of_group.keys()
    for group, mine in of_group.items():
        told = {name: getattr(rows[group], name) or 0.0 for name in summed(mine)}
        assert told == pytest.approx(summed(mine), rel=1e-9, abs=1e-9)


def test_rows_that_are_written_as_text_are_those_of_the_models(store: Store) -> None:
    written = json.loads(b"".join(reports(store).json_by_job(T0, END, NOW)))["rows"]
    rows = reports(store).report(T0, END, "job", NOW).job_rows
    assert [JobRow(**row) for row in written] == rows
    assert list(written[0]) == list(JobRow.model_fields)


def test_csv_that_is_written_as_text_is_that_of_the_models(store: Store) -> None:
    told = reports(store)
    assert b"".join(told.csv_by_job(T0, END, NOW)).decode() == as_csv(told.report(T0, END, "job", NOW))
    assert b"".join(told.csv_by_job(END, NOW, NOW)).decode() == as_csv(told.report(END, NOW, "job", NOW))


@pytest.mark.parametrize("end", [END, T0 + timedelta(days=4, hours=3, minutes=7)])
def test_rows_of_every_sort_close_to_the_last_digits(store: Store, end: datetime) -> None:
    """By job, by user, by project, by zone, by month: with what nobody held they make the same total."""
    made = {by: reports(store).report(T0, end, by, NOW) for by in BY}
    total = made["job"].total
    assert {by for by in BY if made[by].total != total} == set()
    for name in (
        "it_energy_kwh",
        "facility_energy_kwh",
        "emissions_location_g",
        "emissions_booked_g",
        "cost",
        "water_l",
    ):
        for by, report in made.items():
            parts = [getattr(row, name) for row in (*report.rows, report.unattributed)]
            assert (by, fsum(filter(None, parts))) == (by, pytest.approx(getattr(total, name), rel=1e-12))


@example([0.0, -0.0])
@example([2.0000000000015, 999.9999999999995, 1e-3, 1e11, 123456789012.5])
@given(st.lists(st.floats(allow_nan=True, allow_infinity=False), min_size=1, max_size=30))
def test_numbers_of_a_column_are_written_as_each_alone_is(values: list[float]) -> None:
    rows = b"".join(csv_rows({"it": np.array(values, dtype=np.float64)}, len(values), ["it"])).decode()
    assert rows.split("\n")[:-1] == ["" if value != value else plain_number(value) for value in values]


@given(
    st.lists(
        st.one_of(st.text(max_size=6), st.sampled_from(["=1", " -2", "a,b", '"', "", "x\r"])),
        min_size=101,
        max_size=120,
    )
)
def test_texts_of_a_column_are_read_as_what_they_are(values: list[str]) -> None:
    rows = b"".join(csv_rows({"it": values, "n": 1}, len(values), ["it", "n"])).decode()
    read = [row[0].removeprefix("'") for row in csv.reader(io.StringIO(rows, newline=""))]
    assert read == [value.removeprefix("'") for value in values]


def reports(store: Store) -> Reports:
    """What makes reports of it, with every basis."""
    return Reports(store.archive, lambda: GPUS, ReportSettings(zone="GB", pue=PUE, bases=ALL_BASES))


@pytest.mark.parametrize("query", ["_merged", "_unmerged", "_edges", "_peaks"])
def test_no_slice_outside_of_the_period_is_looked_at(store: Store, query: str) -> None:
    asked = getattr(period_parts, query)(T0, T0 + timedelta(hours=1))
    text = str(asked.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
    with closing(sqlite3.connect(store.path)) as connection:
        plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")]
    assert any("SEARCH slices USING" in step for step in plan), plan
    assert not any("SCAN slices" in step for step in plan), plan


@given(st.lists(st.tuples(st.integers(-1, 3), st.floats(-1e9, 1e9)), max_size=60))
def test_sums_of_groups_are_exact_up_to_their_last_bits(rows: list[tuple[int, float]]) -> None:
    code, values = np.array([each for each, _ in rows], dtype=np.int64), np.array([value for _, value in rows])
    for group, found in enumerate(Grouping(code, 4).sums(values).tolist()):
        mine = [value for each, value in rows if each == group]
        assert found == pytest.approx(fsum(mine), rel=1e-12, abs=1e-15 * max(map(abs, mine), default=0.0))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_quotients_are_rounded_as_one_alone_is(values: list[float]) -> None:
    assert significants(np.array(values, dtype=np.float64)).tolist() == pytest.approx(
        [significant(value) for value in values], rel=1e-11, abs=0.0
    )


def test_sets_of_more_words_than_a_number_has_bits_are_told_apart() -> None:
    words = [f"word {number}" for number in range(150)]
    sets = np.eye(150, dtype=np.bool_)
    assert names(sets, words) == [[word] for word in words]


@pytest.mark.parametrize("text", ['a "quote"', "a,b", '","', "back\\slash", "größer", "100 %", "%s", ""])
def test_columns_of_text_are_json_whatever_is_in_them(text: str) -> None:
    column = [f"{text}{number}" for number in range(200)]
    made = {"own": column, "same": [text] * 200, "none": None}
    rows = b"".join(json_rows(made, 200, ("own", "same", "none"), b"\n")).splitlines()
    assert [json.loads(row) for row in rows] == [{"own": each, "same": text, "none": None} for each in column]

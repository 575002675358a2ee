"""The route of reports says whose period it is, refuses what is none, and is there for every user."""

import csv
import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from greenrun.store import Store
from tests.api.fakes import ADA, BOB, NOW, World
from tests.reports.build import END, T0, fill, reports_of


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Store(tmp_path / "greenrun.db") as store:
        fill(store, 12)
        world = World()
        world.scheduler.reports = reports_of(store)  # type: ignore[attr-defined]
        yield world


def query(**parts: str) -> dict[str, str]:
    return {"from": T0.isoformat(), "to": END.isoformat(), **parts}


def test_everybody_may_read_a_report_and_an_operator_of_each_job(world: World) -> None:
    """Of the jobs of others the sum alone: `tests/reports/test_readers.py` looks at it."""
    for who, rows, others in (("uid:0", 12, None), (BOB, 0, 12)):
        answer = world.ask("GET", "/v1/reports", who=who, params=query(by="job"))
        told = answer.json()
        assert (answer.status_code, told["by"], len(told["rows"])) == (200, "job", rows)
        assert (told["others"] and told["others"]["jobs"]) == others


def test_by_default_it_is_of_this_month(world: World) -> None:
    answer = world.ask("GET", "/v1/reports").json()
    assert (answer["from"], answer["to"]) == ("2026-03-01T00:00:00Z", NOW.isoformat().replace("+00:00", "Z"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"from": END.isoformat(), "to": T0.isoformat()},
        {"from": "0001-01-01T00:00:00Z"},
        {"to": "9999-12-31T00:00:00Z"},
        {"from": "2001-01-01T00:00:00Z"},
        {"from": "2026-01-01T00:00:00"},
        {"by": "country"},
    ],
)
def test_what_is_no_period_is_refused_with_the_field(world: World, wrong: dict[str, str]) -> None:
    answer = world.ask("GET", "/v1/reports", params=query(**wrong))
    assert (answer.status_code, bool(answer.json()["errors"])) == (422, True)


def test_whoever_has_a_name_that_another_account_had_is_not_told_of_its_jobs(world: World, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "greenrun.db")) as connection, connection:
        connection.execute("UPDATE jobs SET user = 'ada', uid = iif(id % 3 = 0, 41001, 41009)")
    told = world.ask("GET", "/v1/reports", who=ADA, params=query(by="job")).json()
    assert {row["uid"] for row in told["rows"]} == {41001}
    assert (len(told["rows"]), told["others"]["jobs"]) == (4, 8)


@pytest.mark.parametrize(("by", "lines"), [("job", 15), ("user", 6)])
def test_as_csv_it_is_a_line_for_each_row(world: World, by: str, lines: int) -> None:
    answer = world.ask("GET", "/v1/reports", who="uid:0", params=query(by=by, format="csv"))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert (len(rows) + 1, rows[-1]["group"], rows[0]["by"]) == (lines, "total", by)


def test_of_many_rows_some_can_be_asked_for(world: World) -> None:
    whole = world.ask("GET", "/v1/reports", who="uid:0", params=query(by="job")).json()
    some = world.ask("GET", "/v1/reports", who="uid:0", params=query(by="job", rows="5")).json()
    assert (some["rows"], some["rows_left_out"], whole["rows_left_out"]) == (whole["rows"][:5], 7, 0)


@pytest.mark.parametrize("wrong", [{"rows": "0"}, {"rows": "many"}, {"format": "html"}])
def test_a_form_that_there_is_not_is_refused(world: World, wrong: dict[str, str]) -> None:
    assert world.ask("GET", "/v1/reports", params=query(**wrong)).status_code == 422

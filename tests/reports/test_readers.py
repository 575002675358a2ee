"""Reports for a reader who may not be told of all jobs one by one: what others used is one row, and sums close."""

import json
from collections.abc import Iterator
from math import fsum
from pathlib import Path

import pytest

from greenrun.reports.rows.reader import Reader
from greenrun.store import Store
from tests.reports.build import END, NOW, T0, fill, reports_of

OWN = "user 0"
LISTED = Reader(tells=lambda owner: owner.name == OWN)
PRIVATE = Reader(tells=lambda owner: owner.name == OWN, names=lambda owner: owner.name == OWN, is_told_all=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder: Path = tmp_path_factory.mktemp("books")
    with Store(folder / "greenrun.db") as opened:
        fill(opened, 12)
        yield opened


@pytest.mark.parametrize("reader", [LISTED, PRIVATE])
def test_a_report_by_job_has_the_readers_own_and_one_row_of_others(store: Store, reader: Reader) -> None:
    whole = reports_of(store).report(T0, END, "job", NOW)
    made = json.loads(b"".join(reports_of(store).json_by_job(T0, END, NOW, reader)))
    assert {row["user"] for row in made["rows"]} == {OWN}
    others = [row for row in whole.rows if row.user != OWN]
    assert made["others"]["jobs"] == len(others)
    energy_kwh = [row["it_energy_kwh"] for row in (*made["rows"], made["others"], made["unattributed"])]
    assert fsum(filter(None, energy_kwh)) == pytest.approx(whole.total.it_energy_kwh, rel=1e-9)
    assert made["total"]["emissions_location_g"] == whole.total.emissions_location_g


@pytest.mark.parametrize("by", ["project", "user"])
def test_a_private_report_names_no_other_user_and_no_project_of_theirs(store: Store, by: str) -> None:
    made = reports_of(store).report(T0, END, by, NOW, PRIVATE)
    text = made.model_dump_json()
    assert not any(name in text for name in ("user 1", "user 2"))
    assert (made.by_user, made.by_project) == ([], [])
    assert made.others is not None
    rows = [*made.rows, made.others]
    whole = reports_of(store).report(T0, END, by, NOW)
    assert fsum(row.run_seconds for row in rows) == pytest.approx(whole.total.run_seconds, rel=1e-9)
    if by == "user":
        assert [row.group for row in made.rows] == [OWN]


def test_a_listed_report_names_users_and_whoever_may_see_all_has_no_row_of_others(store: Store) -> None:
    made = reports_of(store).report(T0, END, "user", NOW, LISTED)
    assert ({row.group for row in made.rows}, made.others) == ({"user 0", "user 1", "user 2"}, None)
    assert reports_of(store).report(T0, END, "job", NOW).others is None

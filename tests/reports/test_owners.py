"""Rows by user are of accounts: of one name that two had, and of one number that two had, each has a row of its own."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from math import fsum

import pytest

from greenrun.core.accounting.usage import Owner, owner_labels
from greenrun.reports.rows.reader import Reader
from greenrun.store import Store
from tests.reports.build import END, NOW, T0, fill, reports_of

# Of jobs by their ids: ada's number was given to eve, and her name later to somebody else.
OWNERS = [Owner(1001, "ada"), Owner(1001, "eve"), Owner(1002, "ada"), Owner(1003, "bob")]
LABELS = ["ada (uid 1001)", "eve", "ada (uid 1002)", "bob"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("books") / "greenrun.db") as opened:
        fill(opened, 24)
        with closing(sqlite3.connect(opened.path)) as connection, connection:
            for at, owner in enumerate(OWNERS):
                connection.execute("UPDATE jobs SET uid = ?, user = ? WHERE id % 4 = ?", (*owner, at))
        yield opened


def test_a_name_that_one_account_had_is_enough_and_else_its_number_is_told() -> None:
    assert owner_labels(OWNERS) == LABELS
    assert owner_labels(OWNERS[:2]) == ["ada", "eve"]


def test_each_account_is_a_row_and_they_add_up(store: Store) -> None:
    made = reports_of(store).report(T0, END, "user", NOW)
    assert {row.group: row.uid for row in made.rows} == dict(zip(LABELS, (owner.uid for owner in OWNERS), strict=True))
    assert {row.group: row.jobs for row in made.rows} == dict.fromkeys(LABELS, 6)
    assert {(row.group, row.uid) for row in made.by_user} == {(row.group, row.uid) for row in made.rows}
    assert made.total.uid is None
    jobs = reports_of(store).report(T0, END, "job", NOW).job_rows
    for row, owner in ((row, OWNERS[LABELS.index(row.group)]) for row in made.rows):
        own = [job.emissions_location_g or 0.0 for job in jobs if (job.uid, job.user) == owner]
        assert row.emissions_location_g == pytest.approx(fsum(own), rel=1e-12)


def test_a_trend_compares_with_the_same_account(store: Store) -> None:
    """The period is the later half of the books: the one before has other jobs of the same four accounts."""
    middle = T0 + (END - T0) / 2
    made = reports_of(store).report(middle, END, "user", NOW)
    before = {row.group: row for row in reports_of(store).report(T0, middle, "user", NOW).rows}
    told = {row.group: row.previous_energy_kwh for row in made.by_user}
    assert told == {group: pytest.approx(before[group].it_energy_kwh) if group in before else None for group in told}


def test_a_reader_is_told_of_the_jobs_of_an_account_and_not_of_a_name(store: Store) -> None:
    own = Reader(tells=lambda owner: owner.uid == 1002)
    made = reports_of(store).report(T0, END, "job", NOW, own)
    assert {(row.uid, row.user) for row in made.job_rows} == {(1002, "ada")}
    assert made.others is not None
    assert made.others.jobs == 18

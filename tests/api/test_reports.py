"""The route of reports says whose period it is, refuses what is none, and is there for every user."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from greenrun.store import Store
from tests.api.fakes import BOB, NOW, World
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

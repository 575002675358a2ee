"""The page of reports has a month's figures, to each as much as they may see, and files of them in every format."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenrun.reports.formats import WRITERS
from greenrun.store import Store
from greenrun.web.pages import reports_page
from greenrun.web.pages.reports_page import FORMATS, MOST_AT_ONCE
from tests.reports.build import NOW, fill, reports_of
from tests.web.pages import STRANGER, PageWorld, text_of

ROOT = "uid:0"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageWorld]:
    """A daemon with a few jobs in its books."""
    with Store(tmp_path_factory.mktemp("books") / "greenrun.db") as store:
        fill(store, 4)
        made = PageWorld()
        made.now = NOW
        made.scheduler.reports = reports_of(store)
        yield made


def month_of(world: PageWorld) -> str:
    """The month that the page shows."""
    found = re.search(r"<option selected>(\d{4}-\d{2})</option>", world.get("/reports", who=ROOT).text)
    assert found
    return found[1]


def test_a_month_is_shown_with_rows_and_a_link_to_every_format(world: PageWorld) -> None:
    answer = world.get("/reports?month=2026-10", who=ROOT)
    assert answer.status_code == 200
    assert "content-security-policy" in answer.headers
    assert re.findall(r"[?&;]format=([a-z]+)", answer.text) == list(FORMATS)
    assert re.search(r"total \d+ [\d.]+ k?Wh [\d.]+ k?g", text_of(answer.text))


def test_every_format_of_reports_is_offered() -> None:
    assert set(FORMATS) == set(WRITERS)


@pytest.mark.parametrize("by", ["project", "user", "job", "month", "zone"])
def test_rows_are_by_what_is_asked(world: PageWorld, by: str) -> None:
    answer = world.get(f"/reports?by={by}", who=ROOT)
    assert answer.status_code == 200
    assert f"<option selected>{by}</option>" in answer.text


@pytest.mark.parametrize("query", ["month=2026-13", "month=9999-01", "by=moon", "month=x"])
def test_what_is_no_month_and_no_group_is_refused(world: PageWorld, query: str) -> None:
    assert world.get(f"/reports?{query}", who=ROOT).status_code == 422
    assert world.get("/reports/file?format=exe", who=ROOT).status_code == 422


def test_a_stranger_sees_sums_and_no_rows(world: PageWorld) -> None:
    text = world.get("/reports", who=STRANGER).text
    assert "Rows by" not in text
    assert "/reports/file" not in text
    assert "greenrun web" in text


def test_a_file_is_what_the_command_writes(world: PageWorld, tmp_path: Path) -> None:
    answer = world.get(f"/reports/file?format=sci&month={month_of(world)}", who=ROOT)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert 'filename="greenrun-' in answer.headers["content-disposition"]
    assert json.loads(answer.text)


def test_more_files_than_a_few_are_not_written_at_once(world: PageWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    target = f"/reports/file?format=sci&month={month_of(world)}"
    told: list[tuple[int, str | None]] = []

    def written(*_: object) -> bytes:
        """While a file is written, somebody else asks for another, up to one too many."""
        if len(told) < MOST_AT_ONCE:
            answer = world.get(target, who=ROOT)
            told.append((answer.status_code, answer.headers.get("retry-after")))
        return b"{}"

    monkeypatch.setattr(reports_page, "_written", written)
    assert world.get(target, who=ROOT).status_code == 200
    assert told == [(503, "10"), (200, None)]
    assert world.get(target, who=ROOT).status_code == 200


def test_the_card_of_the_month_is_made_once_in_a_while(world: PageWorld) -> None:
    first = world.get("/page/month")
    assert first.status_code == 200
    assert "Avoided this month" in first.text
    assert "data-fetch" not in world.get("/").text

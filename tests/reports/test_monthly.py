"""A month is written when it is due, and not again without need; wholly or not at all; and what moved is told."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from structlog.testing import capture_logs

from greenrun.core.accounting.period import Period
from greenrun.core.errors import ReportError
from greenrun.reports import monthly
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.monthly import MonthlyReports, MonthlyReportSettings
from greenrun.store import Store
from greenrun.store.ledger.archive import Archive
from tests.reports.build import GPUS, fill, reports_of, settle

NOVEMBER = datetime(2026, 11, 1, 1, tzinfo=UTC)  # the scripted books begin on October 28
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("books") / "greenrun.db"
    with Store(path) as opened:
        fill(opened, 15, settled=0.5)
    return path


@pytest.fixture
def store(tmp_path: Path, books: Path) -> Iterator[Store]:
    with Store(Path(copy(books, tmp_path))) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "of us" / "reports"


def opened(store: Store, folder: Path, **more: Any) -> MonthlyReports:
    """What writes reports, as a daemon that has just started has it."""
    return MonthlyReports(reports_of(store), MonthlyReportSettings(folder=folder, **more))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_month_that_is_settled_is_written_once_whatever_restarts(store: Store, folder: Path) -> None:
    settle(store)
    assert opened(store, folder).write_due(NOVEMBER) == ["2026-10"]
    assert names(folder) == ["2026-10.csv", "2026-10.html", "2026-10.json"]
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = opened(store, folder)
    assert [again.write_due(NOVEMBER + n * DAY) for n in range(9)] == [[]] * 9
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    made = read(folder / "2026-10.json")
    assert (made["from"], made["to"], made["preliminary"]) == ("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z", False)
    assert "moved" not in made


def test_what_does_not_settle_is_written_as_preliminary_and_once_more_when_it_does(store: Store, folder: Path) -> None:
    monthly = opened(store, folder, formats=("html",))
    assert monthly.write_due(NOVEMBER + 2.9 * DAY) == []
    assert monthly.write_due(NOVEMBER + 3 * DAY) == ["2026-10"]
    assert monthly.write_due(NOVEMBER + 4 * DAY) == []
    first = read(folder / "2026-10.json")
    assert first["preliminary"]
    assert "preliminary" in (folder / "2026-10.html").read_text(encoding="utf-8")
    settle(store)
    assert opened(store, folder, formats=("html",)).write_due(NOVEMBER + 40 * DAY)[:1] == ["2026-10"]
    second = read(folder / "2026-10.json")
    assert not second["preliminary"]
    assert second["compared_with"] == first["generated_at"]
    total = {row["field"]: row for row in second["moved"] if row["where"] == "total"}
    assert total["emissions_settled_g"]["before"] == first["total"]["emissions_settled_g"]
    assert total["emissions_settled_g"]["after"] == second["total"]["emissions_settled_g"]
    assert read(folder / "2026-10.v1.json") == first
    assert "What moved" in (folder / "2026-10.html").read_text(encoding="utf-8")


def test_a_month_without_books_has_no_report(store: Store, folder: Path) -> None:
    assert opened(store, folder).write_due(datetime(2026, 10, 5, tzinfo=UTC)) == []
    assert names(folder) == []


def test_a_crash_before_the_json_leaves_the_earlier_one_and_is_made_good(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(store, folder).write_due(NOVEMBER + 3 * DAY)
    first = read(folder / "2026-10.json")
    settle(store)
    replace = monthly._replace

    def dies(path: Path, text: bytes) -> None:
        if path.name == "2026-10.json":
            raise OSError(28, "No space left on device")
        replace(path, text)

    monkeypatch.setattr(monthly, "_replace", dies)
    with pytest.raises(ReportError, match=r"No space left on device.*within the hour"):
        opened(store, folder).write_due(NOVEMBER + 5 * DAY)
    assert read(folder / "2026-10.json") == first
    monkeypatch.undo()
    assert opened(store, folder).write_due(NOVEMBER + 5 * DAY) == ["2026-10"]
    assert [name for name in names(folder) if ".v" in name] == ["2026-10.v1.json"]
    assert not read(folder / "2026-10.json")["preliminary"]


def test_an_earlier_report_that_cannot_be_read_is_kept(store: Store, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "2026-10.json").write_text("{ torn", encoding="utf-8")
    settle(store)
    assert opened(store, folder).write_due(NOVEMBER) == ["2026-10"]
    assert (folder / "2026-10.v1.json").read_text(encoding="utf-8") == "{ torn"
    assert "moved" not in read(folder / "2026-10.json")


def test_files_of_others_in_the_folder_are_left_alone(store: Store, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "abcd-ef.json").write_text("mine", encoding="utf-8")
    settle(store)
    assert opened(store, folder).write_due(NOVEMBER) == ["2026-10"]
    assert (folder / "abcd-ef.json").read_text(encoding="utf-8") == "mine"


def test_what_was_missed_while_greenrun_was_away_is_written_when_it_is_back(store: Store, folder: Path) -> None:
    settle(store)
    assert opened(store, folder).write_due(NOVEMBER + 45 * DAY) == ["2026-10"]


def test_a_month_is_not_written_before_its_last_minutes_can_be_booked(store: Store, folder: Path) -> None:
    settle(store)
    assert opened(store, folder).write_due(NOVEMBER.replace(hour=0)) == []


def test_where_nothing_tells_what_was_measured_there_is_nothing_to_wait_for(store: Store, folder: Path) -> None:
    """A host without a zone: its reports are of energy, and final."""
    source = Reports(store.archive, lambda: GPUS, ReportSettings(settles=False))
    assert MonthlyReports(source, MonthlyReportSettings(folder=folder)).write_due(NOVEMBER) == ["2026-10"]
    assert not read(folder / "2026-10.json")["preliminary"]
    assert Reports(store.archive, lambda: GPUS, ReportSettings()).waits(NOVEMBER - 30 * DAY, NOVEMBER)


def test_a_month_that_cannot_be_written_keeps_no_other_from_it(store: Store, folder: Path) -> None:
    settle(store)
    (folder / "2026-09.json").mkdir(parents=True)
    (folder / "2026-09.json" / "in the way").touch()
    with pytest.raises(ReportError, match=r"\[reports\] folder"):
        opened(store, folder).write_due(NOVEMBER)
    assert (folder / "2026-10.json").is_file()


def test_a_failure_is_one_sentence_in_the_log_and_counted(store: Store, tmp_path: Path) -> None:
    settle(store)
    (tmp_path / "file").touch()
    reports = opened(store, tmp_path / "file" / "folder")
    with capture_logs() as logs:
        reports.keep_up(NOVEMBER)
        reports.keep_up(NOVEMBER + DAY)
    assert reports.failures == 2
    assert [row["log_level"] for row in logs] == ["warning"] * 2
    assert "again within the hour" in logs[0]["error"]


def test_a_full_disk_leaves_no_half_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(monthly.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        monthly._replace(folder / "a.csv", b"x")
    assert names(folder) == []


@pytest.mark.parametrize("text", ['{"preliminary": true, "rows": 7}', "[" * 100_000])
def test_an_earlier_report_that_is_none_is_kept_and_not_compared(store: Store, folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "2026-10.json").write_text(text, encoding="utf-8")
    settle(store)
    assert opened(store, folder).write_due(NOVEMBER) == ["2026-10"]
    assert (folder / "2026-10.v1.json").read_text(encoding="utf-8") == text
    assert "moved" not in read(folder / "2026-10.json")


def test_what_settles_while_a_report_is_made_does_not_make_it_final(store: Store) -> None:
    """Its figures were read before."""

    class Settles(Archive):
        def period(self, start: datetime, end: datetime) -> Period:
            read = super().period(start, end)
            settle(store)
            return read

    start, end = NOVEMBER - 30 * DAY, NOVEMBER.replace(hour=0)
    store.archive = Settles(store.database)
    made = reports_of(store).report(start, end, "project", NOVEMBER + DAY)
    assert (made.total.settled_ratio < 1, made.preliminary) == (True, True)
    again = reports_of(store).report(start, end, "project", NOVEMBER + DAY)
    assert (again.total.settled_ratio, again.preliminary) == (pytest.approx(1), False)
    assert reports_of(store).report(start, NOVEMBER + 60 * DAY, "project", NOVEMBER).preliminary

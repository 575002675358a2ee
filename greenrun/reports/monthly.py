"""Write the report of each month to a folder: once it is settled, or after some days and once more when it is.

A written report is never lost: one that replaces it says what changed, and the earlier one stays next to it. The JSON
is written last, so once it exists, the other formats do, too.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import structlog

from greenrun.core.errors import ReportError
from greenrun.reports.formats import WRITERS, By
from greenrun.reports.model import Report
from greenrun.reports.movement import compared

log = structlog.get_logger("greenrun.reports")

SUFFIXES: Mapping[str, str] = {"json": ".json", "csv": ".csv", "html": ".html"}
_MOST_VERSIONS = 1000
_LATELY = 3  # months that are looked after though nothing was written: greenrun may have been away
_BOOKED_BY = timedelta(minutes=10)  # after a month's end its last minutes are in the books, where they can be read


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthlyReportSettings:
    """Folder and formats of monthly reports; `settled_by` after a month's end one is written, settled or not."""

    folder: Path
    formats: Sequence[str] = ("html", "json", "csv")
    settled_by: timedelta = timedelta(days=3)
    by: By = "project"


class Source(Protocol):
    """What makes the reports (greenrun.reports.build.Reports)."""

    def report(self, start: datetime, end: datetime, by: By, now: datetime) -> Report:
        """Return the report of `[start, end)`."""

    def waits(self, start: datetime, end: datetime) -> bool:
        """Whether something in `[start, end)` can still settle."""


class MonthlyReports:
    """Keeps a folder of monthly reports up to date; called regularly, it writes only what is due."""

    def __init__(self, source: Source, settings: MonthlyReportSettings) -> None:
        self._source = source
        self._settings = settings
        self._done: set[str] = set()
        self.failures = 0

    def write_due(self, now: datetime) -> list[str]:
        """Write what is due: the last months, and months before them that were preliminary; return the months written.

        Raise ReportError, after trying the others, when one cannot be written, and StoreError; the next call tries
        again.
        """
        written, refused = [], None
        for month in self._candidates(now):
            try:
                written += [month] if self._write_if_due(month, now) else []
            except OSError as exc:
                refused = exc
        if refused is not None:
            raise ReportError(
                f"A monthly report cannot be written to {self._settings.folder} ({refused.strerror}): greenrun will "
                "try again within the hour; make the folder writable, or set [reports] folder to another one."
            ) from refused
        return written

    def keep_up(self, now: datetime) -> None:
        """Write what is due; what goes wrong with the folder is logged and counted. Raise StoreError."""
        try:
            self.write_due(now)
        except ReportError as exc:
            self.failures += 1
            log.warning("monthly report not written", error=str(exc))

    def _candidates(self, now: datetime) -> list[str]:
        day, recent = now.astimezone(UTC), set()
        for _ in range(_LATELY):
            day = day.replace(day=1) - timedelta(days=1)
            recent.add(f"{day:%Y-%m}")
        named = (path.stem for path in self._settings.folder.glob("????-??.json"))
        months = {name for name in named if name < max(recent) and _is_month(name)} | recent
        return sorted(months - self._done)

    def _write_if_due(self, month: str, now: datetime) -> bool:
        start, end = _span(month)
        before = self._written(month)
        if before is not None and not before.get("preliminary", True):
            self._done.add(month)
            return False
        waits = self._source.waits(start, end)
        if now < end + _BOOKED_BY or (waits and (before is not None or now < end + self._settings.settled_by)):
            return False
        report = self._source.report(start, end, self._settings.by, now)
        if not report.days:
            if now >= end + self._settings.settled_by:
                self._done.add(month)
            return False  # greenrun was not there
        self._put(month, _compared(before, report))
        log.info("monthly report written", month=month, preliminary=report.preliminary)
        return True

    def _written(self, month: str) -> Mapping[str, object] | None:
        path = self._path(month, ".json")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            log.warning("an earlier report cannot be read and is kept beside the new one", path=str(path))
            return None
        return found if isinstance(found, dict) else None

    def _put(self, month: str, report: Report) -> None:
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        forms = [name for name in self._settings.formats if name != "json"]
        for form in forms:
            _replace(self._path(month, SUFFIXES[form]), WRITERS[form](report).encode())
        self._keep(month)
        _replace(self._path(month, ".json"), WRITERS["json"](report).encode())

    def _keep(self, month: str) -> None:
        """Keep the JSON that is about to be replaced under a version's name, once."""
        current = self._path(month, ".json")
        if not current.exists():
            return
        text = current.read_bytes()
        for number in range(1, _MOST_VERSIONS):
            version = self._path(month, f".v{number}.json")
            if not version.exists():
                _replace(version, text)
                return
            if version.read_bytes() == text:
                return  # a crash came between keeping and replacing

    def _path(self, month: str, suffix: str) -> Path:
        return self._settings.folder / f"{month}{suffix}"


def _compared(before: Mapping[str, object] | None, report: Report) -> Report:
    """Return the report compared with the earlier one, where there is one that can be compared."""
    try:
        return report if before is None else compared(before, report)
    except ValueError as exc:
        log.warning("an earlier report cannot be compared and is kept beside the new one", error=str(exc))
        return report


def _span(month: str) -> tuple[datetime, datetime]:
    start = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
    return start, (start + timedelta(days=32)).replace(day=1)


def _is_month(name: str) -> bool:
    try:
        _span(name)
    except ValueError:
        return False
    return True


def _replace(path: Path, text: bytes) -> None:
    """Replace a file's content atomically."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink()  # what is left of it where the disk is full

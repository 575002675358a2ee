"""Parse a CSV file of `start,VALUE` (prices, or a contract's emission factors); report errors by line."""

import csv
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from math import isfinite
from pathlib import Path

import structlog

from greenrun.core.accounting.step_function import Steps
from greenrun.core.errors import ProviderError, ProviderGarbage, ProviderRefused
from greenrun.core.parsing import parse_instant
from greenrun.providers.payload import checked

log = structlog.get_logger("greenrun.providers")

LONGEST = timedelta(hours=1)
SIZE_CAP_BYTES = 64 * 1024 * 1024
SHOWN = 20

_Row = tuple[datetime, float | None]


class ValueFile:
    """A file's values, reread when it changes; an invalid change is logged, and the old values stay."""

    def __init__(self, path: Path, column: str, *, lowest: float, highest: float) -> None:
        """Read the file; raise ProviderError if it cannot be used."""
        self._path, self._column, self._bounds = path, column, (lowest, highest)
        self._signature = _signature(path)
        self._steps = self._read()

    def steps(self) -> Steps:
        """Return the file's present values."""
        try:
            signature = _signature(self._path)
            if signature != self._signature:
                self._signature = signature
                self._steps = self._read()
        except ProviderError as exc:
            log.warning("file cannot be used, what it said before stays in use", path=str(self._path), error=str(exc))
        return self._steps

    def _read(self) -> Steps:
        try:
            with self._path.open("rb") as file:
                raw = file.read(SIZE_CAP_BYTES + 1)
        except OSError as exc:
            raise ProviderRefused(f"{self._path} cannot be read ({exc.strerror}); correct its path") from exc
        return parse_values(raw, str(self._path), self._column, *self._bounds)


def parse_values(raw: bytes, source: str, column: str, lowest: float, highest: float) -> Steps:
    """Return the values in the bytes of a CSV file; raise ProviderGarbage naming `source` and every invalid line.

    An empty value is a hole, and so is a missing line.
    """
    problems: list[str] = []
    rows = list(_rows(_text(raw, problems), column, lowest, highest, problems))
    if not problems:
        try:
            return Steps.from_starts(rows, LONGEST)
        except ValueError as exc:
            problems.append(str(exc))
    listed = "\n  ".join([*problems[:SHOWN], *([f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else [])])
    raise ProviderGarbage(f"greenrun does not use {source}:\n  {listed}", raw[:2000].decode("utf-8", "replace"))


def _text(raw: bytes, problems: list[str]) -> str:
    if len(raw) > SIZE_CAP_BYTES:
        problems.append(f"it is larger than {SIZE_CAP_BYTES // 1024**2} MiB; cut it to the years you need")
        return ""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
        problems.append(f"line {line} is not UTF-8 text; save it as CSV in UTF-8")
        return ""


def _rows(text: str, column: str, lowest: float, highest: float, problems: list[str]) -> Iterator[_Row]:
    lines = _cells(text, problems)
    header = [name.strip() for name in lines[0]] if lines else []
    if header != ["start", column]:
        if not problems:
            problems.append(f"its first line must be start,{column} and not {','.join(header)[:80]!r}")
        return
    last: datetime | None = None
    for number, cells in enumerate(lines[1:], 2):
        if not any(cells):
            continue
        try:
            start, value = _row(cells, lowest, highest)
            if last is not None and start <= last:
                raise ValueError("it does not start after the line above; sort the file, and keep each line once")
        except ValueError as exc:
            problems.append(f"line {number}: {exc}")
            continue
        last = start
        yield start, value


def _cells(text: str, problems: list[str]) -> list[list[str]]:
    try:
        return list(csv.reader(StringIO(text, newline="")))
    except csv.Error as exc:
        problems.append(f"it is not CSV ({exc})")
        return []


def _row(cells: list[str], lowest: float, highest: float) -> _Row:
    if len(cells) != 2:
        raise ValueError(f"it has {len(cells)} columns instead of 2")
    start, text = checked(parse_instant(cells[0].strip())), cells[1].strip()
    if not text:
        return start, None
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or not lowest <= value <= highest:
        raise ValueError(f"{text[:40]!r} is not a number between {lowest:g} and {highest:g}; leave it empty for a hole")
    return start, value


def _signature(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as exc:
        raise ProviderRefused(f"{path} cannot be read ({exc.strerror}); correct its path or its permissions") from exc
    return found.st_mtime_ns, found.st_size, found.st_ino

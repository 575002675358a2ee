"""Parse an intensity trace from CSV; report all its errors at once, by line, instead of guessing."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import pairwise
from math import isfinite
from operator import itemgetter
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from greenrun.core.carbon.intensity import Basis, Floats
from greenrun.core.carbon.slot_lengths import slot_lengths_us, usual_step_us
from greenrun.core.errors import ProviderGarbage
from greenrun.core.parsing import parse_instant
from greenrun.core.units import ABSURD_G_PER_KWH
from greenrun.providers.csv_files.columns import PLAIN_HEADER, Columns, columns_of

Micros = NDArray[np.int64]
Flags = NDArray[np.bool_]

SIZE_CAP_BYTES = 64 * 1024 * 1024
SHOWN_PROBLEMS = 20
EMPTY = float("nan")  # the value of a line that has none
KEEP = 'or set holes = "keep" and greenrun plans around it and says so'

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_YEAR, _LAST_YEAR = 1990, 2200  # anything outside is a mistake, and may overflow


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceIssue:
    """Slots published together at `issued_us`, or (None) each at its own end. Arrays have shape (n,), n > 0.

    Starts and ends are epoch microseconds in order, so that edges stay exact; values are g/kWh, `estimated` marks those
    that the file declares as not measured.
    """

    issued_us: int | None
    starts_us: Micros
    ends_us: Micros
    values: Floats
    estimated: Flags


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """A file's issues, in order; a slot is usually `step_us` microseconds long. `zone`, `basis`: None if not stated."""

    step_us: int
    issues: tuple[TraceIssue, ...]
    zone: str | None = None
    basis: Basis | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    lines: NDArray[np.int64]
    issued_us: Micros
    starts_us: Micros
    values: Floats
    estimated: Flags
    zone: str | None
    basis: Basis | None


class _Problems:
    """Collects a file's problems, to report them together; `times_unclear` if a line's instant is unusable."""

    def __init__(self, source: str, payload: str = "") -> None:
        self._source = source
        self._payload = payload
        self._found: list[tuple[int, str]] = []
        self.times_unclear = False

    def add(self, line: int, sentence: str, *, of_time: bool = False) -> None:
        """Add a sentence about a line (0: about the whole file)."""
        self._found.append((line, sentence))
        self.times_unclear |= of_time

    def raise_any(self) -> None:
        """Raise ProviderGarbage with the first problems, if there are any."""
        if self._found:
            raise ProviderGarbage(self._message(), self._payload)

    def fail(self, line: int, sentence: str) -> NoReturn:
        """Raise ProviderGarbage at once: the rest cannot be parsed."""
        self._found = [(line, sentence)]
        raise ProviderGarbage(self._message(), self._payload)

    def _message(self) -> str:
        texts = [f"line {line}: {text}" if line else text for line, text in sorted(self._found, key=itemgetter(0))]
        if len(texts) == 1:
            return f"greenrun does not use {self._source}: {texts[0]}"
        rest = [f"and {len(texts) - SHOWN_PROBLEMS} more"] if len(texts) > SHOWN_PROBLEMS else []
        heading = f"greenrun does not use {self._source}, which has {len(texts)} problems:"
        return "\n  ".join([heading, *texts[:SHOWN_PROBLEMS], *rest])


def parse_trace(
    raw: bytes, source: str, *, keep_holes: bool, basis: Basis | None = None, zone: str | None = None
) -> Trace:
    """Return the trace in the bytes of a CSV file; raise ProviderGarbage naming `source` and every invalid line.

    With `keep_holes` lines may be missing, and values empty, which is the same.
    `basis` chooses among the columns of a file that has several, `zone` is the only one allowed in its rows.
    """
    problems = _Problems(source, raw[:2000].decode("utf-8", "replace"))
    rows = _read_rows(_text(raw, problems), basis, zone, problems)
    _check_order(rows, problems)
    step_us = 0 if problems.times_unclear else _step_us(rows, problems)
    lengths_us = _lengths_us(rows, step_us) if step_us else rows.starts_us
    if step_us:
        _check_tiling(rows, lengths_us, problems, keep_holes=keep_holes)
    _check_values(rows, problems, keep_holes=keep_holes)
    problems.raise_any()
    return Trace(step_us=step_us, issues=tuple(_issues(rows, lengths_us)), zone=rows.zone, basis=rows.basis)


def to_us(instant: datetime) -> int:
    """Return an aware instant in whole microseconds since 1970-01-01T00:00Z."""
    return (instant - _EPOCH) // _MICROSECOND


def from_us(micros: int) -> datetime:
    """Return the UTC instant of epoch microseconds."""
    return _EPOCH + timedelta(microseconds=int(micros))


def _text(raw: bytes, problems: _Problems) -> str:
    if len(raw) > SIZE_CAP_BYTES:
        problems.fail(0, f"it is larger than {SIZE_CAP_BYTES // 1024**2} MiB; cut it to the years you need")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        problems.fail(raw.count(b"\n", 0, exc.start) + 1, "it is not UTF-8 text; save it as CSV in UTF-8")


def _read_rows(text: str, basis: Basis | None, zone: str | None, problems: _Problems) -> _Rows:
    lines = _cells(text, problems)
    columns = _columns(lines, basis, problems)
    rows, zones = [], dict[str, int]()
    for line, cells in lines:
        if len(cells) != columns.width:
            problems.add(line, f"it has {len(cells)} columns instead of {columns.width}", of_time=True)
            continue
        rows.append((line, *_row(line, cells, columns, problems)))
        if columns.zone is not None:
            zones.setdefault(cells[columns.zone].strip(), line)
    if not rows and not problems.times_unclear:
        problems.fail(0, "it has a header but no slots; write one line for each slot")
    return _table(rows, _only_zone(zones, zone, problems), columns.basis)


def _table(rows: Sequence[tuple[object, ...]], zone: str | None, basis: Basis | None) -> _Rows:
    columns = np.array(rows, dtype=object).reshape(-1, 5).T
    return _Rows(
        lines=columns[0].astype(np.int64),
        issued_us=columns[1].astype(np.int64),
        starts_us=columns[2].astype(np.int64),
        values=columns[3].astype(np.float64),
        estimated=columns[4].astype(np.bool_),
        zone=zone,
        basis=basis,
    )


def _only_zone(zones: dict[str, int], wanted: str | None, problems: _Problems) -> str | None:
    """Return the zone of the rows; another one is a problem at its first line (the values of `zones`)."""
    if not zones:
        return None
    only = wanted or next(iter(zones))
    for zone, line in zones.items():
        if zone != only:
            problems.add(line, f"it is of zone {zone[:40]!r}, not {only!r}; give each zone a file of its own")
    return only


def _cells(text: str, problems: _Problems) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as exc:
            problems.fail(reader.line_num, f"it is not CSV ({exc})")
        if cells is None:
            return
        if any(cells):
            yield reader.line_num, cells


def _columns(lines: Iterator[tuple[int, list[str]]], basis: Basis | None, problems: _Problems) -> Columns:
    line, cells = next(lines, (0, []))
    if not line:
        problems.fail(
            0, f"it is empty; its first line must be {','.join(PLAIN_HEADER)} and a line for each slot follow"
        )
    try:
        return columns_of(cells, basis)
    except ValueError as exc:
        problems.fail(line, str(exc))


def _row(line: int, cells: list[str], columns: Columns, problems: _Problems) -> tuple[int, int, float, bool]:
    times_us = [0, 0]
    for place, column in enumerate((columns.issued, columns.start)):
        try:
            times_us[place] = 0 if column is None else _instant_us(columns.instant_text(cells[column].strip()))
        except ValueError as exc:
            problems.add(line, str(exc), of_time=True)
    text, value = cells[columns.value].strip(), 0.0
    try:
        value = _value(text) if text else EMPTY
    except ValueError as exc:
        problems.add(line, str(exc))
    return times_us[0], times_us[1], value, columns.is_estimated(cells)


def _instant_us(text: str) -> int:
    instant = parse_instant(text)
    if not _FIRST_YEAR <= instant.year <= _LAST_YEAR:
        raise ValueError(f"{text!r} is outside the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return to_us(instant)


def _value(text: str) -> float:
    try:
        value = float(text) if text.isascii() and "_" not in text else float("nan")
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise ValueError(
            f'{text[:40]!r} is not a number; write g CO2e per kWh, or leave it empty and set holes = "keep"'
        )
    if not 0 <= value <= ABSURD_G_PER_KWH:
        raise ValueError(f"{text[:40]} is not between 0 and {ABSURD_G_PER_KWH:g}; the unit must be g CO2e per kWh")
    return value


def _check_order(rows: _Rows, problems: _Problems) -> None:
    if problems.times_unclear:
        return
    issued, advance = np.diff(rows.issued_us), np.diff(rows.starts_us)
    for i in np.flatnonzero(issued < 0):
        problems.add(int(rows.lines[i + 1]), "its issued_at is before the line above; sort the file", of_time=True)
    for i in np.flatnonzero((issued == 0) & (advance <= 0)):
        start = from_us(rows.starts_us[i + 1]).isoformat()
        why = "is there twice; keep one" if not advance[i] else "is before the line above; sort the file"
        problems.add(int(rows.lines[i + 1]), f"the slot at {start} {why}", of_time=True)


def _check_values(rows: _Rows, problems: _Problems, *, keep_holes: bool) -> None:
    empty = np.isnan(rows.values)
    if len(empty) and empty.all():
        problems.fail(0, "all of its values are empty")
    for i in () if keep_holes else np.flatnonzero(empty):
        problems.add(int(rows.lines[i]), f"its value is empty; fill it in, {KEEP}")


def _step_us(rows: _Rows, problems: _Problems) -> int:
    """Return the usual distance between slots of one issue."""
    steps = np.diff(rows.starts_us)[np.diff(rows.issued_us) == 0]
    if not len(steps):
        problems.add(0, "it has one slot only, so their length cannot be told; write at least two in a row")
        return 0
    return usual_step_us(steps)


def _lengths_us(rows: _Rows, step_us: int) -> Micros:
    """Return the length of each slot, among those that were issued together."""
    cuts = np.flatnonzero(np.diff(rows.issued_us)) + 1
    return np.concatenate([slot_lengths_us(starts_us, step_us) for starts_us in np.split(rows.starts_us, cuts)])


def _check_tiling(rows: _Rows, lengths_us: Micros, problems: _Problems, *, keep_holes: bool) -> None:
    advance = np.diff(rows.starts_us)
    same = np.diff(rows.issued_us) == 0
    for i in np.flatnonzero(same & (advance < lengths_us[:-1])):
        start, step = from_us(rows.starts_us[i + 1]).isoformat(), timedelta(microseconds=int(lengths_us[i]))
        problems.add(
            int(rows.lines[i + 1]), f"the slot at {start} begins before the one above ends (slots last {step})"
        )
    holes = np.flatnonzero(same & (advance > lengths_us[:-1]))
    if len(holes) and not keep_holes:
        problems.add(int(rows.lines[holes[0] + 1]), _hole(rows, int(holes[0]), int(lengths_us[holes[0]]), len(holes)))


def _hole(rows: _Rows, before: int, length_us: int, count: int) -> str:
    start_us = int(rows.starts_us[before]) + length_us
    length = timedelta(microseconds=int(rows.starts_us[before + 1]) - start_us)
    first = f"a hole of {length} from {from_us(start_us).isoformat()}"
    text = f"before it is {first}" if count == 1 else f"before it is {first}, the first of {count} holes"
    return f"{text}; fill it in, {KEEP}"


def _issues(rows: _Rows, lengths_us: Micros) -> Iterator[TraceIssue]:
    has_issues = bool(rows.issued_us.any())
    cuts = np.flatnonzero(np.diff(rows.issued_us)) + 1
    for first, last in pairwise([0, *cuts, len(rows.lines)]):
        issued_us = int(rows.issued_us[first]) if has_issues else None
        cut = first + np.flatnonzero(~np.isnan(rows.values[first:last]))
        if not len(cut):
            continue
        yield TraceIssue(
            issued_us=issued_us, starts_us=rows.starts_us[cut], ends_us=rows.starts_us[cut] + lengths_us[cut],
            values=rows.values[cut], estimated=rows.estimated[cut],
        )  # fmt: skip

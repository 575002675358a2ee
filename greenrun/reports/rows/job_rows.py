"""Rows by job, a thousand at a time, as models, JSON or CSV: of tens of thousands, nobody need have all at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from greenrun.core.accounting.grouping import Grouping, Truths
from greenrun.core.accounting.parts import Integers, hour_of
from greenrun.reports.emissions import brief
from greenrun.reports.identity import identity
from greenrun.reports.model import Hour, JobRow
from greenrun.reports.rows.groups import Figures, GroupedParts, rows_of
from greenrun.reports.rows.members import Members
from greenrun.reports.rows.period_books import Books
from greenrun.reports.rows.reader import told_jobs
from greenrun.reports.rows.row_texts import JsonTexts, csv_rows, json_rows

AT_ONCE = 1000  # jobs whose rows are made together
CSV_FIELDS = [name for name in JobRow.model_fields if name != "slices"]


@dataclass(frozen=True, kw_only=True, eq=False)  # without slots: what is looked up often is kept
class JobRows:
    """The rows of `count` jobs as columns, which are made of what they `used`."""

    count: int
    figures: Figures
    used: GroupedParts

    @cached_property
    def _hourly(self) -> tuple[Figures, Sequence[int]]:
        """The hours of each job, one after the other, and where each begins; CSV has none."""
        return _hourly(self.used)

    def rows(self) -> list[JobRow]:
        """Return them as models."""
        return [self.row(at) for at in range(self.count)]

    def row(self, at: int) -> JobRow:
        """Return the row of the job at a position."""
        figures, begins = self._hourly
        begin, end = begins[at], begins[at + 1]
        slices = rows_of(_taken(figures, begin, end), end - begin, Hour.model_fields)
        (row,) = rows_of(_taken(self.figures, at, at + 1) | {"slices": [slices]}, 1, JobRow.model_fields)
        return JobRow(**row)

    def json(self) -> Iterator[bytes]:
        """Yield them as JSON, some at a time, with a comma behind each."""
        figures, begins = self._hourly
        hours = [
            line
            for lines in json_rows(figures, begins[-1], Hour.model_fields, b"\n")
            for line in lines[:-1].split(b"\n")
        ]
        slices = JsonTexts(b"[%b]" % b",".join(hours[begin:end]) for begin, end in pairwise(begins))
        return json_rows(self.figures | {"slices": slices}, self.count, JobRow.model_fields, b",")

    def csv(self, head: Mapping[str, object]) -> Iterator[bytes]:
        """Yield them as lines of CSV, some at a time, each behind the same cells."""
        return csv_rows({**self.figures, **head}, self.count, [*head, *CSV_FIELDS])

    def lacking(self, name: str) -> int | None:
        """Return the position of a job of which this is not known; None where it is known of all."""
        column = self.figures[name]
        if isinstance(column, np.ndarray):
            lacks = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), dtype=np.bool_)
        elif isinstance(column, list):
            return column.index(None) if None in column else None
        else:
            lacks = np.full(self.count, column is None)
        found = np.flatnonzero(lacks)
        return int(found[0]) if len(found) else None


def _taken(figures: Figures, begin: int, end: int) -> Figures:
    return {
        name: column[begin:end] if isinstance(column, np.ndarray | list) else column for name, column in figures.items()
    }


def told(books: Books) -> Integers:
    """Return the positions of the jobs that have a row."""
    is_there, job = np.zeros(len(books.period.jobs.id), dtype=np.bool_), books.runs.table.job
    is_there[job[books.runs.overlaps | books.runs.is_booked]] = True
    return np.flatnonzero(is_there & told_jobs(books.period.jobs, books.reader.tells))


def by_job(books: Books, most: int | None = None) -> Iterator[JobRows]:
    """Yield the rows of jobs by id, of all of them or of so many at most."""
    jobs, job = told(books)[:most], books.runs.table.job
    place = np.full(len(books.period.jobs.id), -1)
    place[jobs] = np.arange(len(jobs))
    held = np.flatnonzero(books.period.parts.is_held)
    parts = _InTurn(held, place[job[books.runs.of_part[held]]], len(jobs))
    runs = _InTurn(np.arange(len(job)), place[job], len(jobs))
    for first in range(0, len(jobs), AT_ONCE):
        last = min(first + AT_ONCE, len(jobs))
        yield _some_jobs(books, jobs[first:last], parts.of(first, last), runs.of(first, last))


class _InTurn:
    """Where the things of each of some jobs are, in the order of these; `place` is -1 for those of others."""

    def __init__(self, at: Integers, place: Integers, jobs: int) -> None:
        mine = np.flatnonzero(place >= 0)
        mine = mine[np.argsort(place[mine], kind="stable")]
        self._at, self._place = at[mine], place[mine]
        self._begins = np.searchsorted(self._place, np.arange(jobs + 1))

    def of(self, first: int, last: int) -> tuple[Integers, Grouping]:
        """Return the positions of those of jobs from one up to another, and whose each is."""
        some = slice(self._begins[first], self._begins[last])
        return self._at[some], Grouping(self._place[some] - first, last - first)


def _some_jobs(
    books: Books, jobs: Integers, parts: tuple[Integers, Grouping], runs: tuple[Integers, Grouping]
) -> JobRows:
    used = GroupedParts(books.some_parts(parts[0]), parts[1])
    ids = books.period.jobs.id[jobs].tolist()
    details = books.details(ids)
    who = identity(books.period, jobs, runs[1], runs[0], details, books.hardware, books.place, books.zone)
    whole, everyone = (_members(runs, of_period) for of_period in _which(books, runs[0]))
    made = books.figures(used, whole, everyone) | books.runs.counts(whole) | who | {"group": list(map(str, ids))}
    return JobRows(count=len(jobs), figures=made, used=used)


def _which(books: Books, runs: Integers) -> tuple[Truths, Truths]:
    """Return which runs ran in the period, and which of all have anything in it."""
    ran = books.runs.overlaps[runs]
    return ran, ran | books.runs.is_booked[runs]


def _members(runs: tuple[Integers, Grouping], which: Truths) -> Members:
    return Members(runs[0][which], Grouping(runs[1].code[which], runs[1].count))


def _hourly(used: GroupedParts) -> tuple[Figures, list[int]]:
    """Return the energy and emissions of each hour in which a group has any, in time order, and where each begins."""
    hours = used.parts.hour.astype(np.int64)
    width = int(hours.max(initial=0)) + 1
    both, code = np.unique(used.by.code * width + hours, return_inverse=True)
    made = brief(GroupedParts(used.parts, Grouping(code, len(both))))
    different, at = np.unique(both % width, return_inverse=True)
    texts = [f"{hour_of(hour):%Y-%m-%dT%H:%M:%SZ}" for hour in different.tolist()]
    made["hour"] = [texts[each] for each in at.tolist()]
    return made, np.searchsorted(both // width, np.arange(used.by.count + 1)).tolist()

"""Rows by job, some thousands at a time, as models or as JSON: of tens of thousands, nobody need have all at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from greenrun.core.accounting.grouping import Grouping, Truths
from greenrun.core.accounting.parts import Integers, hour_of
from greenrun.reports.emissions import brief
from greenrun.reports.identity import identity
from greenrun.reports.model import Hour, JobRow
from greenrun.reports.rows.groups import Figures, GroupedParts, JsonTexts, json_rows, rows_of
from greenrun.reports.rows.members import Members
from greenrun.reports.rows.period_books import Books
from greenrun.reports.rows.reader import told_jobs

AT_ONCE = 1000  # jobs whose rows are made together


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JobRows:
    """The rows of jobs as columns, of those that `is_there`; `hours` are those of each job, one after the other."""

    figures: Figures
    is_there: Truths
    hours: Figures
    begins: Sequence[int]

    def rows(self) -> list[JobRow]:
        """Return them as models."""
        return [self.row(at) for at in np.flatnonzero(self.is_there).tolist()]

    def row(self, at: int) -> JobRow:
        """Return the row of the job at a position."""
        begin, end = self.begins[at], self.begins[at + 1]
        slices = rows_of(_taken(self.hours, begin, end), end - begin, Hour.model_fields)
        (figures,) = rows_of(_taken(self.figures, at, at + 1) | {"slices": [slices]}, 1, JobRow.model_fields)
        return JobRow(**figures)

    def json(self) -> list[str]:
        """Return them as JSON."""
        hours = json_rows(self.hours, self.begins[-1], Hour.model_fields)
        slices = JsonTexts(f"[{','.join(hours[begin:end])}]" for begin, end in pairwise(self.begins))
        rows = json_rows(self.figures | {"slices": slices}, len(self.is_there), JobRow.model_fields)
        return [row for row, is_there in zip(rows, self.is_there.tolist(), strict=True) if is_there]

    def lacking(self, name: str) -> int | None:
        """Return the position of a job of which this is not known; None where it is known of all."""
        column = self.figures[name]
        if isinstance(column, np.ndarray):
            lacks = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), dtype=np.bool_)
        elif isinstance(column, list):
            lacks = np.array([value is None for value in column], dtype=np.bool_)
        else:
            lacks = np.full(len(self.is_there), column is None)
        found = np.flatnonzero(lacks & self.is_there)
        return int(found[0]) if len(found) else None


def _taken(figures: Figures, begin: int, end: int) -> Figures:
    return {
        name: column[begin:end] if isinstance(column, np.ndarray | list) else column for name, column in figures.items()
    }


def by_job(books: Books) -> Iterator[JobRows]:
    """Yield the rows of all jobs, by id."""
    count, job = len(books.period.jobs.id), books.runs.table.job
    parts = _InTurn(np.flatnonzero(books.parts.is_held), job[books.runs.of_part[books.parts.is_held]], count)
    runs = _InTurn(np.arange(len(job)), job, count)
    for first in range(0, count, AT_ONCE):
        last = min(first + AT_ONCE, count)
        yield _some_jobs(books, first, last, parts.of(first, last), runs.of(first, last))


class _InTurn:
    """Where the things of each job are, in the order of the jobs."""

    def __init__(self, at: Integers, job: Integers, count: int) -> None:
        in_turn = np.argsort(job, kind="stable")
        self._at = at[in_turn]
        self._begins = np.searchsorted(job[in_turn], np.arange(count + 1))

    def of(self, first: int, last: int) -> Integers:
        """Return the positions of those of jobs from one up to another."""
        return self._at[self._begins[first] : self._begins[last]]


def _some_jobs(books: Books, first: int, last: int, of_parts: Integers, of_runs: Integers) -> JobRows:
    table, count = books.runs.table, last - first
    ids = books.period.jobs.id[first:last].tolist()
    mine = of_runs[books.runs.overlaps[of_runs]]
    runs = Members(mine, Grouping(table.job[mine] - first, count))
    used = GroupedParts(books.parts.taken(of_parts), Grouping(table.job[books.runs.of_part[of_parts]] - first, count))
    who = identity(books.period, first, last, of_runs, books.details(ids), books.hardware, books.place, books.zone)
    is_there = np.zeros(count, dtype=np.bool_)
    is_there[used.by.code] = True
    is_there[runs.by.code] = True
    is_there &= told_jobs(books.period.jobs, books.reader.tells)[first:last]
    hours, begins = _hourly(used)
    everyone = of_runs[(books.runs.overlaps | books.runs.is_booked)[of_runs]]
    whose = Members(everyone, Grouping(table.job[everyone] - first, count))
    made = books.figures(used, runs, whose) | books.runs.counts(runs) | who | {"group": [str(each) for each in ids]}
    return JobRows(figures=made, is_there=is_there, hours=hours, begins=begins)


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

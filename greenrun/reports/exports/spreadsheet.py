"""The rows of a report as CSV: flat, with units in the columns' names, and empty where a value is not known."""

from collections.abc import Iterator, Mapping, Sequence

from greenrun.reports.figure_models import Document
from greenrun.reports.model import Named, Report, ReportBody, Row
from greenrun.reports.rows.job_rows import CSV_FIELDS, JobRows
from greenrun.reports.rows.row_texts import csv_line

_HEAD = {"start", "end", "by"}  # of the report, in each line


def as_csv(report: Report) -> str:
    """Return one line per row, then those of others, of nobody and of the total; numbers to twelve digits."""
    return b"".join([_names(report), *_lines(report, report.rows), *_last_lines(report)]).decode()


def written(body: ReportBody, pages: Iterator[JobRows]) -> Iterator[bytes]:
    """Yield the same of a report by job whose rows are told some at a time."""
    head = _head(body)
    yield _names(body)
    for rows in pages:
        yield from rows.csv(head)
    yield from _last_lines(body)


def table_of(rows: Sequence[Mapping[str, object]]) -> str:
    """Return mappings as CSV, with a column for every key in the order in which they come up."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return b"".join([csv_line(columns), *(csv_line(map(row.get, columns)) for row in rows)]).decode()


def _head(body: ReportBody) -> Document:
    return body.model_dump(mode="json", include=_HEAD)


def _fields(body: ReportBody) -> list[str]:
    return CSV_FIELDS if body.by == "job" else list(Row.model_fields)


def _names(body: ReportBody) -> bytes:
    return csv_line([*_head(body), *_fields(body)])


def _last_lines(body: ReportBody) -> Iterator[bytes]:
    return _lines(body, [*([body.others] if body.others else []), body.unattributed, body.total])


def _lines(body: ReportBody, rows: Sequence[Named]) -> Iterator[bytes]:
    head, fields = _head(body).values(), _fields(body)
    for row in rows:
        yield csv_line([*head, *map(row.model_dump(mode="json", exclude={"slices"}).get, fields)])

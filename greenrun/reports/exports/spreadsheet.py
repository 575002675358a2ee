"""The rows of a report as CSV: flat, with units in the columns' names, and empty where a value is not known."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO

from greenrun.core.formatting import plain_number
from greenrun.reports.model import Report

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # wide ones too


def as_csv(report: Report) -> str:
    """Return one line per row, then those of nobody and of the total; numbers in full, lists joined with `; `."""
    head = report.model_dump(mode="json", include={"start", "end", "by"})
    rows = [*report.rows, *([report.others] if report.others else []), report.unattributed, report.total]
    return table_of([{**head, **row.model_dump(mode="json", exclude={"slices"})} for row in rows])


def table_of(rows: Sequence[Mapping[str, object]]) -> str:
    """Return mappings as CSV, with a column for every key in the order in which they come up."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return out.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return _text("; ".join(f"{key}={item}" for key, item in value.items()))
    if isinstance(value, Iterable) and not isinstance(value, str):
        return _text("; ".join(map(str, value)))
    return _text(value) if isinstance(value, str) else plain_number(value) if isinstance(value, float) else repr(value)


def _text(value: str) -> str:
    """Return a text that a spreadsheet does not take for a formula: a job's name may be anything."""
    return f"'{value}" if value.lstrip(" \n").startswith(_FORMULAS) else value

"""What a report can have rows by, and the formats that it can be written in, each of which loads what it needs."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from greenrun.reports.model import Report

By = Literal["project", "user", "job", "month", "zone"]
BY: tuple[By, ...] = get_args(By)
MOST_ROWS: Mapping[str, int] = {"table": 1000, "html": 500}  # in what is for people
JOB_FORMATS = ("boamps", "codecarbon", "sci")  # those with a part for each job
AS_SENT = ("csv", "json")  # those that a daemon sends as they are


def _csv(report: "Report") -> str:
    from greenrun.reports.exports.spreadsheet import as_csv

    return as_csv(report)


def _json(report: "Report") -> str:
    return json.dumps(report.document(), ensure_ascii=False)


def _html(report: "Report") -> str:
    from greenrun.reports.html.page import as_html

    return as_html(report)


def _boamps(report: "Report") -> str:
    from greenrun.reports.exports.boamps import boamps

    return json.dumps(boamps(report), ensure_ascii=False, indent=2)


def _codecarbon(report: "Report") -> str:
    from greenrun.reports.exports.codecarbon import codecarbon

    return codecarbon(report)


def _sci(report: "Report") -> str:
    from greenrun.reports.exports.sci import sci

    return json.dumps(sci(report).document(), ensure_ascii=False, indent=2)


WRITERS: Mapping[str, "Callable[[Report], str]"] = {
    "csv": _csv,
    "json": _json,
    "html": _html,
    "boamps": _boamps,
    "codecarbon": _codecarbon,
    "sci": _sci,
}

"""The formats that a report can be written in, by name."""

import json
from collections.abc import Callable, Mapping

from greenrun.reports.exports.boamps import boamps
from greenrun.reports.exports.codecarbon import codecarbon
from greenrun.reports.exports.sci import sci
from greenrun.reports.exports.spreadsheet import as_csv
from greenrun.reports.model import Report


def _json(report: Report) -> str:
    return json.dumps(report.document(), ensure_ascii=False)


def _html(report: Report) -> str:
    from greenrun.reports.html.page import as_html  # loads what draws the page, which nothing else needs

    return as_html(report)


def _boamps(report: Report) -> str:
    return json.dumps(boamps(report), ensure_ascii=False, indent=2)


def _sci(report: Report) -> str:
    return json.dumps(sci(report).document(), ensure_ascii=False, indent=2)


WRITERS: Mapping[str, Callable[[Report], str]] = {
    "csv": as_csv,
    "json": _json,
    "html": _html,
    "boamps": _boamps,
    "codecarbon": codecarbon,
    "sci": _sci,
}
JOB_FORMATS = ("boamps", "codecarbon", "sci")  # those with a part for each job

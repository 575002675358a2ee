"""The forms that a report's document can be written in, by name."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from greenrun.reports import boamps, exports, flat, page

Row = Mapping[str, Any]


def _json(report: Row) -> str:
    return json.dumps(report, ensure_ascii=False)


def _boamps(report: Row) -> str:
    return json.dumps(boamps.boamps(report), ensure_ascii=False, indent=2)


def _sci(report: Row) -> str:
    return json.dumps(exports.sci(report), ensure_ascii=False, indent=2)


WRITERS: Mapping[str, Callable[[Row], str]] = {
    "json": _json,
    "csv": flat.as_csv,
    "html": page.as_html,
    "boamps": _boamps,
    "codecarbon": exports.codecarbon,
    "sci": _sci,
}

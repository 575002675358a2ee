"""Parse arrays (`0-9%4`), axes of a sweep (`lr=1e-3,1e-4`), dependencies (`7:any`) and exit codes (`1,70-79`)."""

import re
from collections.abc import Sequence
from typing import Any

from greenrun.core.jobs.spec import LARGEST_INDEX, MOST_TOGETHER, After

_RANGE = re.compile(r"(?P<first>\d{1,9})(?:-(?P<last>\d{1,9})(?::(?P<step>\d{1,9}))?)?", re.ASCII)
_CODES = re.compile(r"(?P<first>\d{1,3})(?:-(?P<last>\d{1,3}))?", re.ASCII)
_AT_ONCE = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_JOB = re.compile(r"[1-9]\d{0,17}", re.ASCII)
_DIGITS = re.compile(r"[-+]?\d+", re.ASCII)
_NUMBERS = re.compile(r"[\d,-]+", re.ASCII)
_ARRAY_FORMS = "0-9, 1,3,5, 0-20:5 or 0-9%4 (4 of them at once)"


def parse_array(text: str) -> dict[str, Any]:
    """Read `0-9`, `1,3,5`, `0-20:5`, each with `%N` for N at once, or `%N` alone; raise ValueError with a sentence."""
    listed, percent, most = "".join(text.split()).partition("%")
    if percent and not _AT_ONCE.fullmatch(most):
        raise ValueError(f"'{text}' does not say how many jobs may run at once; write it like {_ARRAY_FORMS}")
    if not listed and not percent:
        raise ValueError(f"'{text}' names no indices; write it like {_ARRAY_FORMS}")
    array: dict[str, Any] = {"indices": _indices(listed, text)} if listed else {}
    return array | ({"at_once": int(most)} if percent else {})


def parse_axis(text: str) -> tuple[str, list[str]]:
    """Read `lr=1e-3,1e-4` as a name and its values; raise ValueError with a sentence."""
    name, equals, listed = text.partition("=")
    values = [value.strip() for value in listed.split(",")]
    if not equals or not name.strip() or not all(values):
        raise ValueError(f"'{text}' is not a name and its values; write it like lr=1e-3,1e-4")
    if len(set(values)) < len(values):
        raise ValueError(f"'{text}' names a value twice")
    return name.strip(), values


def sweep_of(axes: Sequence[tuple[str, list[str]]]) -> dict[str, list[str]]:
    """Return the sweep of these names and values; raise ValueError when a name comes twice."""
    sweep: dict[str, list[str]] = {}
    for name, values in axes:
        if name in sweep:
            raise ValueError(f"'{name}' is given twice; list all its values at once, like {name}=1,2,3")
        sweep[name] = values
    return sweep


def parse_after(text: str) -> dict[str, Any]:
    """Read `7`, `7:ok` or `sweep:any`: the job that is waited for, and how it must end; raise ValueError."""
    word, colon, on = text.strip().rpartition(":")
    if not colon or (on.lower() not in list(After) and not _NUMBERS.fullmatch(word)):
        word, on = text.strip(), After.OK.value  # a name may hold a colon
    is_number = bool(_JOB.fullmatch(word))
    if on.lower() not in list(After) or not word or (_DIGITS.fullmatch(word) and not is_number):
        raise ValueError(f"'{text}' is not a job to wait for; write it like 7 (it must succeed) or 7:any (it must end)")
    return {"job": int(word) if is_number else word, "on": on.lower()}


def parse_exit_codes(text: str) -> list[int]:
    """Read `75` or `1,70-79`; raise ValueError with a sentence."""
    codes: set[int] = set()
    for part in "".join(text.split()).split(","):
        found = _CODES.fullmatch(part)
        first, last = (int(found["first"]), int(found["last"] or found["first"])) if found else (0, 0)
        if not 1 <= first <= last <= 255:
            raise ValueError(f"'{text}' is not a list of exit codes from 1 to 255; write it like 75 or 1,70-79")
        codes.update(range(first, last + 1))
    return sorted(codes)


def _indices(listed: str, text: str) -> list[int]:
    ranges = [_range(part, text) for part in listed.split(",")]
    if sum(len(part) for part in ranges) > MOST_TOGETHER:
        raise ValueError(f"'{text}' is more than {MOST_TOGETHER} jobs; submit them in parts")
    indices = sorted(index for part in ranges for index in part)
    if len(set(indices)) < len(indices):
        raise ValueError(f"'{text}' names an index twice")
    if indices[-1] > LARGEST_INDEX:
        raise ValueError(f"'{text}' goes beyond index {LARGEST_INDEX}")
    return indices


def _range(part: str, text: str) -> range:
    found = _RANGE.fullmatch(part)
    first, last, step = (int(found[name]) if found and found[name] else None for name in ("first", "last", "step"))
    if first is None or step == 0 or (last is not None and last < first):
        raise ValueError(f"'{text}' is not a list of indices; write it like {_ARRAY_FORMS}")
    return range(first, (first if last is None else last) + 1, step or 1)

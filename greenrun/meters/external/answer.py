"""Parse joules from an external meter's answer: a number, alone or inside JSON, in a configured unit."""

import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

LONGEST_BYTES = 64 * 1024
UNITS_J: Mapping[str, float] = {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "Wh": 3_600.0, "kWh": 3_600_000.0}

_NUMBER = re.compile(r"\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,3})?")


def joules_in(body: bytes, value: str | None, unit: str) -> float:
    """Return the counter in J in an answer, at the path `value` of its JSON, or the whole answer if None.

    A path consists of names and list indices joined by dots. Raise ValueError saying what is wrong.
    """
    if len(body) > LONGEST_BYTES:
        raise ValueError(f"it is longer than {LONGEST_BYTES // 1024} KiB")
    try:
        text = body.decode("utf-8-sig").strip()
    except UnicodeDecodeError as exc:
        raise ValueError("it is not UTF-8 text") from exc
    energy_j = _number(text if value is None else _at(_parsed(text), value)) * UNITS_J[unit]
    if not isfinite(energy_j):
        raise ValueError("its number is too large")
    return energy_j


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ValueError("it is not JSON") from exc


def _at(found: Any, value: str) -> Any:
    for name in value.split("."):
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, TypeError, ValueError) as exc:
            raise ValueError(f"it has nothing at {value}") from exc
    return found


def _number(found: Any) -> float:
    """Return a non-negative number in plain digits; raise ValueError for anything else, booleans too."""
    text = repr(found) if isinstance(found, int | float) else found
    if not isinstance(text, str) or not _NUMBER.fullmatch(text.strip()):
        raise ValueError("there is no plain number of 0 or more in it")
    return float(text)

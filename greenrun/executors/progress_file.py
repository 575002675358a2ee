"""Parse a run's progress file: any program may write it, so nothing in it is trusted."""

import json
import os
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from stat import S_ISREG
from typing import Any

from greenrun.executors.run_folder import PROGRESS

MOST_BYTES = 1024
MOST_WORK = 1e18
LONGEST_UNIT = 32
UNIT = "units"  # of a bare number


def work_of(folder: Path) -> dict[str, Any]:
    """Return the fields of RunStatus about work: none without a report, `work_fault` if it cannot be used.

    The file holds one line: `{"work": 12000, "unit": "samples"}`, or a number alone.
    """
    try:
        text, at = _read(folder / PROGRESS)
        if not text:  # a shell's > has truncated it and not written yet
            return {}
        work, unit = _parsed(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, OverflowError, RecursionError) as exc:
        return {"work_fault": f"the file {PROGRESS} cannot be used: {exc}"[:200]}
    return {"work": work, "work_unit": unit, "work_at": at}


def _read(path: Path) -> tuple[str, datetime]:
    """Return the file's text and modification time; never block, whatever was put in its place."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not S_ISREG(found.st_mode):
            raise ValueError("it is not a regular file")
        data = os.read(descriptor, MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is longer than {MOST_BYTES} bytes")
    try:
        return data.decode("utf-8"), datetime.fromtimestamp(found.st_mtime, UTC)
    except (UnicodeDecodeError, OverflowError) as exc:
        raise ValueError("it is not text, or of no time") from exc


def _parsed(text: str) -> tuple[float, str]:
    """Return work and unit; raise ValueError unless they are a non-negative number and a short printable unit."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as exc:
        raise ValueError("it holds neither a number nor JSON") from exc
    work, unit = (value.get("work"), value.get("unit", UNIT)) if isinstance(value, dict) else (value, UNIT)
    if isinstance(work, bool) or not isinstance(work, int | float) or not isfinite(work):
        raise ValueError("its work is not a number")
    if not 0 <= work <= MOST_WORK:
        raise ValueError(f"its work is not between 0 and {MOST_WORK:g}")
    if not isinstance(unit, str) or not unit.isprintable() or not 0 < len(unit.strip()) <= LONGEST_UNIT:
        raise ValueError(f"its unit is not a word of at most {LONGEST_UNIT} signs")
    return float(work), unit.strip()

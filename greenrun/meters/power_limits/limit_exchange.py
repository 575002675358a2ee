"""What is asked of the process that sets power limits, and what it answers: one JSON object each way."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from greenrun.core.energy.power_limit import LimitAnswer, LimitChange, LimitFault, LimitFaultKind, LimitReading

MOST_BYTES = 1 << 20
MOST_CHANGES = 4096  # as many GPUs as a host may have


def pack_changes(changes: Sequence[LimitChange], emulated: tuple[Path, float] | None = None) -> bytes:
    """Return what is asked, as one line; of emulated GPUs with where their state is, and their draw in W while busy."""
    request: dict[str, object] = {"changes": [asdict(change) for change in changes]}
    if emulated is not None:
        request["emulated"] = [str(emulated[0]), emulated[1]]
    return json.dumps(request).encode() + b"\n"


def emulated_in(text: bytes) -> tuple[Path, float] | None:
    """Return what a request says of emulated GPUs, if anything; raise ValueError."""
    told = json.loads(text).get("emulated")
    try:
        return None if told is None else (Path(told[0]), float(told[1]))
    except (TypeError, KeyError, IndexError) as exc:
        raise ValueError("not where emulated GPUs are") from exc


def unpack_changes(text: bytes) -> list[LimitChange]:
    """Return what is asked; raise ValueError for anything else."""
    try:
        rows = json.loads(text)["changes"]
        changes = [LimitChange(**row) for row in rows]
    except (KeyError, TypeError, RecursionError) as exc:
        raise ValueError("no list of changes of power limits") from exc
    if len(changes) > MOST_CHANGES or not all(map(_is_sound, changes)):
        raise ValueError("no sound list of changes of power limits")
    return changes


def pack_answers(answers: Mapping[str, LimitAnswer]) -> bytes:
    """Return the answers, as one line."""
    rows = {device: {**asdict(row), "fault": isinstance(row, LimitFault)} for device, row in answers.items()}
    return json.dumps({"answers": rows}).encode() + b"\n"


def unpack_answers(text: bytes) -> dict[str, LimitAnswer]:
    """Return the answers; raise ValueError for anything else."""
    try:
        return {device: _answer(row) for device, row in json.loads(text)["answers"].items()}
    except (AttributeError, KeyError, TypeError, RecursionError) as exc:
        raise ValueError("no answers about power limits") from exc


def _answer(row: dict[str, Any]) -> LimitAnswer:
    if row.pop("fault"):
        return LimitFault(kind=LimitFaultKind(row["kind"]), why=str(row["why"]), limit_w=row["limit_w"])
    return LimitReading(**row)


def _is_sound(change: LimitChange) -> bool:
    numbers = (change.limit_w, change.expected_w)
    texts = isinstance(change.device, str) and isinstance(change.source, str)
    return texts and all(value is None or (isinstance(value, int | float) and 0 < value < 1e5) for value in numbers)

"""A comparison as JSON, and a schedule as a file that others can check."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from greenrun.simulation.case import Case
from greenrun.simulation.compare import Comparison
from greenrun.simulation.figures import Schedule, merged


def document(case: Case, found: Comparison) -> dict[str, Any]:
    """Return the comparison as JSON's types; `gpus` is "inf" when there is no limit, an unknown number is None."""
    return {
        "jobs": len(case.jobs),
        "gpus": "inf" if case.gpus is None else case.gpus,
        "start": case.start.isoformat().replace("+00:00", "Z"),
        "policies": {name: _policy(name, found) for name in found.figures},
        "start_at_once_g": found.at_once.emissions_g,
        "bound_g": found.bound_g,
        "bound_saving_ratio": found.bound_saving_ratio(),
    }


def schedule_text(schedule: Schedule, start: datetime) -> str:
    """Return a schedule as CSV: job (its row, from 0), start and end in seconds after `start`; a row per piece."""
    start_s = start.timestamp()
    rows = [
        f"{row},{_seconds(begin_s - start_s)},{_seconds(end_s - start_s)}"
        for row, pieces in enumerate(schedule.pieces)
        for begin_s, end_s in merged(pieces)
    ]
    return "\n".join(["job,start_s,end_s", *rows, ""])


def _policy(name: str, found: Comparison) -> Mapping[str, Any]:
    own = found.figures[name]
    return {
        "emissions_g": own.emissions_g,
        "saving_ratio": found.saving_ratio(name),
        "late": own.late,
        "mean_delay_s": own.mean_delay_s,
        "checkpoints": own.checkpoints,
        "peak_gpus": own.peak_gpus,
    }


def _seconds(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")

"""Small cases: a grid drawn as values per hour, jobs drawn as hours on GPUs, files written from both."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from greenrun.core.carbon.intensity import Kind, Series
from greenrun.simulation.case import Case
from greenrun.simulation.foresight import SERIES, ForesightIssue
from greenrun.simulation.policies import Arrival

START = datetime(2026, 3, 2, tzinfo=UTC)
START_S = START.timestamp()
HOUR = 3600.0


def grid(values: Sequence[float], *, start_s: float = START_S, step_s: float = HOUR) -> Series:
    """One slot per value, in g/kWh."""
    starts_s = start_s + step_s * np.arange(len(values))
    return Series(SERIES, starts_s, starts_s + step_s, np.array(values, float), (Kind.MEASURED,) * len(values))


def job(at: float = 0, hours: float = 1, *, gpus: int = 1, wait: float = 5, **changes: Any) -> Arrival:
    """A job that comes `at` hours after the start, runs `hours` at 1 kW and may wait `wait` hours."""
    given = {
        "submitted_s": START_S + at * HOUR, "duration_s": hours * HOUR, "gpus": gpus, "power_w": 1000.0,
        "max_delay_s": wait * HOUR,
    }  # fmt: skip
    return Arrival(**(given | changes))


def case(jobs: Sequence[Arrival], values: Sequence[float], gpus: int | None = 4, **changes: Any) -> Case:
    """A case with a perfect forecast for two days."""
    measured = changes.pop("measured", None) or grid(values)
    given: dict[str, Any] = {
        "start": START, "jobs": tuple(jobs), "gpus": gpus, "measured": measured, "reach": timedelta(hours=48),
        "issues": (ForesightIssue(issued_s=None, slots=measured),),
    }  # fmt: skip
    return Case(**(given | changes))


def hours(pieces: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Pieces in hours after the start."""
    return [((start_s - START_S) / HOUR, (end_s - START_S) / HOUR) for start_s, end_s in pieces]


def write_grid(path: Path, values: Sequence[float], start: datetime = START) -> Path:
    """Write an hourly trace."""
    rows = [f"{(start + timedelta(hours=i)).isoformat()},{value}" for i, value in enumerate(values)]
    path.write_text("\n".join(["start,g_per_kwh", *rows, ""]), encoding="utf-8")
    return path


def write_jobs(path: Path, *rows: str) -> Path:
    """Write a jobs file of these lines."""
    header = "submitted_s,duration_s,gpus,power_w,max_delay_s,interruptible"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path

"""Jobs and answers as the API gives them."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from greenrun.clock import utc_now

# What every submission takes along from the shell.
NOT_SAID = ("env", "git_commit", "umask", "limits")


def at(**ahead: float) -> str:
    """Return the instant this far from now, as the API writes it."""
    return (utc_now() + timedelta(**ahead)).isoformat().replace("+00:00", "Z")


def planned(**changes: Any) -> dict[str, Any]:
    """Return a plan for a start in two hours."""
    base = {"start": at(hours=2), "end": at(hours=8), "g_per_kwh": 93.2, "start_now_g_per_kwh": 158.0}
    return {**base, "expected_g": 590.0, "start_now_g": 1000.0, **changes}


def run_of(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a finished run."""
    base: dict[str, Any] = {"id": 40 + number, "number": number, "started_at": at(hours=-1), "ended_at": at(minutes=-1)}
    base |= {
        "outcome": "succeeded",
        "exit_code": 0,
        "devices": ["GPU-1"],
        "energy_j": 7.2e6,
        "energy_quality": "measured",
    }
    return {**base, "emissions_g": 186.0, "emissions_settled_g": None, "log": None, **changes}


def job(id: int | None = 12, **changes: Any) -> dict[str, Any]:
    """Return a queued job."""
    base: dict[str, Any] = {"id": id, "name": "train", "project": "default", "user": "ada", "state": "queued"}
    base |= {"reason": {"code": "cleanest_window", "text": "waits for the cleanest free window"}, "held": False}
    base |= {"command": ["python", "train.py"], "gpus": 1, "duration_s": 21600.0, "duration_source": "given"}
    base |= {"time_limit_s": None, "finish_by": None, "max_delay_s": None, "start_after": None, "workdir": "/home/ada"}
    base |= {"submitted_at": at(), "planned": planned(), "runs": [], "labels": {}, "git_commit": None}
    return {**base, **changes}


def trace(path: Path, first: datetime, count: int, g_per_kwh: float = 100.0) -> Path:
    """A CSV file of hours."""
    rows = [f"{(first + timedelta(hours=n)).isoformat()},{g_per_kwh + n % 24}" for n in range(count)]
    path.write_text("\n".join(["start,g_per_kwh", *rows, ""]), encoding="utf-8")
    return path

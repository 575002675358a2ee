"""Small traces for tests, and where the real ones are."""

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from greenrun.providers import Provider, open_provider
from greenrun.providers.settings import FileSettings, ReplaySettings

BEGIN = datetime(2020, 6, 1, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)
WALL = datetime(2026, 11, 23, 9, 0, 0, 123457, tzinfo=UTC)
INTENSITY = Path(__file__).parents[3] / "shared" / "data" / "intensity"


def real(name: str) -> Path:
    """Return a real trace's path; skip, or in CI fail, where it is absent."""
    path = INTENSITY / name
    if not path.is_file():
        absent = f"the real trace {name} is not beside this checkout"
        if os.environ.get("GREENRUN_REQUIRE_ALL") == "1":
            pytest.fail(absent)
        pytest.skip(absent)
    return path


def write(path: Path, values: Iterable[float], *, begin: datetime = BEGIN, skip: tuple[int, ...] = ()) -> Path:
    """Write a half-hourly `start,g_per_kwh` trace, without the slots whose index is in `skip`."""
    rows = [f"{_z(begin + i * HALF_HOUR)},{value}" for i, value in enumerate(values) if i not in skip]
    path.write_text("\n".join(["start,g_per_kwh", *rows]) + "\n", encoding="utf-8")
    return path


def write_issued(path: Path, issues: dict[datetime, list[float]]) -> Path:
    """Write half-hourly forecasts that each begin when they are issued."""
    rows = [
        f"{_z(issued)},{_z(issued + i * HALF_HOUR)},{value}"
        for issued, values in issues.items()
        for i, value in enumerate(values)
    ]
    path.write_text("\n".join(["issued_at,start,g_per_kwh", *rows]) + "\n", encoding="utf-8")
    return path


def anchored(at: datetime = WALL) -> Callable[[str], datetime]:
    """Return an anchor that puts every replay's beginning at one wall instant."""
    return lambda key: at


def replay(at: datetime = BEGIN, speed: float = 1800, horizon: timedelta = timedelta(hours=48)) -> ReplaySettings:
    """Return replay settings; half an hour a second unless said otherwise."""
    return ReplaySettings(at=at, speed=speed, horizon=horizon)


def opened(path: Path, anchor: datetime = WALL, **settings: object) -> Provider:
    """Open a file provider called `trace`."""
    return open_provider("trace", FileSettings.model_validate({"path": str(path), **settings}), anchored(anchor))


def _z(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")

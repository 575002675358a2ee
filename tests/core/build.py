"""Small builders for planner tests: a grid drawn as a list of values, jobs drawn as `gpus x slots`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from greenrun.core.carbon.intensity import Kind, Series, SeriesId
from greenrun.core.jobs.job import Job, JobSpec, State
from tests.slots import slots_of

T0 = datetime(2026, 3, 2, tzinfo=UTC)
SLOT = timedelta(minutes=30)
GRID = SeriesId(provider="test", zone="GB")


def grid(values: Sequence[float], *, start: datetime = T0, step: timedelta = SLOT) -> Series:
    """A forecast of one slot per value, in g/kWh."""
    return Series.of(GRID, slots_of([start + i * step for i in range(len(values))], values, step, Kind.FORECAST))


def job(job_id: int, *, slots: float = 1, submitted: datetime = T0, **spec: Any) -> Job:
    """A queued job of `slots` half hours on one GPU of 1 kW, with any further part of its spec."""
    own = {"command": ("true",), "workdir": "/", "duration": slots * SLOT, "power_w": 1000.0, **spec}
    return Job(id=job_id, spec=JobSpec(**own), user="ada", uid=1000, state=State.QUEUED, submitted_at=submitted)

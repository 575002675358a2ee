"""The state of the demo at an instant, gathered from the daemon's API alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from greenrun.charts.terminal import Step, value_at
from greenrun.cli import text
from greenrun.cli.demonstration.trace import Replay
from greenrun.core.jobs.job import FINISHED, LIVE
from greenrun.core.units import J_PER_KWH

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The jobs, the grid as far as it is known, and the GPUs. `why` has the reason for each start."""

    now: datetime
    began: datetime
    jobs: Sequence[Answer]
    steps: Sequence[Step]
    gpus: Sequence[str]
    replay: Replay
    page_url: str
    why: Mapping[int, Answer] = field(default_factory=dict)

    @property
    def g_per_kwh(self) -> float | None:
        """The intensity now."""
        return self.intensity_at(self.now)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first submission."""
        return (self.now - self.began).total_seconds()

    def intensity_at(self, at: datetime) -> float | None:
        """The intensity at an instant, None where it is not known."""
        return value_at(self.steps, at)

    def clock(self, at: datetime) -> str:
        """Return an instant of the wall clock as the time of day on the made-up grid, such as `Tue 12:54`."""
        return f"{self.replay.time_there(at):%a %H:%M}"

    def count(self, *states: str) -> int:
        """How many jobs are in these states."""
        return sum(job["state"] in states for job in self.jobs)


def started_at(job: Answer) -> datetime | None:
    """When the job's last run began, None when it did not."""
    run = job["runs"][-1] if job["runs"] else {}
    return text.instant(run["started_at"]) if run.get("started_at") else None


def ended_at(job: Answer) -> datetime | None:
    """When the job's last run ended, None when it did not."""
    run = job["runs"][-1] if job["runs"] else {}
    return text.instant(run["ended_at"]) if run.get("ended_at") else None


def expected_span(job: Answer) -> tuple[datetime, datetime] | None:
    """From when to when the job ran, runs, or is planned to run."""
    start = started_at(job)
    if start is not None:
        return start, ended_at(job) or start + timedelta(seconds=job["duration_s"])
    planned = job.get("planned")
    return (text.instant(planned["start"]), text.instant(planned["end"])) if planned else None


def is_finished(job: Answer) -> bool:
    """Whether the job has finished."""
    return job["state"] in FINISHED


def is_live(job: Answer) -> bool:
    """Whether the job is starting or running."""
    return job["state"] in LIVE


def intensity_of(run: Answer) -> float | None:
    """The mean intensity that a run's energy was priced with, in g/kWh."""
    grams = text.emitted_g(run)
    return grams / run["energy_j"] * J_PER_KWH if grams is not None and run.get("energy_j") else None

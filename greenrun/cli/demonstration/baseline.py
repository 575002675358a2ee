"""The demo's baseline: the same jobs with the same measured power, started as soon as GPUs were free."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from greenrun.charts.terminal import Step
from greenrun.cli.text import emitted_g, instant, summed
from greenrun.core.carbon.intensity import Kind, Series, SeriesId, Slot
from greenrun.core.energy.ledger import price
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.jobs.job import Job, JobSpec, State
from greenrun.core.planning.model import Situation
from greenrun.core.planning.planner import start_at_once

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The figures of one job, in joules and grams CO2e; None is unknown. `waited_s` runs from its submission."""

    job: int
    name: str
    state: str
    waited_s: float | None
    energy_j: float | None
    emissions_g: float | None
    at_once_g: float | None
    is_late: bool
    baseline_g: float | None = None  # at the earliest start on the same GPUs, as reports have it

    @property
    def saved_g(self) -> float | None:
        """How much less it emitted than it would have at once; negative when more."""
        return None if self.emissions_g is None or self.at_once_g is None else self.at_once_g - self.emissions_g

    @property
    def saved_ratio(self) -> float | None:
        """The same as a share of what it would have emitted at once."""
        return None if self.saved_g is None or not self.at_once_g else self.saved_g / self.at_once_g


def account(
    jobs: Sequence[Answer], entries: Mapping[int, Sequence[Answer]], grid: Sequence[Step], gpus: int
) -> list[Line]:
    """Return a line per job. `entries` are its slices in the ledger, `grid` the intensity that came true."""
    series = Series.of(
        SeriesId(provider="synthetic", zone="SYNTHETIC"),
        [Slot(step.start, step.end, step.g_per_kwh, Kind.MEASURED) for step in grid],
    )
    starts = starts_at_once(jobs, gpus)
    return [_line(job, entries.get(job["id"], ()), starts.get(job["id"]), series) for job in jobs]


def total(lines: Sequence[Line]) -> Line:
    """Return the sums; a sum with an unknown part is unknown."""
    return Line(
        job=0, name="total", state="", waited_s=None,
        energy_j=summed(line.energy_j for line in lines),
        emissions_g=summed(line.emissions_g for line in lines),
        at_once_g=summed(line.at_once_g for line in lines),
        baseline_g=summed(line.baseline_g for line in lines),
        is_late=any(line.is_late for line in lines),
    )  # fmt: skip


def starts_at_once(jobs: Sequence[Answer], gpus: int) -> dict[int, datetime]:
    """Return when each job that ran would have started had jobs started in order, as soon as GPUs were free."""
    ran = [_as_run(job) for job in jobs if _span(job)]
    if not ran:
        return {}
    devices = tuple(f"GPU {index}" for index in range(gpus))
    situation = Situation(now=min(job.submitted_at for job in ran), jobs=tuple(ran), devices=devices)
    return start_at_once(ran, situation)


def _line(job: Answer, entries: Sequence[Answer], at_once: datetime | None, series: Series) -> Line:
    span = _span(job)
    run = job["runs"][-1] if job["runs"] else {}
    return Line(
        job=job["id"],
        name=job["name"],
        state=job["state"],
        waited_s=(span[0] - instant(job["submitted_at"])).total_seconds() if span else None,
        energy_j=run.get("energy_j"),
        emissions_g=emitted_g(run),
        at_once_g=_shifted_g(entries, at_once - span[0], series) if span and at_once else None,
        baseline_g=run.get("baseline_emissions_g"),
        is_late=span is not None and _as_run(job).misses_limit(*span),
    )


def _shifted_g(entries: Sequence[Answer], shift: timedelta, series: Series) -> float | None:
    """Price a job's slices as if all of them had been measured that much earlier or later."""
    return summed(price(_slice(entry, shift), series, entry["pue"]).emissions_g for entry in entries)


def _slice(entry: Answer, shift: timedelta) -> Slice:
    return Slice(
        device=entry["device"],
        component=Component(entry["component"]),
        run_id=entry["run"],
        start=instant(entry["start"]) + shift,
        end=instant(entry["end"]) + shift,
        energy_j=entry["energy_j"],
        quality=Quality(entry["quality"]),
    )


def _as_run(job: Answer) -> Job:
    """Return the job as the core knows it, its duration being the time that it really took."""
    start, end = _span(job) or (instant(job["submitted_at"]),) * 2
    spec = JobSpec(
        command=tuple(job["command"]),
        workdir=job["workdir"],
        gpus=job["gpus"],
        duration=end - start,
        finish_by=instant(job["finish_by"]) if job["finish_by"] else None,
        max_delay=None if job["max_delay_s"] is None else timedelta(seconds=job["max_delay_s"]),
    )
    return Job(
        id=job["id"], spec=spec, user=job["user"], uid=0, state=State(job["state"]),
        submitted_at=instant(job["submitted_at"]),
    )  # fmt: skip


def _span(job: Answer) -> tuple[datetime, datetime] | None:
    """Return when the job's last run began and ended; None when it did not."""
    run = job["runs"][-1] if job["runs"] else {}
    if not run.get("started_at") or not run.get("ended_at"):
        return None
    return instant(run["started_at"]), instant(run["ended_at"])

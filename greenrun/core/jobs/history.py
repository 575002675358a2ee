"""Learn from finished jobs how long a similar one will take and what it will draw, and how certain that is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from greenrun.core.formatting import duration_text, power_text

LEAST_JOBS = 3  # fewer say too little
HALVED_AFTER = 10  # a job weighs half as much as one that finished this many jobs later
UNGROUPED = "default"  # the project of jobs that name none, which are not alike for that


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedJob:
    """A job that succeeded. `duration` is the time of its checkpointed runs and the successful one together.

    `energy_j` is what GPUs used in these runs (no PUE); None unless all of it was measured or integrated.
    """

    job_id: int
    finished_at: datetime
    name: str
    project: str
    gpus: float
    duration: timedelta
    energy_j: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuTime:
    """The time that a run which has ended held its GPUs, and for whom; a part of a GPU is a fraction of one."""

    run_id: int
    user: str
    project: str
    gpus: float
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningScope:
    """Which finished jobs are learned from: those of one `name`, else of one `project`; `gpus` None is any number."""

    name: str | None = None
    project: str | None = None
    gpus: int | None = None

    def includes(self, job: FinishedJob) -> bool:
        """Whether `job` is one of them."""
        same_kind = job.name == self.name if self.name is not None else job.project == self.project
        return same_kind and (job.gpus == self.gpus if self.gpus is not None else job.gpus > 0)

    def text(self, count: int) -> str:
        """`12 finished jobs named train`."""
        whose = f"named {self.name}" if self.name is not None else f"of the project {self.project}"
        return f"{count} finished jobs {whose}" + ("" if self.gpus is not None else ", with any number of GPUs")


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedDuration:
    """An expected duration, the `quantile` (0-1) of `count` durations, with their median and range."""

    expected: timedelta
    quantile: float
    median: timedelta
    least: timedelta
    most: timedelta
    count: int
    scope: LearningScope

    @property
    def note(self) -> str:
        """Where it comes from, for people."""
        median, least, most = (duration_text(each) for each in (self.median, self.least, self.most))
        spread = f"median {median}, {least} to {most}"
        return f"learned from {self.scope.text(self.count)} (quantile {self.quantile:g}; {spread})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedPower:
    """The mean of `count` jobs' mean powers, in watts for the whole job, and their range."""

    power_w: float
    least_w: float
    most_w: float
    count: int
    scope: LearningScope

    @property
    def note(self) -> str:
        """Where it comes from, for people."""
        spread = f"{power_text(self.least_w)} to {power_text(self.most_w)}"
        return f"learned from {self.scope.text(self.count)}, all of them measured ({spread})"


def learn_duration(
    past: Sequence[FinishedJob], *, name: str, project: str, gpus: int, quantile: float = 0.8
) -> LearnedDuration | None:
    """Return the duration to plan with for a job, from the nearest scope of which LEAST_JOBS have finished; else None.

    Nearer are jobs of its name than of its project, and those on as many GPUs than those on any number.
    """
    scope, jobs = _nearest(past, name, project, gpus)
    if scope is None:
        return None
    durations_s = [job.duration.total_seconds() for job in jobs]
    expected, median = (timedelta(seconds=recent_quantile(durations_s, ratio)) for ratio in (quantile, 0.5))
    return LearnedDuration(
        expected=expected,
        quantile=quantile,
        median=median,
        least=timedelta(seconds=min(durations_s)),
        most=timedelta(seconds=max(durations_s)),
        count=len(jobs),
        scope=scope,
    )


def learn_power(past: Sequence[FinishedJob], *, name: str, project: str, gpus: int) -> LearnedPower | None:
    """Return the power of a job (energy / time, in watts), from the nearest scope of which LEAST_JOBS were measured.

    What was measured on another number of GPUs counts for as many as this job has.
    """
    scope, jobs = _nearest([job for job in past if job.energy_j is not None], name, project, gpus)
    if scope is None:
        return None
    powers_w = [_power_w(job) * (1 if scope.gpus is not None else gpus / job.gpus) for job in jobs]
    return LearnedPower(
        power_w=sum(powers_w) / len(powers_w),
        least_w=min(powers_w),
        most_w=max(powers_w),
        count=len(jobs),
        scope=scope,
    )


def recent_quantile(latest_first: Sequence[float], quantile: float) -> float:
    """Return the least value such that `quantile` (0-1) of the weight is on it and lesser ones: always one of them.

    The value at place i weighs 2^(-i / HALVED_AFTER), so that what changed lately shows (the inverse of the weighted
    distribution function; with equal weights definition 1 of Hyndman and Fan 1996). Raise ValueError for no values.
    """
    weighted = sorted((value, 2 ** (-place / HALVED_AFTER)) for place, value in enumerate(latest_first))
    if not weighted:
        raise ValueError("there is no quantile of nothing")
    wanted = quantile * sum(weight for _, weight in weighted)
    reached = 0.0
    for value, weight in weighted:
        reached += weight
        if reached >= wanted * (1 - 1e-12):  # the sums are rounded
            return value
    return weighted[-1][0]


def _nearest(
    past: Sequence[FinishedJob], name: str, project: str, gpus: int
) -> tuple[LearningScope | None, Sequence[FinishedJob]]:
    """Return the nearest scope with enough jobs, and these jobs, the latest first."""
    known = sorted(past, key=lambda job: (job.finished_at, job.job_id), reverse=True)
    for scope in _scopes(name, project, gpus):
        jobs = [job for job in known if scope.includes(job) and job.duration > timedelta(0)]
        if len(jobs) >= LEAST_JOBS:
            return scope, jobs
    return None, ()


def _scopes(name: str, project: str, gpus: int) -> Iterator[LearningScope]:
    numbers = (gpus, None) if gpus else (0,)  # a job without GPUs is like no job with some
    yield from (LearningScope(name=name, gpus=number) for number in numbers)
    if project != UNGROUPED:
        yield from (LearningScope(project=project, gpus=number) for number in numbers)


def _power_w(job: FinishedJob) -> float:
    return (job.energy_j or 0.0) / job.duration.total_seconds()

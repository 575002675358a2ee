"""A job as a client states it: its fields with their bounds, and the JobSpec that they mean."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from greenrun.api.sweep import ArrayIn, Axes, wrong_in_array, wrong_in_grid
from greenrun.core.carbon.intensity import ABSURD_G_PER_KWH
from greenrun.core.jobs.job import (
    CHECKPOINT_SIGNALS,
    MOST_TOGETHER,
    After,
    Anomaly,
    Dependency,
    DurationSource,
    JobSpec,
)

MAX_S = 366 * 86_400.0
MAX_COMMAND_BYTES = 128 * 1024
MAX_ENV_BYTES = 256 * 1024
_ISO_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}")


def _iso(value: object) -> object:
    if not isinstance(value, str) or not _ISO_INSTANT.match(value):
        raise ValueError("must be an ISO 8601 instant with a zone, such as 2026-12-01T09:00Z")
    return value


def _plausible(value: datetime) -> datetime:
    if not 2000 <= value.year < 2200:
        raise ValueError("must lie between the years 2000 and 2200")
    return value.astimezone(UTC)


def _signal(value: str) -> str:
    name = value.strip().upper().removeprefix("SIG")
    if name not in CHECKPOINT_SIGNALS:
        raise ValueError(f"must be one of {', '.join(CHECKPOINT_SIGNALS)}")
    return name


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must hold printable characters only")
    return value


def _absolute(value: str) -> str:
    if not Path(value).is_absolute():
        raise ValueError("must be an absolute path")
    return value


def _command(value: list[str]) -> list[str]:
    if not value or not value[0]:
        raise ValueError("must name a program")
    if sum(len(word.encode()) + 1 for word in value) > MAX_COMMAND_BYTES:
        raise ValueError(f"must not be longer than {MAX_COMMAND_BYTES} bytes: put the arguments into a file")
    return value


def _env(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"{name!r} cannot be the name of a variable")
    if sum(len(name.encode()) + len(text.encode()) + 2 for name, text in value.items()) > MAX_ENV_BYTES:
        raise ValueError(f"must not be longer than {MAX_ENV_BYTES} bytes: name fewer variables")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_iso), AfterValidator(_plausible)]
Seconds = Annotated[float, Field(strict=True, ge=0.001, le=MAX_S, allow_inf_nan=False)]
Delay = Annotated[float, Field(strict=True, ge=0, le=MAX_S, allow_inf_nan=False)]
Ratio = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Word = Annotated[str, AfterValidator(_no_nul)]
Text = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
Key = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]
Signal = Annotated[str, Field(max_length=20), AfterValidator(_signal)]
FilePath = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_no_nul)]


class AfterIn(BaseModel):
    """A job that this one waits for: until it has succeeded, or (`any`) ended in whatever way."""

    model_config = ConfigDict(extra="forbid")

    job: Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]
    on: After = After.OK


class JobIn(BaseModel):
    """What a client may say of a job. `log` and `env_file` may be relative to `workdir`.

    With `array` or `grid` it states many jobs, which are accepted together or not at all.
    """

    model_config = ConfigDict(extra="forbid")

    command: Annotated[list[Word], Field(max_length=4096), AfterValidator(_command)]
    workdir: Annotated[FilePath, AfterValidator(_absolute)]
    name: Text = ""
    project: Key = "default"
    gpus: Annotated[int, Field(strict=True, ge=0, le=1024)] = 1
    gpu_model: Key | None = None
    gpu_memory_gib: Annotated[float, Field(strict=True, gt=0, le=100_000, allow_inf_nan=False)] | None = None
    duration_s: Seconds | None = None
    time_limit_s: Seconds | None = None
    finish_by: Instant | None = None
    max_delay_s: Delay | None = None
    start_after: Instant | None = None
    start_now: Flag = False
    expire: Flag = False
    priority: Annotated[int, Field(strict=True, ge=-1000, le=1000)] = 0
    power_w: Annotated[float, Field(strict=True, gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    min_saving: Ratio | None = None
    run_below_g_per_kwh: Annotated[float, Field(strict=True, ge=0, le=ABSURD_G_PER_KWH, allow_inf_nan=False)] | None = (
        None
    )
    retries: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    grace_s: Annotated[float, Field(strict=True, ge=0, le=86_400, allow_inf_nan=False)] = 30.0
    interruptible: Flag = False
    min_run_s: Delay | None = None
    restart_cost_s: Delay | None = None
    checkpoint_signal: Signal | None = None
    checkpoint_exit_code: Annotated[int, Field(strict=True, ge=1, le=125)] | None = None
    after: Annotated[list[AfterIn], Field(max_length=MOST_TOGETHER)] = Field(default_factory=list)
    env: Annotated[dict[str, Word], Field(max_length=1024), AfterValidator(_env)] = Field(default_factory=dict)
    env_file: FilePath | None = None
    log: FilePath | None = None
    unique_key: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)] | None = None
    labels: Annotated[dict[Key, Text], Field(max_length=64)] = Field(default_factory=dict)
    git_commit: Text | None = None
    stop_on: Annotated[list[Anomaly], Field(max_length=len(Anomaly))] = Field(default_factory=list)
    grid: Axes = Field(default_factory=dict)
    array: ArrayIn | None = None

    @field_validator("gpu_model", "gpu_memory_gib")
    @classmethod
    def _is_of_a_gpu(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("gpus") == 0:
            raise ValueError("is asked for, but the job needs no GPU: ask for gpus as well, or leave it out")
        return value

    @field_validator("min_run_s", "restart_cost_s", "checkpoint_signal", "checkpoint_exit_code")
    @classmethod
    def _is_of_an_interruptible_job(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("interruptible") is False:
            raise ValueError("means something for an interruptible job only: say --interruptible too, or leave it out")
        return value

    @field_validator("grid")
    @classmethod
    def _is_a_grid(cls, value: Axes, info: ValidationInfo) -> Axes:
        if value and (why := wrong_in_grid(value, labels=info.data.get("labels") or {}, log=info.data.get("log"))):
            raise ValueError(why)
        return value

    @field_validator("array")
    @classmethod
    def _is_an_array(cls, value: ArrayIn | None, info: ValidationInfo) -> ArrayIn | None:
        if value is None or "grid" not in info.data:  # the grid's own faults are told first
            return value
        why = wrong_in_array(value, has_grid=bool(info.data["grid"]), log=info.data.get("log"))
        if why:
            raise ValueError(why)
        return value


def _one_or_many(value: object) -> str:
    return "many" if isinstance(value, list) else "one"


Jobs = Annotated[
    Annotated[JobIn, Tag("one")] | Annotated[list[JobIn], Field(min_length=1, max_length=MOST_TOGETHER), Tag("many")],
    Discriminator(_one_or_many),
]


def to_spec(job: JobIn, default_duration: timedelta) -> JobSpec:
    """Return what the job means; without a duration it should take the default, or its time limit if shorter."""
    time_limit = _span(job.time_limit_s)
    given = _span(job.duration_s)
    return JobSpec(
        command=tuple(job.command),
        workdir=job.workdir,
        name=job.name,
        project=job.project,
        gpus=job.gpus,
        gpu_model=job.gpu_model,
        gpu_memory_gib=job.gpu_memory_gib,
        duration=given or min(default_duration, time_limit or default_duration),
        duration_source=DurationSource.GIVEN if given else DurationSource.DEFAULT,
        time_limit=time_limit,
        finish_by=job.finish_by,
        max_delay=_span(job.max_delay_s),
        start_after=job.start_after,
        start_now=job.start_now,
        expire=job.expire,
        priority=job.priority,
        power_w=job.power_w,
        min_saving=job.min_saving,
        run_below_g_per_kwh=job.run_below_g_per_kwh,
        retries=job.retries,
        grace=timedelta(seconds=job.grace_s),
        after=tuple(Dependency(job_id=row.job, on=row.on) for row in job.after),
        interruptible=job.interruptible,
        **_checkpointing(job),
        env=job.env,
        env_file=_beside(job.workdir, job.env_file),
        log=_beside(job.workdir, job.log),
        unique_key=job.unique_key,
        labels=job.labels,
        git_commit=job.git_commit,
        stop_on=tuple(dict.fromkeys(job.stop_on)),
    )


def _checkpointing(job: JobIn) -> dict[str, Any]:
    """What is stated of how to checkpoint it; JobSpec has defaults for the rest."""
    stated = {
        "min_run": _span(job.min_run_s),
        "restart_cost": _span(job.restart_cost_s),
        "checkpoint_signal": job.checkpoint_signal,
        "checkpoint_exit_code": job.checkpoint_exit_code,
    }
    return {name: value for name, value in stated.items() if value is not None}


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _beside(workdir: str, path: str | None) -> str | None:
    return None if path is None else str(Path(workdir, path))

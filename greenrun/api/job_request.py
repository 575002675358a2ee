"""A submission as a client states it, of one job or many, and the JobSpecs that it stands for."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from platform import node
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Depends, Header, Request
from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from greenrun.api.json_types import RequestModel, request_model
from greenrun.core.energy.gpu_parts import names_profile
from greenrun.core.jobs.arrays import jobs_of_array, jobs_of_sweep, size_of, variable_of
from greenrun.core.jobs.declaration import Trait, field_infos
from greenrun.core.jobs.job import (
    LARGEST_INDEX,
    MOST_TOGETHER,
    After,
    Dependency,
    DurationSource,
    JobSpec,
    RequestKey,
)
from greenrun.core.jobs.log_names import ID_LETTERS, filled, letters_of
from greenrun.core.jobs.runs.run_variables import ARRAY_VARIABLES, FINISH_BY, why_overwritten

MOST_WORD_CHARACTERS = 1000  # of how a job is named
MOST_KEY_CHARACTERS = 255  # of what a client calls a request
_AXIS = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_STATED = tuple(field for field in field_infos(JobSpec) if not field.has(Trait.READ_ONLY))
_INTERRUPTIBLE_ONLY = tuple(field.name for field in _STATED if field.has(Trait.INTERRUPTIBLE_ONLY))


def _printable_values(values: list[str]) -> list[str]:
    if not all(value.isprintable() for value in values):
        raise ValueError("must hold printable characters only")
    if len(set(values)) < len(values):
        raise ValueError("names a value twice")
    return values


def _distinct(values: list[int]) -> list[int]:
    if len(set(values)) < len(values):
        raise ValueError("names an index twice")
    return sorted(values)


def _axes(axes: dict[str, list[str]]) -> dict[str, list[str]]:
    wrong = [name for name in axes if not _AXIS.fullmatch(name)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} cannot name a variable: use letters, digits, '_', '-' and '.'")
    if len({variable_of(name) for name in axes}) < len(axes):
        raise ValueError("two of its names would become the same variable")
    return axes


Value = Annotated[str, Field(min_length=1, max_length=200)]
Values = Annotated[list[Value], Field(min_length=1, max_length=MOST_TOGETHER), AfterValidator(_printable_values)]
Axes = Annotated[dict[str, Values], Field(max_length=16), AfterValidator(_axes)]
Word = Annotated[str, Field(min_length=1, max_length=MOST_WORD_CHARACTERS)]
Index = Annotated[int, Field(strict=True, ge=0, le=LARGEST_INDEX)]
Indices = Annotated[list[Index], Field(min_length=1, max_length=MOST_TOGETHER), AfterValidator(_distinct)]


class ArrayIn(RequestModel):
    """The indices of an array's jobs, and how many of them may run together. The jobs of a grid are counted from 0."""

    indices: Indices | None = None
    at_once: Annotated[int, Field(strict=True, ge=1, le=LARGEST_INDEX)] | None = None


def _job(value: object) -> int | str:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63
    if is_number or (isinstance(value, str) and 0 < len(value) <= MOST_WORD_CHARACTERS):
        return value  # type: ignore[return-value]
    raise ValueError("should be a job's number, or how people name it")


_JOB_SCHEMA = {
    "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "minLength": 1, "maxLength": MOST_WORD_CHARACTERS}]
}
JobNameOrNumber = Annotated[int | str, PlainValidator(_job), WithJsonSchema(_JOB_SCHEMA)]


class AfterIn(RequestModel):
    """A job that this one waits for, by its number or as people name it: until it has succeeded, or (`any`) ended.

    A name that several jobs have means the one that is not finished, else the newest; an array means all of its jobs.
    """

    job: JobNameOrNumber
    on: After = After.OK


_OWN = {Dependency: AfterIn}


class JobIn(request_model(JobSpec, _OWN)):  # type: ignore[misc]  # made of what JobSpec declares
    """What a client may say of a job. `log` and `env_file` may be relative to `workdir`.

    With `array` or `grid` it states many jobs, which are accepted together or not at all.
    """

    grid: Axes = Field(default_factory=dict, description="One job for each combination of these values.")
    array: ArrayIn | None = Field(None, description="One job for each of these indices.")

    @field_validator("gpu_model", "gpu_memory_gib")
    @classmethod
    def _is_of_a_gpu(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("gpus") == 0:
            raise ValueError("is asked for, but the job needs no GPU: ask for gpus as well, or leave it out")
        return value

    @field_validator("shared")
    @classmethod
    def _is_of_one_gpu(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("gpus", 1) != 1:
            raise ValueError(f"means a part of one GPU, and the job needs {info.data['gpus']}: leave out one of them")
        return value

    @field_validator("power_cap")
    @classmethod
    def _is_its_own(cls, value: object, info: ValidationInfo) -> object:
        if value is None or value == "none":
            return value
        whose = "a shared job" if info.data.get("shared") else None
        if whose is None and names_profile(model := info.data.get("gpu_model")):
            whose = f"a job on a MIG instance (gpu_model {model})"
        if whose:
            told = f"lowers the limit of the whole board, which {whose} has not for itself: leave it out, or say none"
            raise ValueError(told)
        return value

    @field_validator("retry_on")
    @classmethod
    def _is_retried(cls, value: object, info: ValidationInfo) -> object:
        if value and info.data.get("retries") == 0:
            raise ValueError("names exit codes to run it again on, but not how often: say retries as well")
        return value

    @field_validator("env")
    @classmethod
    def _is_not_overwritten(cls, value: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
        if why := why_overwritten(value, [FINISH_BY] if info.data.get("finish_by") else ()):
            raise ValueError(why)
        return value

    @field_validator(*_INTERRUPTIBLE_ONLY)
    @classmethod
    def _is_of_an_interruptible_job(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("interruptible") is False:
            raise ValueError("means something for an interruptible job only: say --interruptible too, or leave it out")
        return value

    @field_validator("grid")
    @classmethod
    def _is_a_sweep(cls, value: Axes, info: ValidationInfo) -> Axes:
        if value and (why := _wrong_in_sweep(value, labels=info.data.get("labels") or {}, log=info.data.get("log"))):
            raise ValueError(why)
        own = [*ARRAY_VARIABLES, *map(variable_of, value)] if value else []
        if why := why_overwritten(info.data.get("env") or (), own):
            raise ValueError(why)
        return value

    @field_validator("array")
    @classmethod
    def _is_an_array(cls, value: ArrayIn | None, info: ValidationInfo) -> ArrayIn | None:
        if value is None or "grid" not in info.data:  # the grid's own problems are reported first
            return value
        why = _wrong_in_array(value, is_sweep=bool(info.data["grid"]), log=info.data.get("log"))
        if why := why or why_overwritten(info.data.get("env") or (), ARRAY_VARIABLES):
            raise ValueError(why)
        return value


def _wrong_in_array(array: ArrayIn, *, is_sweep: bool, log: str | None) -> str | None:
    """Return what is wrong with an array in combination with the rest of its job, or None."""
    if not is_sweep and array.indices is None:
        return "names no indices: write it like 0-9, or 0-9%4"
    if is_sweep and array.indices is not None:
        return "numbers the jobs of a grid, which are counted by themselves: say %4 alone for 4 at once"
    return None if is_sweep else _wrong_in_log(log)


def _wrong_in_sweep(sweep: Mapping[str, list[str]], *, labels: Mapping[str, str], log: str | None) -> str | None:
    """Return what is wrong with a sweep (of at least one name) in combination with the rest of its job, or None."""
    size = size_of(sweep)
    if size > MOST_TOGETHER:
        return f"would be {size} jobs, more than the {MOST_TOGETHER} that one submission may be: submit it in parts"
    if sweep.keys() & labels.keys():
        return f"'{min(sweep.keys() & labels.keys())}' is a label of the job already: rename one of them"
    return _wrong_in_log(log)


def _wrong_in_log(log: str | None) -> str | None:
    if log is None or letters_of(log) & {"a", *ID_LETTERS}:
        return None
    return "its jobs would all write to one log: put %a, the job's index, or %j, its id, into the log's name"


def _one_or_many(value: object) -> str:
    return "many" if isinstance(value, list) else "one"


Jobs = Annotated[
    Annotated[JobIn, Tag("one")] | Annotated[list[JobIn], Field(min_length=1, max_length=MOST_TOGETHER), Tag("many")],
    Discriminator(_one_or_many),
]


Key = Annotated[str | None, Header(max_length=MOST_KEY_CHARACTERS, pattern=r"^[!-~]([ -~]*[!-~])?$")]


async def _request_key(request: Request, idempotency_key: Key = None) -> RequestKey | None:
    """Return the key of a submission, with a digest of its body, which has been read; None without one."""
    if idempotency_key is None:
        return None
    return RequestKey(key=idempotency_key, digest=sha256(await request.body()).hexdigest())


RequestKeyDep = Annotated[RequestKey | None, Depends(_request_key)]


def to_spec(job: JobIn, default_duration: timedelta, after: Sequence[Dependency]) -> JobSpec:
    """Return what the job means; without a duration it should take the default, or its time limit if shorter.

    `after` are the jobs that it waits for, which somebody has found.
    """
    stated: dict[str, Any] = {field.name: getattr(job, field.name) for field in _STATED}
    stated = {name: value for name, value in stated.items() if value is not None}  # JobSpec has the other defaults
    stated |= {name: str(Path(job.workdir, stated[name])) for name in ("env_file", "log") if name in stated}
    if "log" in stated:
        stated["log"] = filled(stated["log"], {"N": node().partition(".")[0]})
    stated["after"] = tuple(after)
    if "duration" not in stated:
        stated["duration"] = min(default_duration, stated.get("time_limit", default_duration))
        stated["duration_source"] = DurationSource.DEFAULT
    return JobSpec(**stated)


def to_specs(job: JobIn, spec: JobSpec, uid: int) -> list[JobSpec]:
    """Return the jobs that a statement means: `spec` itself, or one per index or point of the sweep.

    A unique key names the same array whenever it is submitted again, and each job by its index or its values.
    """
    key = f"{uid}:{spec.unique_key}" if spec.unique_key else uuid4().hex
    at_once = job.array.at_once if job.array else None
    if job.grid:
        return jobs_of_sweep(spec, key, job.grid, at_once)
    return jobs_of_array(spec, key, job.array.indices or (), at_once) if job.array else [spec]

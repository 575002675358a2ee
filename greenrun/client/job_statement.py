"""State a job in Python by the rules of `greenrun submit`: the same forms of times, the same environment and folder."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

from greenrun.client.client_errors import RequestRefused
from greenrun.core.errors import InputProblem
from greenrun.submission.job_options import OPTIONS, Value, state_changes, state_job
from greenrun.submission.present_context import present_context
from greenrun.submission.stated import Stated

Span = str | timedelta
Instant = str | datetime


class JobOptions(TypedDict, total=False):
    """What can be said of a job: the options of `greenrun submit`, by the names of the API's fields (no `_s`).

    A duration is text such as "6h" or a timedelta, an instant text such as "tomorrow 9am" or a datetime (one without a
    zone is local time). Texts are read as on the command line; None is as if it were left out.
    """

    gpus: int
    gpu_model: str | None
    gpu_memory_gib: float | str | None
    shared: bool
    gpu_ids: str | None
    memory_gib: float | str | None
    cpus: float | None
    io_weight: int | None
    duration: Span | None
    time_limit: Span | None
    finish_by: Instant | None
    max_delay: Span | None
    start_after: Instant | None
    start_now: bool
    expire: bool
    project: str | None
    name: str | None
    labels: Mapping[str, str] | None
    priority: int
    unique_key: str | None
    power_w: float | str | None
    power_cap: str | None
    min_saving: float | str | None
    run_below_g_per_kwh: float | None
    retries: int
    retry_on: Iterable[int] | None
    grace: Span | None
    interruptible: bool
    min_run: Span | None
    restart_cost: Span | None
    checkpoint_signal: str | None
    checkpoint_exit_code: int | None
    after: Any
    workdir: str | Path | None
    container: str | None
    env: Mapping[str, str] | Sequence[str] | None
    env_file: str | Path | None
    log: str | Path | None
    stop_on: Sequence[str] | None
    notify: Sequence[str] | None


class SweepOptions(JobOptions, total=False):
    """The same with what makes many jobs of one: indices, and values of variables."""

    array: str | Iterable[int] | None
    grid: Mapping[str, Iterable[Any]] | None


_BY_FIELD = {option.field.removesuffix("_s"): name for name, option in OPTIONS.items()}


def state(
    command: str | Path | Sequence[str | Path], options: Mapping[str, Any], config: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """Return the API's job, and what was made of ambiguous times; raise RequestRefused with all problems."""
    context = present_context(config)
    words = [str(command)] if isinstance(command, (str, Path)) else [str(word) for word in command]
    given, made = _given(options)
    stated = state_job(given, words, context)
    return _checked(stated, "submitted", made), context.notes


def state_edit(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API's changes of a job, where None is the default; raise RequestRefused with all problems."""
    given, made = _given({name: value for name, value in options.items() if value is not None and value is not False})
    defaults = {_field(name): value for name, value in options.items() if value is None or value is False}
    return _checked(state_changes(given, present_context(is_new=False)), "changed", {**defaults, **made})


def _checked(stated: Stated, done: str, made: Mapping[str, Any]) -> dict[str, Any]:
    if stated.problems:
        problems = [InputProblem(field=row.field, message=_in_python(row.message)) for row in stated.problems]
        told = "; ".join(map(str, problems))
        raise RequestRefused(f"nothing was {done}: {told}", title="invalid job", errors=problems)
    return {**stated.fields, **made}


def _in_python(message: str) -> str:
    if message.startswith("there is no command"):
        return 'there is no command to run: name it first, like ["python", "train.py"]'
    return message.replace("add --interruptible", "say interruptible=True")


def _given(options: Mapping[str, Any]) -> tuple[dict[str, Value], dict[str, Any]]:
    """Return options as texts, as the command line has them, and fields that need not be read as text."""
    unknown = sorted(name for name in options if name not in _BY_FIELD)
    if unknown:
        known = ", ".join(sorted(_BY_FIELD))
        raise TypeError(f"{', '.join(unknown)} cannot be said of a job: there are {known}")
    given, made = {}, {}
    for name, value in options.items():
        if value is None or value is False:
            continue
        if (direct := _made(name, value)) is not None:
            made[_field(name)] = direct
        else:
            given[_BY_FIELD[name]] = Value(_texts(name, value), name)
    return given, made


def _made(name: str, value: Any) -> Any:
    """Return a field of the API where its value is no text that a command line could have."""
    if name == "grid" and isinstance(value, Mapping):
        return {str(key): [str(each) for each in values] for key, values in value.items()}
    if name == "array" and not isinstance(value, str):
        return {"indices": [int(index) for index in value]}
    if name == "labels" and isinstance(value, Mapping):
        return {str(key): str(each) for key, each in value.items()}
    return None


def _field(name: str) -> str:
    return OPTIONS[_BY_FIELD[name]].field


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if value is True:
        return ("True",)
    if name == "env" and isinstance(value, Mapping):
        return tuple(f"{key}={each}" for key, each in value.items())
    if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)):
        return tuple(text_of(each) for each in value)
    return (text_of(value),)


def text_of(value: Any) -> str:
    """Return one value as the text that the command line would have."""
    if isinstance(value, timedelta):
        return f"{value.total_seconds():f}s"
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.astimezone()).isoformat()
    if isinstance(value, float):
        return f"{value:.15g}"
    number = getattr(value, "id", None)  # of a Job
    return str(value if number is None else number)

"""Turn the options of a job, from the command line, a script or a file of jobs, into the API's request.

JobSpec declares the options; this module parses the text of each kind.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from enum import EnumType, StrEnum
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from greenrun.core.errors import InputProblem, InvalidJob
from greenrun.core.formatting import exact_duration_text, iso_text
from greenrun.core.jobs.declaration import FieldInfo, Option, Range, Trait, field_infos
from greenrun.core.jobs.spec import CHECKPOINT_SIGNALS, JobSpec
from greenrun.executors.command_files.env_file import variables_in
from greenrun.executors.command_files.programs import DEFAULT_PATH, why_not_executable
from greenrun.paths import JOB_ENVIRONMENT
from greenrun.submission import environment
from greenrun.submission.stated import Stated
from greenrun.submission.sweep import parse_after, parse_array, parse_axis, parse_exit_codes, sweep_of
from greenrun.submission.times import parse_duration, read_instant

_UNUSED = "applies to interruptible jobs only; add --interruptible, or leave it out"
_NO_COMMAND = "there is no command to run; name it last, like: greenrun submit --duration 6h -- python train.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionContext:
    """The context in which options are read: the present, the local zone (found when needed), folder and environment.

    `variables` names the environment variables that every job gets; it gets the submitter's `umask` and `limits` too.
    `notes` collects what the user is to be told of how the options were read.
    """

    now: datetime
    zone: Callable[[], tzinfo]
    folder: Path
    environ: Mapping[str, str]
    variables: Sequence[str] = JOB_ENVIRONMENT
    umask: str | None = None
    limits: Mapping[str, str] | None = None
    notes: list[str] = field(default_factory=list)


class Value(NamedTuple):
    """What was given for an option (several texts where it may be repeated) and where, for messages."""

    texts: Sequence[str]
    where: str


class JobOption(NamedTuple):
    """A job option: the API's field, its declaration, the parser of its text, and how to combine repetitions, if any.

    `default` describes the default in words; empty where that needs no description.
    """

    field: str
    given: Option
    read: Callable[[str, SubmissionContext], Any]
    gather: Callable[[list[Any]], Any] | None = None
    interruptible_only: bool = False
    default: str = ""

    @property
    def is_flag(self) -> bool:
        """Whether it has no value."""
        return not self.given.form

    @property
    def repeats(self) -> bool:
        """Whether it may be given more than once."""
        return self.gather is not None


def state_job(given: Mapping[str, Value], command: Sequence[str], context: SubmissionContext) -> Stated:
    """Return the API's job for these options (by long name), with every problem and without what is wrong."""
    problems: list[InputProblem] = []
    wrong: set[str] = set()
    job: dict[str, Any] = {"command": list(command), "gpus": 1, "workdir": str(context.folder)}
    for name, value in given.items():
        try:
            job[OPTIONS[name].field] = _read(OPTIONS[name], value, context)
        except ValueError as exc:
            problems += [InputProblem(field=value.where, message=why) for why in exc.args]
            wrong.add(OPTIONS[name].field)
    job["env"] = {**environment.kept(context.environ, context.variables), **job.get("env", {})}
    workdir = Path(job["workdir"])
    unused = _unused(given)
    problems += [InputProblem(field=given[name].where, message=_UNUSED) for name in unused]
    wrong |= {OPTIONS[name].field for name in unused}
    lacking = [] if command and job.get("container") else _missing(command, workdir, _search_path(job))
    process = {name: value for name, value in (("umask", context.umask), ("limits", context.limits)) if value}
    job |= process | {"git_commit": environment.git_commit(workdir)}
    wrong |= set() if command else {"command"}
    stated = Stated(job, [*problems, *lacking], frozenset({"command"} if lacking else ()))
    return stated.without(wrong)


def state_changes(given: Mapping[str, Value], context: SubmissionContext) -> Stated:
    """Return the API's fields for these options, `none` being the default, with every problem."""
    problems: list[InputProblem] = []
    changes: dict[str, Any] = {}
    wrong = set()
    for name, value in given.items():
        option = OPTIONS[name]
        try:
            is_none = not option.is_flag and [text.strip().lower() for text in value.texts] == ["none"]
            is_off = option.is_flag and value.texts == ("False",)
            changes[option.field] = None if is_none else False if is_off else _read(option, value, context)
        except ValueError as exc:
            problems += [InputProblem(field=value.where, message=why) for why in exc.args]
            wrong.add(option.field)
    return Stated(changes, problems).without(wrong)


def refused(problems: Sequence[InputProblem], done: str = "submitted") -> InvalidJob:
    """Return the error that lists these problems and says that nothing was done."""
    what = str(problems[0]) if len(problems) == 1 else "these are wrong"
    return InvalidJob(f"nothing was {done}: {what}", problems)


def _read(option: JobOption, value: Value, context: SubmissionContext) -> Any:
    """Return what an option says; raise ValueError, whose arguments are all that is wrong with what it was given."""
    if option.is_flag:
        return True
    read, wrong = [], []
    for text in value.texts:
        try:
            read.append(option.read(text, context))
        except ValueError as exc:
            wrong.append(str(exc))
    if wrong:
        raise ValueError(*dict.fromkeys(wrong))
    try:
        return option.gather(read) if option.gather else read[-1]
    except ValueError as exc:
        raise ValueError(str(exc)) from exc


def _unused(given: Mapping[str, Value]) -> list[str]:
    return [name for name in given if OPTIONS[name].interruptible_only and "interruptible" not in given]


def _missing(command: Sequence[str], workdir: Path, search: str) -> list[InputProblem]:
    if not command:
        return [InputProblem(field="", message=_NO_COMMAND)]
    why = why_not_executable(command[0], str(workdir), search)
    return [InputProblem(field="COMMAND", message=why)] if why else []


def _search_path(job: Mapping[str, Any]) -> str:
    """Return the PATH that the job will have: of its file of variables, else of its environment."""
    with suppress(KeyError, OSError):
        return variables_in(job["env_file"])["PATH"]
    return str(job["env"].get("PATH") or DEFAULT_PATH)


def _text(text: str, context: SubmissionContext) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


def _duration_s(text: str, context: SubmissionContext) -> float:
    seconds = parse_duration(text) / timedelta(seconds=1)
    return int(seconds) if seconds.is_integer() else seconds


def _instant(text: str, context: SubmissionContext) -> str:
    found = read_instant(text, now=context.now, zone=context.zone())
    if found.note and found.note not in context.notes:
        context.notes.append(found.note)
    return iso_text(found.at)


def _count(text: str, context: SubmissionContext) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"'{text}' is not a whole number from 0 up")
    return int(text)


def _integer(text: str, context: SubmissionContext) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a whole number") from None


def _number(text: str, unit: str, example: str) -> float:
    try:
        number = float(text.strip().lower().removesuffix(unit))
    except ValueError:
        number = -1
    if not 0 <= number < 1e9:
        raise ValueError(f"'{text}' is not a number from 0 up; write it like {example}")
    return number


def _power_w(text: str, context: SubmissionContext) -> float:
    if text.strip().lower().endswith("kw"):
        return _number(text, "kw", "1.2kW") * 1000
    return _number(text, "w", "350 or 350W")


def _g_per_kwh(text: str, context: SubmissionContext) -> float:
    return _number(text, "g", "80 (g/kWh)")


def _ratio(text: str, context: SubmissionContext) -> float:
    is_percent = text.strip().endswith("%")
    number = _number(text, "%", "5% or 0.05") / (100 if is_percent else 1)
    if number > 1:
        raise ValueError(f"'{text}' is more than all of it; write it like 5% or 0.05")
    return round(number, 12)


def _memory_gib(text: str, context: SubmissionContext) -> float:
    """Read GiB; convert decimal units. A letter alone is a binary unit."""
    raw = text.strip().lower()
    per_unit = {"mb": 1e6 / 2**30, "gb": 1e9 / 2**30, "tb": 1e12 / 2**30, "mib": 1 / 1024, "tib": 1024.0}
    per_unit |= {"m": 1 / 1024, "g": 1.0, "t": 1024.0}  # as systemd, Slurm and containers read them
    unit = next((unit for unit in ("gib", *per_unit) if raw.endswith(unit)), "")
    amount = _number(raw.removesuffix(unit), "", "40 (GiB), 40GiB or 40GB") * per_unit.get(unit, 1.0)
    if not amount:
        raise ValueError(f"'{text}' is no memory at all; leave it out, or write it like 40GiB")
    return round(amount, 6)


def _signal(text: str, context: SubmissionContext) -> str:
    name = text.strip().upper().removeprefix("SIG")
    if name not in CHECKPOINT_SIGNALS:
        raise ValueError(f"'{text}' is not one of {', '.join(CHECKPOINT_SIGNALS)}")
    return name


def _names(text: str, context: SubmissionContext, *, known: type[StrEnum]) -> list[str]:
    names = [name.strip().replace("-", "_") for name in text.split(",")]
    unknown = next((name for name in names if name not in list(known)), None)
    if unknown is not None:
        raise ValueError(f"'{unknown}' is not one of {', '.join(known)}")
    return names


def _choice(text: str, context: SubmissionContext, *, known: type[StrEnum]) -> str:
    name = text.strip().lower().replace("-", "_")
    if name not in list(known):
        raise ValueError(f"'{text}' is not one of {', '.join(known)}")
    return name


def _path(text: str, context: SubmissionContext) -> str:
    return str(context.folder / Path(_text(text, context)).expanduser())


def _folder(text: str, context: SubmissionContext) -> str:
    path = Path(_path(text, context))
    if not path.is_dir():
        raise ValueError(f"there is no folder {path}")
    return str(path.resolve())


def _file(text: str, context: SubmissionContext) -> str:
    path = Path(_path(text, context))
    if not path.is_file():
        raise ValueError(f"{path} is no plain file" if path.exists() else f"there is no file {path}")
    return str(path)


def _pair(text: str, context: SubmissionContext) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError(f"'{text}' is not a label; write it like team=vision")
    return key.strip(), value.strip()


def _variable(text: str, context: SubmissionContext) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or any(sign.isspace() for sign in name):
        raise ValueError(f"'{text}' is not a variable; write it like NAME or NAME=value")
    if equals:
        return name, value
    if name not in context.environ:
        raise ValueError(f"{name} is not set here; set it, or write {name}=value")
    return name, context.environ[name]


def _distinct(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise ValueError(f"{name} is given twice, with different values: leave one of them out")
    return found


def _read_of(row: FieldInfo) -> Callable[[str, SubmissionContext], Any]:
    """Return the parser of a field's text: its own one, else by the unit in its name, else by its type."""
    limits = next((mark for mark in row.marks if isinstance(mark, Range)), None)
    unit = next((read for unit, read in _BY_UNIT.items() if row.name.endswith(unit)), None)
    if row.kind is int and limits is not None and limits.least >= 0:
        return _count
    return _BY_NAME.get(row.name) or unit or _names_of(row) or _BY_TYPE.get(row.kind, _text)


def _names_of(row: FieldInfo) -> Callable[[str, SubmissionContext], Any] | None:
    """Return the parser of a field that is one of some names, or several of them."""
    if _is_named(row.kind):
        return partial(_choice, known=row.kind)
    return partial(_names, known=row.item) if _is_named(row.item) else None


def _is_named(kind: Any) -> TypeGuard[type[StrEnum]]:
    return isinstance(kind, EnumType) and issubclass(kind, StrEnum)


_BY_NAME: dict[str, Callable[[str, SubmissionContext], Any]] = {
    "min_saving": _ratio,
    "cpus": lambda text, context: _number(text, "", "4 or 0.5"),
    "labels": _pair,
    "checkpoint_signal": _signal,
    "after": lambda text, context: parse_after(text),
    "array": lambda text, context: parse_array(text),
    "workdir": _folder,
    "env": _variable,
    "env_file": _file,
    "log": _path,
    "retry_on": lambda text, context: parse_exit_codes(text),
}
_BY_UNIT = {"_w": _power_w, "_g_per_kwh": _g_per_kwh, "_gib": _memory_gib}
_BY_TYPE: dict[Any, Callable[[str, SubmissionContext], Any]] = {
    timedelta: _duration_s,
    datetime: _instant,
    int: _integer,
}
_GATHER: dict[str, Callable[[list[Any]], Any]] = {
    "labels": _distinct,
    "after": list,
    "env": _distinct,
    "retry_on": lambda lists: sorted({*chain(*lists)}),
}
_SWEEP = Option(meaning="One job per value", more="; repeated: per combination", form="K=V,V")


def _options() -> Iterator[tuple[str, JobOption]]:
    """Yield the options that JobSpec declares, by long name, and --grid next to --array."""
    for row in field_infos(JobSpec):
        if row.option is not None:
            only = row.has(Trait.INTERRUPTIBLE_ONLY)
            read, gather = _read_of(row), _GATHER.get(row.name) or _gather_of(row)
            default = row.option.default or _default(row.default)
            yield row.option_name, JobOption(row.json_name, row.option, read, gather, only, default)
        if row.name == "array":
            yield "grid", JobOption("grid", _SWEEP, lambda text, context: parse_axis(text), sweep_of)


def _gather_of(row: FieldInfo) -> Callable[[list[Any]], Any] | None:
    return (lambda lists: list(dict.fromkeys(chain(*lists)))) if _is_named(row.item) else None


def _default(value: object) -> str:
    if isinstance(value, timedelta):
        return exact_duration_text(value)
    return str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""


OPTIONS = dict(_options())

"""Read a file of many jobs: a TOML list `[[job]]` whose keys are the long options of `greenrun submit`."""

import shlex
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from greenrun.cli.jobs.job_options import OPTIONS, SubmissionContext, Value, state_job
from greenrun.core.errors import InputProblem, InvalidJob


def read_jobs(path: Path, given: Mapping[str, Value], context: SubmissionContext) -> list[dict[str, Any]]:
    """Return the API's jobs, `given` options winning over the file's; raise InvalidJob with the problems of all."""
    problems: list[InputProblem] = []
    jobs = []
    for number, entry in enumerate(_entries(path), start=1):
        try:
            jobs.append(_job(entry, f"job {number}", given, context))
        except InvalidJob as exc:
            problems += exc.problems
    if problems:
        raise InvalidJob(f"no job of {path} was submitted: some have faults", problems)
    return jobs


def _entries(path: Path) -> list[Mapping[str, Any]]:
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("job")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise InvalidJob(f"cannot read jobs from {path}: {exc}; nothing was submitted") from exc
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidJob(f"{path} lists no jobs; begin each with a line [[job]]")
    return entries


def _job(
    entry: Mapping[str, Any], where: str, given: Mapping[str, Value], context: SubmissionContext
) -> dict[str, Any]:
    problems: list[InputProblem] = []
    values: dict[str, Value] = {}
    for key, value in entry.items():
        name = _option_name(key)
        if name in OPTIONS:
            problems += _take(values, name, value, f"{where}: {key}")
        elif key != "command":
            problems.append(
                InputProblem(field=f"{where}: {key}", message="there is no such option; see greenrun submit --help")
            )
    try:
        job = state_job({**values, **given}, _command(entry.get("command")), context)
    except InvalidJob as exc:
        problems += [
            InputProblem(field=_within(where, problem.field), message=problem.message) for problem in exc.problems
        ]
    if problems:
        raise InvalidJob("this job was not submitted", problems)
    return job


def _within(where: str, field: str) -> str:
    return field if field.startswith((where, "--")) else f"{where}: {field or 'command'}"


def _option_name(key: str) -> str:
    name = key.replace("_", "-")
    return {"labels": "label"}.get(name, name)


def _command(value: object) -> list[str]:
    if isinstance(value, str):
        return shlex.split(value)
    return [str(word) for word in value] if isinstance(value, list) else []


def _take(values: dict[str, Value], name: str, value: object, where: str) -> list[InputProblem]:
    if OPTIONS[name].is_flag:
        if not isinstance(value, bool):
            return [InputProblem(field=where, message="say true or false")]
        if value:
            values[name] = Value(("true",), where)
        return []
    texts = _axis_texts(value) if name == "grid" else _texts(value)
    if not texts or (len(texts) > 1 and not OPTIONS[name].repeats):
        why = "needs names with values that hold no comma" if name == "grid" else "needs one value"
        return [InputProblem(field=where, message=why)]
    values[name] = Value(texts, where)
    return []


def _axis_texts(value: object) -> list[str]:
    """`grid = {lr = ["1e-3", "1e-4"]}`, each name with a value or a list of them; a comma would end a value."""
    if not isinstance(value, dict):
        return _texts(value)
    axes = {name: _texts(values) for name, values in value.items()}
    if any("," in text for texts in axes.values() for text in texts):
        return []
    return [f"{name}={','.join(texts)}" for name, texts in axes.items()]


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}={item}" for key, item in value.items()]
    if isinstance(value, list):
        return [str(item) for item in value]
    return [value.isoformat(" ") if isinstance(value, datetime) else str(value)] if not isinstance(value, bool) else []

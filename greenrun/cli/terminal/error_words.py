"""Errors of the API in the words of the command line: options instead of fields, local times instead of UTC."""

import re
from collections.abc import Iterable, Mapping
from functools import cache

import click

from greenrun.core.errors import InputProblem
from greenrun.core.formatting import duration_text, localized_text

_PATH = r"(?:\[(?P<job>\d+)\]\.?)?(?P<field>\w*)(?:\.(?P<key>[^.\[]+))?.*"
_OF_MAPPINGS = ("--label", "--env")  # whose keys are the user's own
_COMPARED = {
    "greater than or equal to": "at least", "less than or equal to": "at most", "greater than": "more than",
    "less than": "less than",
}  # fmt: skip
_PLAIN = {"errors": "", "ids": "job numbers"}


def in_words(detail: str, problems: Iterable[InputProblem]) -> tuple[str, list[InputProblem]]:
    """Return an error's detail and its problems as a user of the command line knows the things that they name."""
    said, told = detail, []
    for problem in problems:
        message = message_words(_bound_words(problem.field, problem.message))
        worded = InputProblem(field=field_words(problem.field), message=message)
        said = said.replace(str(problem), str(worded)) if problem.field else said
        told.append(worded)
    return message_words(said), told


def field_words(field: str) -> str:
    """Return what a field of the API is called here: `[2].duration_s` is `job 3: --duration`."""
    if of_job := re.fullmatch(r"(job \d+): (\w+)", field):
        return f"{of_job[1]}: {field_words(of_job[2])}"
    found = re.fullmatch(_PATH, field, re.DOTALL)
    if found is None or " " in field or field.startswith("-"):
        return field  # it is in words already
    name = _named(found["field"])
    if name in _OF_MAPPINGS and found["key"]:
        name = f"{name} {found['key']}"
    job = f"job {int(found['job']) + 1}" if found["job"] else ""
    return ": ".join(part for part in (job, name) if part)


def message_words(message: str) -> str:
    """Return a message whose fields are options and whose instants are local times."""
    names = "|".join(re.escape(name) for name in sorted(_options(), key=len, reverse=True) if "_" in name)
    worded = re.sub(rf"(?<![\w./-])({names})(?![\w=/])", lambda found: _options()[found[0]], message)
    return localized_text(worded)


def _bound_words(field: str, message: str) -> str:
    """Return a message whose bound reads as a person says it, a duration with its unit."""

    def worded(found: re.Match[str]) -> str:
        bound = duration_text(float(found["bound"])) if field.endswith("_s") else found["bound"]
        return f"must be {_COMPARED[found['which']]} {bound}"

    return re.sub(rf"should be (?P<which>{'|'.join(_COMPARED)}) (?P<bound>-?\d[\d.e+]*)$", worded, message)


def _named(field: str) -> str:
    return _PLAIN.get(field) or _options().get(field) or _of_command().get(field) or field.replace("_", " ")


@cache
def _options() -> Mapping[str, str]:
    """Return the option of each field of a job, by its name in JSON and in Python."""
    from greenrun.core.jobs.declaration import field_infos
    from greenrun.core.jobs.job import JobSpec

    found = {"grid": "--grid", "at_once": "--array", "indices": "--array"}
    for row in field_infos(JobSpec):
        if row.option is not None:
            found |= dict.fromkeys((row.name, row.json_name), f"--{row.option_name}")
    return found


def _of_command() -> dict[str, str]:
    """Return the options of the command that is running, by what they are called without dashes."""
    context = click.get_current_context(silent=True)
    options = [option for row in context.command.params for option in row.opts] if context else []
    return {option.lstrip("-").replace("-", "_"): option for option in options if option.startswith("--")}

"""Read a file of jobs, TOML or YAML, also from standard input: a list whose keys are the long options of a job."""

import re
import shlex
import sys
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from greenrun.cli.jobs.script import state_scripted
from greenrun.cli.jobs.trial import ANY, also_refused, submission
from greenrun.core.errors import InputProblem, InvalidJob
from greenrun.submission.job_options import OPTIONS, SubmissionContext, Value, state_job
from greenrun.submission.stated import Stated

if TYPE_CHECKING:
    from greenrun.client import ApiClient

STANDARD_INPUT = "-"
_LISTS = ("job", "jobs")
_MOST_BYTES = 16 << 20
_PAIRED = ("label", "env", "grid")  # options whose values may be a table of names
_OTHER_NAMES = {"labels": "label", "stdout": "log"}
_BEGINS_TOML = re.compile(r"""(?:\s*(?:\#.*)?\n)*\s*(?:\[\[?\s*[\w"'.-]+\s*\]|[\w"'.-]+\s*=)""")


class ReadJobs(NamedTuple):
    """The jobs of a file by their number, as far as they are well stated, with what is wrong with them."""

    shown: str
    stated: Mapping[int, Stated]

    @property
    def problems(self) -> list[InputProblem]:
        """What is wrong with all of them."""
        return [problem for row in self.stated.values() for problem in row.problems]

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """All of them, as the API takes them."""
        return [row.fields for row in self.stated.values()]

    def refused(self, client: "ApiClient") -> InvalidJob:
        """Return the error that nothing of the file was submitted, with what the daemon would refuse of it too."""
        from greenrun.cli.terminal.error_words import in_words

        found = {number: list(row.problems) for number, row in self.stated.items()}
        for number, problem in also_refused(submission(client), self.stated):
            in_file = InputProblem(field=f"[{number - 1}].{problem.field}", message=problem.message)
            found[number] += in_words("", [in_file])[1]
        problems = [problem for number in sorted(found) for problem in found[number]]
        return InvalidJob(f"no job of {self.shown} was submitted: some have faults", problems)


def read_jobs(name: str, given: Mapping[str, Value], context: SubmissionContext) -> ReadJobs:
    """Return the API's jobs of a file (`-`: standard input), `given` options winning over the file's.

    Raise InvalidJob for a file that is no list of jobs.
    """
    shown = "standard input" if name == STANDARD_INPUT else name
    entries = enumerate(_entries(_parsed(name, shown), shown), start=1)
    return ReadJobs(shown, {number: _job(entry, f"job {number}", given, context) for number, entry in entries})


def _parsed(name: str, shown: str) -> object:
    """Return what a file holds: by its ending TOML or YAML, else by its first line that says something."""
    try:
        text = _text(name)
        ending = name.rpartition(".")[2].lower()
        if ending == "toml" or (ending not in ("yaml", "yml") and _BEGINS_TOML.match(text)):
            return tomllib.loads(text, parse_float=str)
        from greenrun.cli.jobs.yaml_text import parse_yaml

        return parse_yaml(text)
    except (OSError, ValueError, RecursionError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise InvalidJob(f"cannot read jobs from {shown}: {why}; nothing was submitted") from exc


def _text(name: str) -> str:
    if name == STANDARD_INPUT:
        raw = sys.stdin.buffer.read(_MOST_BYTES + 1)
    else:
        with Path(name).expanduser().open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES >> 20} MiB; submit the jobs in parts")
    return raw.decode("utf-8-sig")


def _entries(found: object, shown: str) -> list[Mapping[str, Any]]:
    """Return the jobs: those of a list, of a list named `job` or `jobs`, or one that the file itself states."""
    if isinstance(found, dict) and "command" in found:
        found = [found]
    if isinstance(found, dict):
        others = [key for key in found if key not in _LISTS]
        if others and any(key in found for key in _LISTS):
            why = "is no list of jobs: each begins with [[job]] in TOML, with '- ' under job: in YAML"
            raise InvalidJob(
                f"no job of {shown} was submitted: '{others[0]}' {why}",
                [InputProblem(field=key, message=why) for key in others],
            )
        if all(key in found for key in _LISTS):
            why = "is a second list of jobs beside 'job': put all of them into one"
            raise InvalidJob(
                f"no job of {shown} was submitted: 'jobs' {why}", [InputProblem(field="jobs", message=why)]
            )
        found = next((found[key] for key in _LISTS if key in found), None)
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not found:
        raise InvalidJob(f"{shown} lists no jobs; begin each with a line [[job]] in TOML, with '- ' in YAML")
    wrong = [number for number, entry in enumerate(found, start=1) if not isinstance(entry, dict)]
    if wrong:
        why = "is not a table of options with their values"
        raise InvalidJob(
            f"no job of {shown} was submitted: job {wrong[0]} {why}",
            [InputProblem(field=f"job {number}", message=why) for number in wrong],
        )
    return found


def _job(entry: Mapping[str, Any], where: str, given: Mapping[str, Value], context: SubmissionContext) -> Stated:
    problems: list[InputProblem] = []
    wrong: set[str] = set()
    values: dict[str, Value] = {}
    named: dict[str, str] = {}
    for key, value in entry.items():
        name = _option_name(key)
        if name in named:
            problems.append(InputProblem(field=f"{where}: {key}", message=f"is said by {named[name]} already"))
        elif name in OPTIONS:
            found = _take(values, name, value, f"{where}: {key}")
            problems += found
            wrong |= {OPTIONS[name].field} if found else set()
        elif key != "command":
            problems.append(
                InputProblem(field=f"{where}: {key}", message="there is no such option; see greenrun submit --help")
            )
            wrong.add(ANY)
        named[name] = key
    own = {**values, **given}
    try:
        words = _command(entry.get("command"))
    except ValueError as exc:
        stated = state_job(own, ["true"], context).without(["command"])
        problems.append(InputProblem(field=f"{where}: command", message=str(exc)))
    else:
        stated = state_scripted(words, own, context, _folder(own, context))
    others = [InputProblem(field=_within(where, row.field), message=row.message) for row in stated.problems]
    return stated.without(wrong)._replace(problems=[*problems, *others])


def _folder(own: Mapping[str, Value], context: SubmissionContext) -> Path:
    """Return the folder that a job's command is meant from."""
    return context.folder / Path(own["workdir"].texts[-1]).expanduser() if "workdir" in own else context.folder


def _within(where: str, field: str) -> str:
    return field if field.startswith((where, "--")) else f"{where}: {field or 'command'}"


def _option_name(key: str) -> str:
    name = key.replace("_", "-")
    return _OTHER_NAMES.get(name, name)


def _command(value: object) -> list[str]:
    """Return the words of a command: a list of them, or a text that is split as a shell would; raise ValueError."""
    if isinstance(value, str):
        text = re.sub(r"\\\r?\n", " ", value.strip())  # a line that goes on
        try:
            split = shlex.split(text)
        except ValueError as exc:
            raise ValueError(f"cannot be split into words: {exc}") from exc
        if _has_commands(text):
            raise ValueError(
                "has several lines, and there is no shell to run one after the other: write [sh, -c, ...], "
                "a script, or end a line that goes on with a backslash"
            )
        return split
    if value is None:
        return []
    if isinstance(value, bool):  # in YAML the programs true and false are written like this
        return [str(value).lower()]
    words = [_word(item, of_bool=True) for item in value] if isinstance(value, list) else [None]
    if None in words:
        raise ValueError("must be a text, or a list of the program and its arguments")
    return [word for word in words if word is not None]


def _has_commands(text: str) -> bool:
    """Whether a line ends outside of quotes and another follows: for a shell, two commands."""
    lines = text.splitlines()
    for count in range(1, len(lines)):
        try:
            shlex.split("\n".join(lines[:count]))
        except ValueError:
            continue
        return True
    return False


def _take(values: dict[str, Value], name: str, value: object, where: str) -> list[InputProblem]:
    if OPTIONS[name].is_flag:
        if not isinstance(value, bool):
            return [InputProblem(field=where, message="say true or false")]
        if value:
            values[name] = Value(("true",), where)
        return []
    texts = _axis_texts(value) if name == "grid" else _texts(value, is_paired=name in _PAIRED)
    if not texts or (len(texts) > 1 and not OPTIONS[name].repeats):
        why = "needs one value"
        if name == "grid":
            why = "needs names with values that hold no comma"
        elif isinstance(value, dict):
            why = "needs names with one value each, a text, a number, true or false" if name in _PAIRED else why
        elif name == "array":
            why = "needs one value, like 0-9 or '1,3,5'"
        return [InputProblem(field=where, message=why)]
    values[name] = Value(texts, where)
    return []


def _axis_texts(value: object) -> list[str]:
    """`grid = {lr = ["1e-3", "1e-4"]}`, each name with a value or a list of them; a comma would end a value."""
    if not isinstance(value, dict):
        return _texts(value, is_paired=False)
    axes = {name: _texts(values, is_paired=False) for name, values in value.items()}
    if any(not texts or any("," in text for text in texts) for texts in axes.values()):
        return []
    return [f"{name}={','.join(texts)}" for name, texts in axes.items()]


def _texts(value: object, *, is_paired: bool) -> list[str]:
    """Return the texts that a value stands for; none where it is no value for an option."""
    if isinstance(value, dict):
        pairs = {key: _word(item, of_bool=True) for key, item in value.items()}
        return [f"{key}={text}" for key, text in pairs.items()] if is_paired and None not in pairs.values() else []
    words = [_word(item) for item in value] if isinstance(value, list) else [_word(value)]
    return [] if None in words else [word for word in words if word is not None]


def _word(value: object, *, of_bool: bool = False) -> str | None:
    """Return a single value as text; None for what is none, and for true and false where they are not asked for."""
    if isinstance(value, bool):
        return str(value).lower() if of_bool else None
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return str(value) if isinstance(value, str | int | float | date | time) else None

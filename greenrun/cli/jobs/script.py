"""Read a job script: its `#GREENRUN` lines, and its `#SBATCH` lines as far as greenrun can keep what they ask."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenrun.cli.jobs.sbatch import FLAGS, Translation, translate
from greenrun.cli.jobs.trial import ANY
from greenrun.core.errors import InputProblem
from greenrun.executors.command_files.programs import interpreter_of, why_not_by_kernel
from greenrun.submission.job_options import OPTIONS, SubmissionContext, Value, state_job
from greenrun.submission.stated import Stated

_SHORT = {option.given.short: name for name, option in OPTIONS.items() if option.given.short}
_MAX_HEAD_BYTES = 64 * 1024
_OWN_FLAGS = frozenset(name for name, option in OPTIONS.items() if option.is_flag)
_OVERRULES = {"now": {"start-after", "expire"}, "start-after": {"now"}, "expire": {"now"}}
_DIRECTIVE = re.compile(r"(#GREENRUN|#SBATCH)(?:\s+(.*))?")
_MISWRITTEN = re.compile(r"#(GREENRUN|SBATCH)[:\s]*-", re.IGNORECASE)
_OF_OTHERS = re.compile(r"(#PBS|#BSUB|#COBALT|#MSUB|#OAR|#PJM|#FLUX:|#\$)\s+-\S")
_MOST_LINES_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script's own options by long name, its command, notes on lines that have no effect here, and bad lines."""

    values: Mapping[str, Value]
    command: tuple[str, ...]
    notes: tuple[str, ...]
    problems: Sequence[InputProblem]


def state_scripted(
    words: Sequence[str], given: Mapping[str, Value], context: SubmissionContext, folder: Path | None = None
) -> Stated:
    """State a job with the options that its script states, if it is one, and bad lines of that; note the notes.

    The script is looked for in `folder`, else in the context's.
    """
    path = find_script(words, folder or context.folder, context.environ.get("PATH", "")) if words else None
    if path is None:
        return state_job(given, words, context)
    script = read_script(path, words, given)
    context.notes.extend(script.notes)
    stated = state_job({**script.values, **given}, script.command, context)
    if not script.problems:
        return stated
    told = {"command"} if any(row.field == "COMMAND" for row in script.problems) else {ANY}
    new = [row for row in stated.problems if row not in script.problems]
    return stated._replace(problems=[*script.problems, *new], told=stated.told | told)


def find_script(words: Sequence[str], folder: Path, search: str) -> Path | None:
    """Return the script that a command names: a file with a `#!` first line, and not a program found through PATH."""
    path = folder / words[0]
    if "/" not in words[0] and any((Path(part) / words[0]).is_file() for part in search.split(os.pathsep) if part):
        return None
    return path if path.is_file() and _head(path).startswith("#!") else None


def read_script(path: Path, words: Sequence[str], given: Mapping[str, Value]) -> Script:
    """Read the options in the comment lines before the script's first command.

    `given` are the options of the command line, which win over `#GREENRUN` lines, as these do over `#SBATCH` lines.
    """
    problems: list[InputProblem] = []
    own: dict[str, Value] = {}
    slurm: list[tuple[str, str, str | None]] = []
    for number, kind, tokens in _directives(_head(path)):
        where = f"{path.name} line {number}"
        if isinstance(tokens, str):
            problems.append(InputProblem(field=where, message=tokens))
        elif kind == "#GREENRUN":
            problems += _own(tokens, where, own)
        else:
            slurm += [(where, name, text) for name, text in _pairs(tokens, FLAGS)]
    settled = {*given, *_overruled(given), *own, *_overruled(own)}
    found = translate(slurm, _head(path), settled) if slurm else Translation(settled=settled)
    wrong, notes = _unread(path)
    problems += [*wrong, *found.problems, *_why_not_run(path)]
    values = {**found.values, **{name: value for name, value in own.items() if name not in _overruled(given)}}
    return Script(values=values, command=_command(path, words), notes=(*found.notes, *notes), problems=problems)


def _overruled(given: Mapping[str, Value]) -> frozenset[str]:
    """Return the options that would contradict those given, and so yield to them."""
    others = [_OVERRULES[name] for name in given if name in _OVERRULES]
    if "gpus" in given and list(given["gpus"].texts) == ["0"]:
        others.append({"gpu-model", "gpu-memory"})
    return frozenset().union(*others)


def _why_not_run(path: Path) -> list[InputProblem]:
    """Return what is wrong with the `#!` line by which a script is run that is not executable itself."""
    why = None if os.access(path, os.X_OK) else why_not_by_kernel(str(path), str(Path.cwd()), None)
    return [InputProblem(field="COMMAND", message=why)] if why else []


def _head(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _command(path: Path, words: Sequence[str]) -> tuple[str, ...]:
    program = str(path.absolute())
    if os.access(path, os.X_OK):
        return (program, *words[1:])
    return (*(interpreter_of(program) or ()), program, *words[1:])


def _directives(head: str) -> Iterator[tuple[int, str, list[str] | str]]:
    """Yield (line number, kind, words or what is wrong with them) up to the first line that is a command."""
    for number, line in enumerate(head.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            return
        if found := _DIRECTIVE.fullmatch(line):
            try:
                yield number, found[1], shlex.split(found[2] or "", comments=True)
            except ValueError as exc:
                yield number, found[1], f"cannot be read: {exc}"


def _unread(path: Path) -> tuple[list[InputProblem], list[str]]:
    """Return what looks like a line of options and is none: what is miswritten is wrong, the others are noted.

    Behind the first command sbatch reads no line either, and it may be one that the script writes into another.
    """
    wrong: list[InputProblem] = []
    behind: dict[str, list[int]] = {}
    is_over = False
    for number, line in enumerate(_head(path).splitlines(), start=1):
        is_over = is_over or bool(line.strip() and not line.startswith("#"))
        directive, other = _DIRECTIVE.fullmatch(line), _OF_OTHERS.match(line)
        if is_over and directive:
            why = f"{directive[1]} is read only before the script's first command, so it is not applied"
            behind.setdefault(why, []).append(number)
        elif other and not is_over:
            behind.setdefault(f"{other[1]} is not read, only #GREENRUN and #SBATCH are", []).append(number)
        elif not is_over and not directive and (found := _MISWRITTEN.match(line)):
            why = f"is not read like this; write it as #{found[1].upper()} --option, or # {found[1]} to have it ignored"
            wrong.append(InputProblem(field=f"{path.name} line {number}", message=why))
    return wrong, [f"{path.name} {_lines_text(numbers)}: {why}" for why, numbers in behind.items()]


def _lines_text(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_MOST_LINES_SHOWN]))
    return f"line{'s' if len(numbers) > 1 else ''} {shown}{', ...' if len(numbers) > _MOST_LINES_SHOWN else ''}"


def _own(tokens: list[str], where: str, values: dict[str, Value]) -> list[InputProblem]:
    problems = []
    for name, text in _pairs(tokens, _OWN_FLAGS):
        long = _SHORT.get(name, name)
        if long not in OPTIONS:
            problems.append(
                InputProblem(field=where, message=f"there is no option '{name}'; see greenrun submit --help")
            )
        elif text is None and not OPTIONS[long].is_flag:
            problems.append(InputProblem(field=where, message=f"--{long} needs a value"))
        else:
            _put(values, long, text or "", f"{where}: --{long}")
    return problems


def _put(values: dict[str, Value], long: str, text: str, where: str) -> None:
    before = values[long].texts if long in values and OPTIONS[long].repeats else ()
    values[long] = Value((*before, text), where)


def _pairs(tokens: list[str], flags: frozenset[str]) -> Iterator[tuple[str, str | None]]:
    """Split words into (option, value): `--name value`, `--name=value`, `-g 2`, `-g2`; a flag has no value."""
    rest = iter(tokens)
    for token in rest:
        if token.startswith("--"):
            name, equals, text = token[2:].partition("=")
        else:
            name, text = token.lstrip("-")[:1], token.lstrip("-")[1:].removeprefix("=")
            equals = text
            if not token.startswith("-"):
                name, equals = token, ""
        is_bare = name in flags or not token.startswith("-")
        yield name, text if equals else (None if is_bare else next(rest, None))

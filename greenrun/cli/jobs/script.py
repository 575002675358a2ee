"""Read a job script: its `#GREENRUN` lines, and the `#SBATCH` lines that have a counterpart here."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenrun.cli.jobs.job_options import OPTIONS, Value, refused
from greenrun.core.errors import InputProblem

_SHORT = {option.given.short: name for name, option in OPTIONS.items() if option.given.short}
_MAX_HEAD_BYTES = 64 * 1024
_SLURM_NAMES = {
    "time": "time-limit", "t": "time-limit", "job-name": "name", "J": "name", "gpus": "gpus", "G": "gpus",
    "gpus-per-node": "gpus", "gres": "gpus", "output": "log", "o": "log", "begin": "start-after", "b": "start-after",
    "deadline": "finish-by", "chdir": "workdir", "D": "workdir", "array": "array", "a": "array",
}  # fmt: skip
_SLURM_FLAGS = frozenset({
    "H", "hold", "h", "help", "contiguous", "s", "oversubscribe", "O", "overcommit", "Q", "quiet", "parsable",
    "requeue", "no-requeue", "exclusive", "spread-job", "use-min-nodes", "v", "verbose", "W", "wait", "reboot", "k",
    "no-kill",
})  # fmt: skip
_ARRAY_NOTE = "the jobs of the array get GREENRUN_ARRAY_INDEX, there is no SLURM_ARRAY_TASK_ID here"
_SLURM_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")
_SLURM_LATER = re.compile(r"now\+(\d+)\s*(s|m|h|d|w)?[a-z]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script's own options by long name, its command, and notes on lines that have no effect here."""

    values: Mapping[str, Value]
    command: tuple[str, ...]
    notes: tuple[str, ...]


def find_script(words: Sequence[str], folder: Path, search: str) -> Path | None:
    """Return the script that a command names: a file with a `#!` first line, and not a program found through PATH."""
    path = folder / words[0]
    if "/" not in words[0] and any((Path(part) / words[0]).is_file() for part in search.split(os.pathsep) if part):
        return None
    return path if path.is_file() and _head(path).startswith("#!") else None


def read_script(path: Path, words: Sequence[str]) -> Script:
    """Read the options in the comment lines before the script's first command; raise InvalidJob listing bad lines."""
    lines = list(_directives(_head(path)))
    problems: list[InputProblem] = []
    values: dict[str, Value] = {}
    notes: list[str] = []
    for number, kind, tokens in lines:
        where = f"{path.name} line {number}"
        if isinstance(tokens, str):
            problems.append(InputProblem(field=where, message=tokens))
        elif kind == "#GREENRUN":
            problems += _own(tokens, where, values)
        else:
            notes += _slurm(tokens, where, values)
    if problems:
        raise refused(problems)
    return Script(values=values, command=_command(path, words), notes=tuple(notes))


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
    shebang = _head(path).splitlines()[0].removeprefix("#!").strip().split(None, 1)  # the kernel passes one argument
    return (*shebang, program, *words[1:])


def _directives(head: str) -> Iterator[tuple[int, str, list[str] | str]]:
    """Yield (line number, kind, words or what is wrong with them) up to the first line that is a command."""
    for number, line in enumerate(head.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            return
        kind, _, rest = line.partition(" ")
        if kind in ("#GREENRUN", "#SBATCH"):
            try:
                yield number, kind, shlex.split(rest, comments=True)
            except ValueError as exc:
                yield number, kind, f"cannot be read: {exc}"


def _own(tokens: list[str], where: str, values: dict[str, Value]) -> list[InputProblem]:
    problems = []
    for name, text in _pairs(tokens, flags=frozenset(key for key, option in OPTIONS.items() if option.is_flag)):
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


def _slurm(tokens: list[str], where: str, values: dict[str, Value]) -> list[str]:
    notes = []
    for name, text in _pairs(tokens, flags=_SLURM_FLAGS):
        long, translated = _SLURM_NAMES.get(name), _translated(name, text or "")
        if long is None or translated is None:
            shown = (f"--{name}" if len(name) > 1 else f"-{name}") + (f"={text}" if text else "")
            notes.append(f"{where}: #SBATCH {shown} has no counterpart here and is not applied")
        elif long not in values or values[long].where.startswith(f"{where}: #SBATCH"):
            _put(values, long, translated, f"{where}: #SBATCH --{name}")
            notes += [f"{where}: {_ARRAY_NOTE}"] if long == "array" else []
    return notes


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


def _translated(name: str, text: str) -> str | None:
    """Return Slurm's value in greenrun's form; None when it has no counterpart here."""
    kind = _SLURM_NAMES.get(name)
    if kind == "gpus":
        return _slurm_gpus(name, text)
    if kind == "time-limit":
        return _slurm_duration(text)
    if kind == "start-after":
        later = _SLURM_LATER.fullmatch(text.strip().lower())
        return f"{later[1]}{later[2] or 's'}" if later else text.replace("T", " ")
    if kind == "finish-by":
        return text.replace("T", " ")
    if kind == "log" and "%" in text.replace("%a", ""):
        return None
    return text or None


def _slurm_gpus(name: str, text: str) -> str | None:
    kind, _, rest = text.partition(":")
    if name == "gres" and kind != "gpu":
        return None
    count = (rest if name == "gres" else text).rpartition(":")[2]
    return count if count.isdigit() else ("1" if name == "gres" and count else None)


def _slurm_duration(text: str) -> str | None:
    """Read minutes, M:S, H:M:S, D-H, D-H:M and D-H:M:S."""
    found = _SLURM_TIME.fullmatch(text.strip())
    if not found:
        return None
    parts = [int(part) for part in found.group("first", "second", "third") if part is not None]
    if found["days"] is None and len(parts) < 3:
        parts = [0, *parts]
    hours, minutes, seconds = (*parts, 0, 0)[:3]
    return f"{int(found['days'] or 0)}d{hours}h{minutes}m{seconds}s"

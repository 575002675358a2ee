"""Find the script that a command has an interpreter run: `train.py` in `nice python -u train.py --epochs 3`."""

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

_PYTHON = re.compile(r"(python|pypy)\d*(\.\d+)*")
_SHELLS = frozenset({"bash", "sh", "dash", "zsh", "ksh"})
_OTHERS = frozenset({"perl", "ruby", "Rscript", "node", "julia", "lua", "fish"})
_LAUNCHERS = frozenset({"torchrun", "accelerate", "deepspeed"})  # their first word that ends in .py is the script
_WRAPPERS = frozenset({
    "env", "nice", "nohup", "time", "timeout", "stdbuf", "ionice", "taskset", "numactl", "setsid", "xvfb-run", "conda",
    "mamba", "micromamba", "poetry", "pipenv", "uv", "pdm", "hatch", "pixi", "srun", "mpirun", "mpiexec",
})  # fmt: skip
_OTHER_FOLDER = frozenset({"-C", "--chdir", "-wdir", "--wdir", "-D", "--directory", "--project-directory", "--cwd"})
_PYTHON_FLAGS = frozenset("bBdEiIOPqRsSuvx")
_SHELL_LONG = {"--rcfile", "--init-file"}  # which have a value


class Runner(Enum):
    """What runs a script, as far as it matters for how it looks for it."""

    PYTHON = "python"
    SHELL = "shell"
    OTHER = "other"


class ScriptArgument(NamedTuple):
    """What an interpreter is to run: a script, by its name as given; None where it would read its standard input."""

    runner: Runner
    script: str | None


def script_argument(command: Sequence[str]) -> ScriptArgument | None:
    """Return what the command's interpreter is to run; None where there is none, or its options leave a doubt."""
    name = _name(command[0])
    if name in _WRAPPERS:
        if any(word.partition("=")[0] in _OTHER_FOLDER for word in command):
            return None
        inner = next((place for place, word in enumerate(command) if place and _is_runner(_name(word))), None)
        return None if inner is None else script_argument(command[inner:])
    words = iter(command[1:])
    if _PYTHON.fullmatch(name):
        return _of_python(words)
    if name in _SHELLS:
        return _of_shell(words)
    if name in _LAUNCHERS:
        return _of_launcher(command[1:])
    first = next(words, "-") if name in _OTHERS else "-"
    return None if first.startswith("-") else ScriptArgument(Runner.OTHER, first)


def own_files(command: Sequence[str], workdir: str) -> list[str]:
    """Return the paths of a job's own program, if it is named by its path, and of the script that it has run."""
    found = script_argument(command)
    names = [command[0]] if "/" in command[0] else []
    names += [found.script] if found is not None and found.script is not None else []
    return list(dict.fromkeys(name if name.startswith("/") else f"{workdir.rstrip('/')}/{name}" for name in names))


def _of_python(words: Iterator[str]) -> ScriptArgument | None:
    for word in words:
        if word == "-":
            return ScriptArgument(Runner.PYTHON, None)
        if not word.startswith("-"):
            return ScriptArgument(Runner.PYTHON, word)
        if word.startswith("--"):
            return None
        flags = word[1:]
        for place, flag in enumerate(flags):
            if flag in "WX":
                if place == len(flags) - 1:
                    next(words, None)
                break
            if flag not in _PYTHON_FLAGS:  # -c and -m have no script; others are not known here
                return None
    return ScriptArgument(Runner.PYTHON, None)


def _of_shell(words: Iterator[str]) -> ScriptArgument | None:
    for word in words:
        if word in ("-", "--"):
            return ScriptArgument(Runner.SHELL, next(words, None))
        if not word.startswith(("-", "+")):
            return ScriptArgument(Runner.SHELL, word)
        if word.startswith("--"):
            if word in ("--help", "--version"):
                return None
            if word in _SHELL_LONG:
                next(words, None)
        elif "c" in word or "s" in word:
            return None
        elif word[-1] in "oO":
            next(words, None)
    return ScriptArgument(Runner.SHELL, None)


def _of_launcher(words: Sequence[str]) -> ScriptArgument | None:
    if not {"-m", "--module", "--no-python", "--no_python"}.isdisjoint(words):
        return None
    found = next((word for word in words if word.endswith(".py") and not word.startswith("-")), None)
    return None if found is None else ScriptArgument(Runner.OTHER, found)


def _is_runner(name: str) -> bool:
    return bool(_PYTHON.fullmatch(name)) or name in _SHELLS | _OTHERS | _LAUNCHERS


def _name(word: str) -> str:
    return word.rpartition("/")[2]

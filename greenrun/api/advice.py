"""What is likely wrong with a job that can be accepted: sentences for whoever submits it."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

from greenrun.api.needs import env_file_variables, search_path
from greenrun.core.formatting import exact_duration_text, instant_text
from greenrun.core.jobs.job import Anomaly, Job, JobSpec
from greenrun.core.jobs.log_names import ID_LETTERS, letters_of
from greenrun.core.jobs.runs.run_variables import why_overwritten
from greenrun.core.jobs.script_argument import Runner, ScriptArgument, script_argument
from greenrun.executors.command_files.env_file import open_at_once
from greenrun.executors.command_files.programs import found_program
from greenrun.executors.units.account import may

_JUST_NOW = timedelta(minutes=1)
_OPERATORS = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1", "2>", "&>"})
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})(/.*)?|~(/.*)?", re.ASCII)
_READ_BYTES = 64 * 1024
_USUAL_FAILURES = (1, 2)  # what Python and the shells end with when something is wrong
# What a repetition may not change.
_SAME = (
    "workdir", "gpus", "gpu_model", "gpu_memory_gib", "shared", "memory_gib", "cpus", "io_weight", "interruptible",
    "env_file", "time_limit", "project", "priority",
    "retries", "expire", "start_now", "log",
)  # fmt: skip


def warnings_of(spec: JobSpec, now: datetime) -> list[str]:
    """Return what is likely wrong with a job that can be accepted, each as a sentence."""
    found = (_of_script(spec), _of_words(spec), _without_effect(spec, now), _of_env_file(spec), _of_log(spec))
    return list(chain.from_iterable(found))


def of_shared_log(spec: JobSpec, jobs: int) -> list[str]:
    """Return that so many jobs of a submission would write to one log, if that is so."""
    if spec.log is None or jobs < 2 or spec.log == os.devnull or letters_of(spec.log) & ID_LETTERS:
        return []
    return [f"{jobs} jobs write to one log, {spec.log}: put %j, a job's id, into its name to tell them apart"]


def of_untold(spec: JobSpec, told_of: Collection[str]) -> list[str]:
    """Return that no hook of the site tells of what a job asks to be told of, if that is so."""
    untold = [notice.value for notice in spec.notify if notice not in told_of]
    if not untold:
        return []
    return [
        f"--notify {','.join(untold)} has no effect: no hook of this site tells of it (see [notify] in its settings)"
    ]


def warnings_of_repetition(spec: JobSpec, known: Mapping[str, Job]) -> list[str]:
    """Return in what a job differs from the one that has its unique key, which stays as it is."""
    old = known.get(spec.unique_key or "")
    return [] if old is None else list(_not_as_before(spec, old))


def _of_script(spec: JobSpec) -> Iterator[str]:
    found = script_argument(spec.command)
    if found is None:
        return
    if found.script is None:
        yield f"{spec.command[0]} is given no script, and its standard input, which it would read instead, is empty"
        return
    path = Path(spec.workdir, found.script)
    if not _is_there(found, path, search_path(spec)):
        yield f"there is no file {path}, which {spec.command[0]} is to run; check its name, or the folder (--workdir)"
    elif path.exists() and not may(path, os.R_OK):
        yield f"{path}, which {spec.command[0]} is to run, may not be read by the user that jobs run as; see its mode"
    elif found.runner is Runner.SHELL and path.is_file() and b"\r\n" in _start_of(path):
        yield f"{path} has CRLF line ends, which shells take for part of the commands; convert it, as with dos2unix"


def _is_there(found: ScriptArgument, path: Path, search: str) -> bool:
    if path.is_dir():
        return found.runner is Runner.PYTHON and (path / "__main__.py").is_file()
    if path.exists():
        return True
    name = found.script or ""
    return found.runner is Runner.SHELL and "/" not in name and found_program(name, "/", search) is not None


def _start_of(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=open_at_once) as file:
            return file.read(_READ_BYTES)
    except OSError:
        return b""


def _of_words(spec: JobSpec) -> Iterator[str]:
    arguments = spec.command[1:]
    for is_meant in (_OPERATORS.__contains__, _VARIABLE.fullmatch):
        word = next(filter(is_meant, arguments), None)
        if word is not None:
            yield f"there is no shell, so {spec.command[0]} gets '{word}' as it is; for a shell submit sh -c '...'"


def _without_effect(spec: JobSpec, now: datetime) -> Iterator[str]:
    if spec.start_after is not None and spec.start_after < now - _JUST_NOW:
        yield f"--start-after {instant_text(spec.start_after)} has passed already, so it holds nothing back"
    if spec.start_now:
        unused = {"--min-saving": spec.min_saving, "--run-below": spec.run_below_g_per_kwh}
        for name in (name for name, value in unused.items() if value is not None):
            yield f"{name} has no effect beside --now, which waits for nothing but GPUs"
    if spec.interruptible and spec.min_run >= spec.duration:
        yield (
            f"it will not be interrupted: its --min-run of {exact_duration_text(spec.min_run)} is as long as it is "
            f"expected to run ({exact_duration_text(spec.duration)}) or longer"
        )
    if spec.interruptible and spec.checkpoint_exit_code in _USUAL_FAILURES:
        code = spec.checkpoint_exit_code
        yield f"programs that fail end with exit code {code} too, and would be taken for checkpointed; choose another"
    if not spec.gpus and Anomaly.GPU_IDLE in spec.stop_on:
        yield "--stop-on gpu_idle has no effect on a job without GPUs"


def _of_log(spec: JobSpec) -> Iterator[str]:
    with suppress(OSError):
        if spec.log is not None and Path(spec.log).is_fifo():
            yield f"{spec.log} is a pipe: unless a program reads from it when the job starts, that cannot start"


def _of_env_file(spec: JobSpec) -> Iterator[str]:
    if why := why_overwritten(env_file_variables(spec)):
        yield f"{spec.env_file}: {why}"


def _not_as_before(spec: JobSpec, old: Job) -> Iterator[str]:
    for name in _SAME:
        new, kept = getattr(spec, name), getattr(old.spec, name)
        if new != kept:
            option = "--now" if name == "start_now" else f"--{name.removesuffix('_gib').replace('_', '-')}"
            yield f"job {old.id} has this key already and stays as it is, {_kept(option, kept, new)}"


def _kept(option: str, kept: object, new: object) -> str:
    """Say with which option a job stays, or that it is without; a flag has no value to tell."""
    if kept is None or kept is False:
        return f"without {option}"
    if kept is True:
        return f"with {option}"
    before, after = (exact_duration_text(value) if isinstance(value, timedelta) else value for value in (kept, new))
    return f"with {option} {before}" if new is None else f"with {option} {before}, not {after}"

"""What a job needs on this machine before it can start: its folder, its program, its file of variables, its log."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from greenrun.core.errors import ExecutorError, InputProblem
from greenrun.core.jobs.job import JobSpec
from greenrun.core.jobs.log_names import ID_LETTERS, INDEX_LETTERS, PATTERNS, letters_of, unknown_patterns
from greenrun.core.jobs.script_argument import script_argument
from greenrun.core.jobs.site_variables import VariableRules
from greenrun.executors.command_files.env_file import variables_in
from greenrun.executors.command_files.programs import DEFAULT_PATH, found_program, why_not_executable
from greenrun.executors.containers.engines import ContainerEngine, find_engine, is_file, why_not_mounted
from greenrun.executors.units.account import may

_OF_THE_ID = ID_LETTERS | {"A"}  # patterns that nobody can fill in before the job has its id
_WITHOUT_NEW_FILES = (("proc",), ("sys",))  # whatever root is told of their modes


def program_problems(spec: JobSpec) -> Iterator[InputProblem]:
    """Yield what makes the job's command certain not to be executed."""
    if why := _why_not_folder(spec.workdir):
        yield InputProblem(field="workdir", message=why)
        return
    is_here = spec.container is None  # else the program is in the image
    if is_here and (why := why_not_executable(spec.command[0], spec.workdir, search_path(spec))):
        yield InputProblem(field="command", message=why)
    if spec.env_file is not None and (why := _why_not_env_file(spec.env_file)):
        yield InputProblem(field="env_file", message=why)


def log_problems(spec: JobSpec, log: str) -> Iterator[InputProblem]:
    """Yield what makes the job's log certain not to be written; `log` is its path as if the job's id were known."""
    if spec.log is not None and (why := _why_not_log(spec, spec.log, log)):
        yield InputProblem(field="log", message=why)


def search_path(spec: JobSpec) -> str:
    """Return the PATH that the job will have, of its file of variables first."""
    return env_file_variables(spec).get("PATH") or spec.env.get("PATH") or DEFAULT_PATH


def env_file_variables(spec: JobSpec) -> dict[str, str]:
    """Return the variables in the job's file; none where it has no such file, or it cannot be read."""
    if spec.env_file is None or not Path(spec.env_file).is_file():
        return {}
    try:
        return variables_in(spec.env_file, is_waited_for=False)
    except OSError:
        return {}


def variable_problems(spec: JobSpec, rules: VariableRules) -> Iterator[InputProblem]:
    """Yield which of the job's variables the site does not let it be given."""
    if why := rules.problem(spec.env, env_file_variables(spec)):
        yield InputProblem(field="env", message=why)


def container_problems(spec: JobSpec, wanted: ContainerEngine) -> Iterator[InputProblem]:
    """Yield why the container that a job asks for cannot be made here."""
    if spec.container is None:
        return
    try:
        find_engine(wanted, spec.container)
    except ExecutorError as exc:
        yield InputProblem(field="container", message=str(exc))
    if why := why_not_mounted([spec.workdir]):
        yield InputProblem(field="workdir", message=why)
    path = Path(spec.workdir, spec.container)
    if is_file(spec.container) and not path.exists():
        yield InputProblem(field="container", message=f"there is no image {path} that you may read: check its path")


def script_of(spec: JobSpec) -> Path | None:
    """Return the path of the script that the job's interpreter is to run, whether or not it is there; None for none."""
    found = script_argument(spec.command)
    return None if found is None or found.script is None else Path(spec.workdir, found.script)


def _why_not_folder(path: str) -> str | None:
    try:
        mode = Path(path).stat().st_mode
    except OSError as exc:
        return f"{path} is not a folder on this machine ({exc.strerror})"
    if not stat.S_ISDIR(mode):
        return f"{path} is not a folder on this machine"
    return None if may(path, os.X_OK) else f"{path} cannot be entered by the user that jobs run as; see its mode"


def _why_not_env_file(path: str) -> str | None:
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode) and path != os.devnull:  # a pipe is not opened: that waits for who writes to it
            return f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'no plain file'}, not a file of NAME=value lines"
        variables_in(path, is_waited_for=False)
    except OSError as exc:
        return f"{path} is not a file on this machine that can be read ({exc.strerror})"
    return None


def _why_not_log(spec: JobSpec, name: str, path: str) -> str | None:
    """Say why the log cannot be written: by the patterns in its name, then by what is at its path."""
    if unknown := unknown_patterns(name):
        return f"'{unknown[0]}' stands for nothing in a log's name (there are {PATTERNS}); write %% for a percent sign"
    if spec.array is None and (found := letters_of(name) & INDEX_LETTERS):
        return f"%{min(found)} is the index in an array, and the job is in none: leave it out, or take %j, the job's id"
    folder, has_id = str(Path(name).parent), bool(letters_of(name) & _OF_THE_ID)
    if letters_of(folder) & _OF_THE_ID:
        return f"{folder} is a folder that nobody can make before the job has its id, and greenrun makes none"
    try:
        return _why_not_writable(Path(path).resolve(), is_new=has_id) or _why_not_over(spec, Path(path))
    except (OSError, RuntimeError) as exc:  # the latter for links that go round in circles
        return f"{path} cannot be written ({getattr(exc, 'strerror', None) or exc})"


def _why_not_writable(path: Path, *, is_new: bool) -> str | None:
    folder = path.parent
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        return f"its folder {folder} {what}, and greenrun makes none: run mkdir -p {folder}, or name another"
    if is_new or not path.exists():
        may_be_made = may(folder, os.W_OK | os.X_OK) and folder.parts[1:2] not in _WITHOUT_NEW_FILES
        return None if may_be_made else f"no file can be made in {folder}: see its mode, or name another folder"
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return f"{path} is a folder: name a file in it, like {path}/%j.log"
    if stat.S_ISSOCK(mode):
        return f"{path} is a socket, which cannot be opened as a file"
    return None if may(path, os.W_OK) else f"{path} may not be written: see its mode"


def _why_not_over(spec: JobSpec, path: Path) -> str | None:
    """Say of which of the job's own files the log would become part, if any."""
    if not path.exists():
        return None
    own = [found_program(spec.command[0], spec.workdir, search_path(spec)), script_of(spec), spec.env_file]
    for file in (Path(name) for name in own if name):
        if file.exists() and path.samefile(file):
            return f"{path} is a file that the job itself reads: its output would be written into it"
    return None

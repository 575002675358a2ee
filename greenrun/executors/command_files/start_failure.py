"""Say why a command could not be started that was found in order at submission: what is not as it was then."""

# ruff: noqa: PTH112, PTH118
# No pathlib: the shim of a run asks this.

import os
from collections.abc import Mapping, Sequence

from greenrun.executors.command_files.env_file import variables_in
from greenrun.executors.command_files.programs import DEFAULT_PATH, why_not_executable

AS_SUBMITTED = "this was found in order when the job was submitted"


def why_not_started(
    error: Exception, command: Sequence[str], workdir: str, env: Mapping[str, str], *, log: str, env_file: str | None
) -> str:
    """Return a sentence on why starting a command failed with `error`: an OSError, or one that quotes the system's."""
    if isinstance(error, OSError):
        files = {log: "its log", os.path.join(workdir, env_file or ""): "its file of variables"}
        named = files.get(str(error.filename))
        return f"{named} {error.filename} cannot be opened: {error.strerror}; {AS_SUBMITTED}" if named else str(error)
    doing, is_quoted, system = str(error).partition(": [Errno ")
    if not is_quoted:
        return str(error)
    why = (
        why_not_executable(command[0], workdir, _search_path(env, workdir, env_file)) if os.path.isdir(workdir) else ""
    )
    said = system.partition("] ")[2].partition(":")[0]  # of "2] No such file or directory: '/x'"
    return f"{doing}: {why or said}; {AS_SUBMITTED}"


def _search_path(env: Mapping[str, str], workdir: str, env_file: str | None) -> str:
    try:
        from_file = variables_in(os.path.join(workdir, env_file)) if env_file else {}
    except OSError:
        from_file = {}
    return from_file.get("PATH") or env.get("PATH") or DEFAULT_PATH

"""What a job inherits from the shell that submits it: some variables, the git commit, and the program's path."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MAX_PARENTS = 40
_MAX_READ_BYTES = 4 * 1024 * 1024


def kept(environ: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the variables of these names (`LC_*`: any ending); others may hold secrets."""
    prefixes = tuple(name.removesuffix("*") for name in names if name.endswith("*"))
    return {name: value for name, value in environ.items() if name in names or name.startswith(prefixes)}


def git_commit(folder: Path) -> str | None:
    """Return the commit that is checked out around a folder, read from git's own files; None when there is none."""
    try:
        return _head(_git_folder(folder))
    except (OSError, ValueError):
        return None


def _git_folder(folder: Path) -> Path:
    for parent in [folder, *folder.parents][:_MAX_PARENTS]:
        git = parent / ".git"
        if git.is_dir():
            return git
        if git.is_file():  # a worktree or a submodule: a line that says where
            return parent / _start(git).removeprefix("gitdir:").strip()
    raise ValueError("no repository")


def _head(git: Path) -> str | None:
    head = _start(git / "HEAD").strip()
    if not head.startswith("ref:"):
        return _commit(head)
    name = head.removeprefix("ref:").strip()
    shared = git / "commondir"
    common = git / _start(shared).strip() if shared.is_file() else git
    loose = common / name
    return _commit(_start(loose)) if loose.is_file() else _packed(common / "packed-refs", name)


def _packed(packed: Path, name: str) -> str | None:
    lines = (line.split(" ") for line in _start(packed).splitlines())
    return next((_commit(line[0]) for line in lines if len(line) == 2 and line[1] == name), None)


def _commit(text: str) -> str | None:
    return text.strip() if _COMMIT.fullmatch(text.strip()) else None


def _start(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_READ_BYTES).decode("utf-8", "replace")


def why_not_runnable(program: str, workdir: Path, search: str) -> str | None:
    """Say why a program cannot be run from `workdir` with PATH `search`; None when it can."""
    if "/" in program:
        return _why_not_file(program, workdir / program)
    folders = [workdir / folder for folder in search.split(os.pathsep)]
    if any(_is_program(folder / program) for folder in folders):
        return None
    hint = f"; for the file here write ./{program}" if _is_program(workdir / program) else ""
    return (
        f"there is no program '{program}' in PATH{hint or '; check its spelling'}"
        f" (for one that will only exist later, submit sh -c '{program} ...')"
    )


def _why_not_file(program: str, path: Path) -> str | None:
    if not path.is_file():
        return f"there is no program {path}; check its path (it is taken from the job's folder, see --workdir)"
    if not os.access(path, os.X_OK):
        return f"{path} is not executable; run chmod +x on it, or name its interpreter, like: python {program}"
    return None


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)

"""What a job inherits from the shell that submits it: some variables, and the git commit."""

import os
import re
import resource
from collections.abc import Mapping, Sequence
from pathlib import Path

from greenrun.core.jobs.runs.run_variables import OVERWRITTEN

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MAX_PARENTS = 40
_MAX_READ_BYTES = 4 * 1024 * 1024


def kept(environ: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the variables of these names (`LC_*`: any ending); others may hold secrets, or are set for each run."""
    prefixes = tuple(name.removesuffix("*") for name in names if name.endswith("*"))
    wanted = (name for name in environ if name in names or name.startswith(prefixes))
    return {name: environ[name] for name in wanted if name not in OVERWRITTEN}


def umask() -> str:
    """Return this process's umask, in octal."""
    mask = os.umask(0o077)
    os.umask(mask)
    return f"{mask:03o}"


def limits(names: Sequence[str]) -> dict[str, str]:
    """Return this process's resource limits of these names, as SOFT:HARD."""
    known = {name: getattr(resource, f"RLIMIT_{name.upper()}", None) for name in names}
    pairs = {name: resource.getrlimit(which) for name, which in known.items() if which is not None}
    return {name: ":".join(map(_limit, pair)) for name, pair in pairs.items()}


def _limit(number: int) -> str:
    return "unlimited" if number == resource.RLIM_INFINITY else str(number)


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

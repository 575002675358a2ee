"""Note a job's program and script as they are at submission, and say at its start what became of them.

The daemon notes, the shim of a run looks; it imports the standard library alone.
"""

# ruff: noqa: PTH116
# No pathlib: the shim of every run imports it.

import os
from collections.abc import Iterable, Mapping
from stat import S_ISREG
from zlib import crc32

from greenrun.executors.command_files.env_file import open_at_once
from greenrun.executors.launch import NotStarted

_MOST_BYTES = 1 << 20  # of a file whose content is compared; of a larger one size and time are


def noted(paths: Iterable[str]) -> dict[str, str]:
    """Return, for each of these paths that is a plain file, what tells it from a later version."""
    marks = {path: _mark(path) for path in paths}
    return {path: mark for path, mark in marks.items() if mark}


def gone(files: Mapping[str, str]) -> list[str]:
    """Return those of these noted files that are not there any more; one that cannot be looked at may still be."""
    return [path for path in files if _is_gone(path)]


def changed(files: Mapping[str, str]) -> list[str]:
    """Return those of these noted files that have another content; one that cannot be read counts as unchanged."""
    return [path for path, mark in files.items() if _has_changed(path, mark)]


def changed_since_submission(files: Mapping[str, str]) -> str:
    """Say which of these noted files have changed, "" for none; raise NotStarted if one is gone."""
    if lost := gone(files):
        raise NotStarted(f"{lost[0]} is gone, which was there when the job was submitted", 127)
    other = changed(files)
    have = "has" if len(other) == 1 else "have"
    return f"{', '.join(other)} {have} changed since the job was submitted" if other else ""


def _is_gone(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _has_changed(path: str, mark: str) -> bool:
    size, time, content, *_ = (*mark.split(), "", "", "")
    try:
        status = os.stat(path)
    except OSError:
        return False
    if str(status.st_size) != size:
        return True
    if str(status.st_mtime_ns) == time:
        return False
    now = _content(path, status.st_size)
    return now != content if now and content else not content


def _mark(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    if not S_ISREG(status.st_mode):
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {_content(path, status.st_size)}".rstrip()


def _content(path: str, size: int) -> str:
    """Return a checksum of a file's content; "" for one that is large or cannot be read."""
    if size > _MOST_BYTES:
        return ""
    try:
        with open(path, "rb", opener=open_at_once) as file:
            return f"{crc32(file.read(_MOST_BYTES)):08x}"
    except OSError:
        return ""

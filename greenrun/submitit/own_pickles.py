"""Pickles that only their owner can have written: reading one executes what is in it."""

import os
import pickle
import secrets
import stat
from pathlib import Path
from typing import Any

try:
    import cloudpickle as pickler  # functions of __main__ and closures, too
except ImportError:
    pickler = pickle

CALL, RESULT = "{}_submitted.pkl", "{}_result.pkl"  # by the index in the array
ONLY = "0"  # the index of what is no array
CAN_PICKLE_ALL = pickler is not pickle
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class NotOwn(OSError):
    """A file or folder that another user could have written."""


def dumps(value: object) -> bytes:
    """Return a value as a pickle: by cloudpickle, where that is installed."""
    return bytes(pickler.dumps(value))


def make_folder(parent: Path) -> Path:
    """Make a folder of a new name that nobody else may write to or read, and return it."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent.absolute() / secrets.token_hex(8)
    folder.mkdir(mode=0o700)
    return folder


def write_pickle(folder: Path, name: str, data: bytes) -> None:
    """Write a pickle into such a folder, whole or not at all."""
    with _opened(folder) as place:
        new = f"{name}.{os.getpid()}.new"
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=place.number)
        with os.fdopen(file, "wb") as written:
            written.write(data)
            written.flush()
            os.fsync(file)
        os.replace(new, name, src_dir_fd=place.number, dst_dir_fd=place.number)


def read_pickle(folder: Path, name: str) -> Any:
    """Return what is in a pickle; raise NotOwn, and execute nothing, where another user could have written it.

    The folder and the file must belong to this user (or root), and nobody else may be allowed to write to them. Raise
    FileNotFoundError where there is none.
    """
    with _opened(folder) as place:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place.number)
        with os.fdopen(file, "rb") as opened:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise NotOwn(f"{folder / name} is no plain file, so it was not read; delete it")
            _check(found, folder / name)
            return pickle.load(opened)


class _opened:  # noqa: N801  # used like open()
    """A folder of one's own, held open, so that nothing can be put in its place while it is used."""

    def __init__(self, folder: Path) -> None:
        self.number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _check(os.fstat(self.number), folder)
        except NotOwn:
            os.close(self.number)
            raise

    def __enter__(self) -> "_opened":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.number)


def _check(found: os.stat_result, path: Path) -> None:
    if found.st_uid not in (0, os.getuid()):
        raise NotOwn(
            f"{path} belongs to the user {found.st_uid}, so it was not used: they could have it run anything as you"
        )
    if found.st_mode & _OTHERS_MAY_WRITE:
        raise NotOwn(
            f"{path} can be written by others, so it was not used: they could have it run anything as you; take the "
            f"right away: chmod go-w {path}"
        )

"""The format of a run's folder, which the shim writes and every later version must be able to read.

A folder is complete when it appears under its final name `JOB.NUMBER`, and only then is the command started:

    lock          flock held by the shim and by everything of the run that kept the descriptor
    run.json      whose folder it is, and the shim's identity (boot id, pid, start time)
    log           output of the command (unless the job names a log of its own) and complaints of the shim (`log_file`)
    started.json  written just before the command is executed: when, and the command's identity
    members.json  which processes are the run's, as last seen by the shim
    stop.json     written by the daemon before it signals the shim: who asked, and whether to checkpoint first
    exit.json     how it ended, written when nothing of the run's tree is left
    killed.json   written by the daemon: how many processes of a run without a shim it has killed
    progress      written by the run itself, if at all: how much it has done (GREENRUN_PROGRESS names this file)

Instants in the records are epoch seconds (`_at`). Beside those of its start and end are seconds since the boot that
run.json names (`_s`), which nobody can set: by these, whoever reads dates them by its own clock. Older shims have none.

A folder that holds barred.json is a fence: that run can never start.

Version 2 knows checkpoints: `how` in stop.json, `checkpoint` and `checkpoint_grace` as `ended_by` in exit.json. A shim
of version 1 treats every request as a stop.
"""

# ruff: noqa: PTH104, PTH106, PTH108, PTH208
# No pathlib: it would cost every shim a third of its start.

import contextlib
import errno
import json
import os
from collections.abc import Mapping

VERSION = 2
LOCK, LOG = "lock", "log"
RUN, STARTED, STOP, EXIT, BARRED = "run.json", "started.json", "stop.json", "exit.json", "barred.json"
MEMBERS, KILLED = "members.json", "killed.json"
PROGRESS = "progress"
TEMPORARY = ".tmp-"
RECORD_BYTES = 4096
MOST_BYTES = 1 << 20  # no record is longer
HOW, CHECKPOINT = "how", "checkpoint"
SUPERVISES = "GREENRUN_SUPERVISES"  # the variable of a shim that holds its run's token
IN_PLACE = "greenrun-shim"  # the name of a shim's process once the run's folder is its own; at most 15 bytes
STARTED_MARK = b"started"  # what a shim says once its command is executed


def write_record(folder: str, name: str, record: Mapping[str, object], *, sync: bool) -> None:
    """Write a record atomically; `sync` makes it survive a power failure."""
    write(f"{folder}/{name}.new", json.dumps(record).encode(), sync=sync)
    os.rename(f"{folder}/{name}.new", f"{folder}/{name}")
    if sync:
        sync_folder(folder)


def reserve_record(folder: str, name: str) -> None:
    """Reserve disk space for a later record, in case the disk fills up."""
    write(f"{folder}/{name}.new", b"", sync=False)


def write(path: str, data: bytes, *, sync: bool) -> None:
    """Write data, padded to RECORD_BYTES, over the existing file (truncating it would free the reserved space).

    The run could have put anything in its place: never wait for a pipe or follow a symlink.
    """
    data = data.ljust(RECORD_BYTES)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError(f"there is no room to write {path}")
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_record(folder: str, name: str) -> dict[str, object] | None:
    """Return a record, None if there is none, {} if it is invalid; raise OSError if it cannot be read.

    The run could have put anything in its place: never wait for a pipe or follow a symlink.
    """
    try:
        descriptor = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return {}
        raise
    try:
        record = json.loads(os.read(descriptor, MOST_BYTES))
    except (ValueError, RecursionError, IsADirectoryError, BlockingIOError):
        return {}
    finally:
        os.close(descriptor)
    return record if isinstance(record, dict) else {}


def discard(folder: str) -> None:
    """Delete a folder of files, as far as possible."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)


def sync_folder(path: str) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""What this machine lacks, where that is why something could not be started; light enough for every shim to import."""

import errno
import os
import re

LACKING = {
    errno.EMFILE: "open files for greenrun (ulimit -n, LimitNOFILE=)",
    errno.ENFILE: "open files (fs.file-max)",
    errno.EAGAIN: "processes (ulimit -u, TasksMax=, kernel.pid_max)",
    errno.ENOMEM: "memory",
    errno.ENOSPC: "room on a disk",
    errno.EDQUOT: "room in a disk quota",
}
STARTS_TAKE = 10  # descriptors: of files, pipes and locks, and of a connection to the database
LEAST_BYTES = 1 << 20  # for the records of a run
_MARK = re.compile(r"errno (\d+): ")


def lacking(error: OSError) -> str:
    """Return what was lacking; empty for an error of another kind."""
    return LACKING.get(error.errno or 0, "")


def marked(error: OSError, text: str) -> str:
    """Return a message with the number of its error in front, for `unmarked` to read."""
    return f"errno {error.errno or 0}: {text}"


def unmarked(message: str) -> tuple[str, str]:
    """Return a message without the number of its error, and what was lacking."""
    found = _MARK.match(message)
    return (message[found.end() :], LACKING.get(int(found[1]), "")) if found else (message, "")


def check_room(folder: str) -> None:
    """Raise OSError unless there are descriptors to start something with, and room in the folder for its records."""
    taken: list[int] = []
    try:
        for _ in range(STARTS_TAKE):
            taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for descriptor in taken:
            os.close(descriptor)
    found = os.statvfs(folder)
    if found.f_bavail * found.f_frsize < LEAST_BYTES or (found.f_files and not found.f_favail):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)

"""What this machine lacks, where that is why something could not be started; light enough for every shim to import."""

import errno
import os
import re
import resource

LACKING = {
    errno.EMFILE: "open files for greenrun (ulimit -n, LimitNOFILE=)",
    errno.ENFILE: "open files (fs.file-max)",
    errno.EAGAIN: "processes (ulimit -u, TasksMax=, kernel.pid_max)",
    errno.ENOMEM: "memory",
    errno.ENOSPC: "room on a disk",
    errno.EDQUOT: "room in a disk quota",
}
FILES_LACKING = (errno.EMFILE, errno.ENFILE)
STARTS_TAKE = 4  # descriptors, and one more for each GPU: what the supervisor is told, a pipe to it, and one to spare
LOOKS_TAKE = 2  # of them, to look through all processes
SPARED = 32  # the last descriptors of a process are not for what can do without
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


def is_spared(descriptor: int) -> bool:
    """Whether so few are left beyond this one that only what cannot do without it should keep it."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most != resource.RLIM_INFINITY and descriptor >= most - SPARED


def hold_room(folder: str, gpus: int = 0) -> list[int]:
    """Return as many descriptors as a start with so many GPUs takes, to be closed just before it.

    Raise OSError without them, or without room in the folder for the records of a run.
    """
    held: list[int] = []
    try:
        for _ in range(STARTS_TAKE + gpus):
            held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        found = os.statvfs(folder)
        if found.f_bavail * found.f_frsize < LEAST_BYTES or (found.f_files and not found.f_favail):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)
    except OSError:
        let_go(held)
        raise
    return held


def let_go(held: list[int], most: int | None = None) -> None:
    """Close what `hold_room` returned, or so many of them; each once."""
    for _ in range(len(held) if most is None else min(most, len(held))):
        os.close(held.pop())

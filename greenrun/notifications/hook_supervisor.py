"""The script that runs a hook's command as its child, and ends all that comes of it before it ends itself.

What a command starts in another session, with another environment, has this process for a parent once its own parents
are gone (`PR_SET_CHILD_SUBREAPER`): nothing gets away by leaving. Executed by its path, on the standard library alone.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
NOT_STARTED = 127
MARK = "greenrun: the command cannot be started: "  # said in place of all else


def main(command: Sequence[str]) -> int:
    """Run the command and return its exit code, 128 + N for signal N.

    On TERM, or where the daemon is killed, end it and all that it started.
    """
    libc = ctypes.CDLL(None)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        print("greenrun: this kernel lets nobody inherit orphans", file=sys.stderr)
        return NOT_STARTED
    signal.signal(signal.SIGTERM, lambda *_: _leave(128 + signal.SIGTERM))
    # Until here the daemon's death is a KILL, which would leave a command without anybody to end it.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    try:
        child = os.posix_spawnp(command[0], list(command), os.environ, setsigdef=[signal.SIGTERM, signal.SIGPIPE])
    except (OSError, ValueError) as error:
        print(f"{MARK}{error}", flush=True)
        return NOT_STARTED
    code = os.waitstatus_to_exitcode(_status_of(child))
    _end_all()
    return code if code >= 0 else 128 - code


def _status_of(child: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def _leave(code: int) -> None:
    _end_all()
    os._exit(code)


def _end_all() -> None:
    """Kill children, and those that become children by that, until there are none."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        while True:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)  # one that has ended is not reaped yet, so that its number is its own
            os.wait()
    except ChildProcessError:
        return


def _children() -> list[int]:
    pid = os.getpid()
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

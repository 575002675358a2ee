"""Hand a shim in a unit what the daemon has for it: its specification, a pipe to say that it is ready, and GPU locks.

systemd passes on one descriptor as standard input, a socket; the others wait in it. Whoever takes them out is the only
one to have them, so that they are closed when it ends, although systemd keeps the socket itself as long as the unit.
Loaded by every shim of a unit: the standard library alone.
"""

import array
import fcntl
import os
import socket
from collections.abc import Sequence

FIRST_LOCK = 10  # the number that the first lock gets in the shim
_ABOVE = 1000  # while numbers are changed
_MOST = 253  # descriptors in one message: SCM_MAX_FD of the kernel


def send(memory: int, ready: int, locks: Sequence[int]) -> socket.socket:
    """Return a socket for a shim's standard input, in which these wait for it; raise OSError."""
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        passed = array.array("i", [memory, ready, *locks])
        if len(passed) > _MOST:
            raise OSError(f"{len(locks)} GPUs are more than one supervisor can be handed the locks of")
        mine.sendmsg([b"!"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
    except OSError:
        its.close()
        raise
    finally:
        mine.close()
    return its


def locks_of(count: int) -> list[int]:
    """Return the numbers that so many locks get in the shim."""
    return list(range(FIRST_LOCK, FIRST_LOCK + count))


def receive() -> None:
    """Take what waits in standard input and put it where `shim.main` looks; raise OSError if nothing does."""
    with socket.socket(fileno=os.dup(0)) as its:
        space = socket.CMSG_SPACE(_MOST * array.array("i").itemsize)
        _, messages, _, _ = its.recvmsg(1, space)
    passed = array.array("i")
    for level, kind, data in messages:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            passed.frombytes(data[: len(data) - len(data) % passed.itemsize])
    if len(passed) < 2:
        raise OSError("the daemon that started this supervisor left nothing for it")
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for descriptor in passed]
    for descriptor in passed:
        os.close(descriptor)
    for descriptor, number in zip(high, [0, 2, *locks_of(len(high) - 2)], strict=True):
        os.dup2(descriptor, number, inheritable=number < FIRST_LOCK)
        os.close(descriptor)

"""Run a user's command for its output, without a shell, and kill its process group at a time limit."""

import ctypes
import os
import select
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from greenrun.core.errors import MeterError
from greenrun.meters.external.answer import LONGEST_BYTES

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

_LIBC, _PR_SET_PDEATHSIG = ctypes.CDLL(None), 1


def output_of(command: Sequence[str], timeout_s: float) -> bytes:
    """Return what a command writes to standard output; raise MeterError if it fails, writes too much or takes too long.

    It gets only PATH and LANG as environment, and no input. Its whole process group is killed at its end.
    """
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=ENVIRONMENT, cwd="/", start_new_session=True, bufsize=0, preexec_fn=_end_with_parent,
        )  # fmt: skip
    except (OSError, ValueError) as exc:
        raise MeterError(f"its command cannot be started ({exc})") from exc
    try:
        output = _output(process, monotonic() + timeout_s)
    except OSError as exc:
        raise MeterError(f"its command cannot be watched ({exc})") from exc
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its leader is not reaped yet, so the pid is still its own
        code = process.wait()
        assert process.stdout is not None
        process.stdout.close()
    if output is None:
        raise MeterError(f"its command did not end within {timeout_s:g} s and was killed")
    if len(output) > LONGEST_BYTES:
        raise MeterError(f"its command wrote more than {LONGEST_BYTES // 1024} KiB and was killed")
    if code:
        raise MeterError(f"its command ended with exit code {code}")
    return output


def _end_with_parent() -> None:
    """Have the kernel kill it if this process is killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _output(process: subprocess.Popen[bytes], deadline_s: float) -> bytes | None:
    """Return its output, at most one read beyond LONGEST_BYTES; None if the time is up.

    Stop at the end of the process itself: its children may hold the pipe open.
    """
    assert process.stdout is not None
    pipe, ended = process.stdout.fileno(), os.pidfd_open(process.pid)
    os.set_blocking(pipe, False)
    output = b""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    poll.register(ended, select.POLLIN)
    try:
        while (left_s := deadline_s - monotonic()) > 0:
            ready = {number for number, _ in poll.poll(left_s * 1000)}
            more = _more(pipe)  # even if only its end was signalled: its last output is there by now
            output += more or b""
            if len(output) > LONGEST_BYTES or (ended in ready and not more):
                return output
            if more == b"" and pipe in ready:
                poll.unregister(pipe)
    finally:
        os.close(ended)
    return None


def _more(pipe: int) -> bytes | None:
    """Return the available bytes, b"" at the end, None if there are none now."""
    try:
        return os.read(pipe, LONGEST_BYTES)
    except BlockingIOError:
        return None

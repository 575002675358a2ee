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
    """Return what a command writes to standard output; raise MeterError when it fails, writes too much or takes long.

    It gets an environment of only PATH and LANG and no input. What it started is killed with it.
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
            os.killpg(process.pid, signal.SIGKILL)  # its leader was not waited for yet, so the number is still its own
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
    """Have the kernel kill it should this process be killed, which could then end nothing any more."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _output(process: subprocess.Popen[bytes], deadline_s: float) -> bytes | None:
    """Return what it wrote by its end, more than LONGEST_BYTES of it at most by one read; None when time is up.

    Its end is that of the process itself: what it left behind may hold the pipe open.
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
            more = _more(pipe)  # also when it ended alone: what it wrote between the two looks is there now
            output += more or b""
            if len(output) > LONGEST_BYTES or (ended in ready and not more):
                return output
            if more == b"" and pipe in ready:
                poll.unregister(pipe)
    finally:
        os.close(ended)
    return None


def _more(pipe: int) -> bytes | None:
    """Return what there is to read, b"" at the end, None for nothing now."""
    try:
        return os.read(pipe, LONGEST_BYTES)
    except BlockingIOError:
        return None

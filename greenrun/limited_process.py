"""Run a command of the site's within limits: of time, of output, of its processor; nothing of it is left behind."""

# ruff: noqa: PTH123

import ctypes
import os
import resource
import secrets
import select
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import NamedTuple

from greenrun.procfs import all_pids

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
MARK = "GREENRUN_COMMAND"  # in the environment of a command and of all that it starts, so that these are found
LOOK_EVERY_S = 0.5  # whether it is over
MOST_SEARCHES = 5  # for processes that left the group and start others meanwhile

_LIBC, _PR_SET_PDEATHSIG = ctypes.CDLL(None), 1


class Ended(NamedTuple):
    """How a command ended: its output, its exit code, and what kept it from being heard out, if anything did."""

    output: bytes = b""
    code: int | None = None
    trouble: str = ""


def run_limited(
    command: Sequence[str],
    *,
    timeout_s: float,
    most_bytes: int,
    environment: Mapping[str, str] = ENVIRONMENT,
    given: bytes = b"",
    stderr: bool = False,
    nice: int = 0,
    is_over: Callable[[], bool] = lambda: False,
    asked_first_s: float = 0.0,
) -> Ended:
    """Run a command without a shell, with `given` as its input, and return how it ended; it never raises OSError.

    It has only that environment. Of its output (with `stderr`, of its messages too) no more than `most_bytes` are
    taken. It is killed with all that it started, whatever group or session that is in by then, once it has ended,
    takes longer than `timeout_s`, or writes more, or once `is_over` says that nobody waits for it any more. One that
    ends what it started by itself is asked to with TERM, and has `asked_first_s` for it before that.
    """
    mark = secrets.token_hex(16)
    try:
        source = _file_of(given)
    except OSError as exc:
        return Ended(trouble=f"cannot be started ({exc})")
    try:
        process = subprocess.Popen(
            command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT if stderr else subprocess.DEVNULL,
            env={**environment, MARK: mark}, cwd="/", start_new_session=True, bufsize=0,
            preexec_fn=lambda: _limit(timeout_s, nice),
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as exc:
        return Ended(trouble=f"cannot be started ({exc})")
    finally:
        os.close(source)
    output: bytes | None = b""
    trouble = ""
    try:
        output = _output(process, monotonic() + timeout_s, most_bytes, is_over)
    except OSError as exc:
        trouble = f"cannot be watched ({exc})"
    finally:
        if asked_first_s:
            _ask_to_end(process.pid, asked_first_s)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its leader is not reaped yet, so the pid is still its own
        code = process.wait()
        assert process.stdout is not None
        process.stdout.close()
        _end_marked(mark)
    if output is None:
        trouble = f"did not end within {timeout_s:g} s and was killed"
    elif len(output) > most_bytes:
        trouble = f"wrote more than {most_bytes // 1024} KiB and was killed"
    return Ended(output=(output or b"")[:most_bytes], code=code, trouble=trouble)


def _ask_to_end(pid: int, limit_s: float) -> None:
    """Send TERM, and wait for the end; it is not reaped, so that its number stays its own."""
    with suppress(OSError):
        ended = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGTERM)
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            poll.poll(limit_s * 1000)
        finally:
            os.close(ended)


def _file_of(given: bytes) -> int:
    """Return a descriptor to read it from, which never blocks whoever has written it."""
    if not given:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    descriptor = os.memfd_create("greenrun-input", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(given)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _limit(timeout_s: float, nice: int) -> None:
    """Have the kernel kill it if this process is killed, and hold it to the processor time that it can use at most."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):  # the sandbox of the daemon's unit allows neither; the time is bounded all the same
        os.nice(nice)
        for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, int(timeout_s) + 1)):
            hard = resource.getrlimit(kind)[1]
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (least, least))


def _end_marked(mark: str) -> None:
    """Kill what a command started that is in another group by now: it has the mark in its environment."""
    wanted = f"{MARK}={mark}".encode()
    for _ in range(MOST_SEARCHES):
        found = [pid for pid in _pids() if wanted in _environment_of(pid)]
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _pids() -> list[int]:
    try:
        return [pid for pid in all_pids() if pid != os.getpid()]
    except OSError:
        return []


def _environment_of(pid: int) -> bytes:
    """Return the environment that a process was started with; nothing where it is gone, or somebody else's."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _output(
    process: subprocess.Popen[bytes], deadline_s: float, most_bytes: int, is_over: Callable[[], bool]
) -> bytes | None:
    """Return its output, at most one read beyond `most_bytes`; None if the time is up, or it is over.

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
        while (left_s := deadline_s - monotonic()) > 0 and not is_over():
            ready = {number for number, _ in poll.poll(min(left_s, LOOK_EVERY_S) * 1000)}
            more = _more(pipe, most_bytes)  # even if only its end was signalled: its last output is there by now
            output += more or b""
            if len(output) > most_bytes or (ended in ready and not more):
                return output
            if more == b"" and pipe in ready:
                poll.unregister(pipe)
    finally:
        os.close(ended)
    return None


def _more(pipe: int, most_bytes: int) -> bytes | None:
    """Return the available bytes, b"" at the end, None if there are none now."""
    try:
        return os.read(pipe, most_bytes)
    except BlockingIOError:
        return None

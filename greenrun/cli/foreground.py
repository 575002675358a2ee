"""Run a command in the foreground as a shell's `time` does: signals, output and exit code stay the command's own."""

import os
import select
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from time import monotonic

from greenrun.cli.command import LocalError

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # exit codes, as a shell has them
SIGNALED = 128  # plus the signal's number
ENDING = frozenset(
    {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}  # USR: checkpoints
)
_LOOK_S = 0.05  # between two looks for a signal; a longer `sigtimedwait` makes one up when it is stopped meanwhile
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


@contextmanager
def held_signals() -> Iterator[None]:
    """Block signals that would end greenrun, for `run_command` and `wait` to take; enter before any thread starts."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:  # how a command ended would be lost
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ending())
    try:
        yield
    finally:
        while _taken():
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_command(words: Sequence[str]) -> int:
    """Run a command to its end, within `held_signals`; return its exit code, 128 + N for signal N.

    A signal that somebody sent is passed on; the terminal sends its own to the command as well. Raise LocalError when
    it cannot be executed, or a signal came before it was.
    """
    early = _taken()
    if early is not None:
        name = signal.Signals(early.si_signo).name
        raise LocalError(f"{name} came before '{words[0]}' was started; nothing was run", SIGNALED + early.si_signo)
    pid = _spawned(words)
    end = os.pidfd_open(pid)
    try:
        while not select.select([end], [], [], _LOOK_S)[0]:
            taken = _taken()
            if taken is not None and taken.si_code <= 0:  # above 0 it is the kernel's own
                os.kill(pid, taken.si_signo)
    finally:
        os.close(end)
    while _taken():  # what came with its end was for it
        pass
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else SIGNALED - code


def wait(seconds: float | None) -> int | None:
    """Wait for this time, or for ever, within `held_signals`; return the signal that ended it early, else None."""
    deadline, pause = inf if seconds is None else monotonic() + seconds, threading.Event()
    while (left_s := deadline - monotonic()) > 0:
        pause.wait(min(left_s, _LOOK_S))
        taken = _taken()
        if taken is not None:
            return taken.si_signo
    return None


def is_signalled() -> bool:
    """Whether a signal that would end greenrun is pending, within `held_signals`."""
    return bool(signal.sigpending() & _ending())


def _taken() -> signal.struct_siginfo | None:
    return signal.sigtimedwait(_ending(), 0)


def _ending() -> set[signal.Signals]:
    """Return the signals that would end greenrun, without those it was started to ignore (`nohup` ignores SIGHUP)."""
    return {number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN}


def _spawned(words: Sequence[str]) -> int:
    try:
        return os.posix_spawnp(words[0], list(words), os.environ, setsigmask=(), setsigdef=_IGNORED_BY_PYTHON)
    except FileNotFoundError as exc:
        raise LocalError(f"there is no command '{words[0]}'; nothing was run", NOT_FOUND) from exc
    except (OSError, ValueError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else exc
        raise LocalError(f"'{words[0]}' cannot be executed ({why}); nothing was run", NOT_EXECUTABLE) from exc

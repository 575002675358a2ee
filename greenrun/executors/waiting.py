"""Wait for signals and for a command's output at once, as shims do; on the standard library alone."""

import ctypes
import os
import select
import signal
import struct
import time

SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LOOK_EVERY_S = 5.0
INFO_BYTES = 128  # of struct signalfd_siginfo, which begins with the signal's number


class Waiter:
    """Blocks SIGNALS for good and takes them one by one, in the order of the kernel."""

    def __init__(self) -> None:
        """Raise OSError without signal descriptors."""
        signal.pthread_sigmask(signal.SIG_SETMASK, SIGNALS)
        mask = ctypes.create_string_buffer(128)  # a sigset_t of the C library
        struct.pack_into("Q", mask, 0, sum(1 << (number - 1) for number in SIGNALS))
        libc = ctypes.CDLL(None, use_errno=True)
        self._signals = libc.signalfd(-1, mask, os.O_CLOEXEC | os.O_NONBLOCK)
        if self._signals < 0:
            raise OSError(ctypes.get_errno(), "this kernel gives a supervisor no descriptor for signals")
        self._poll = select.poll()
        self._poll.register(self._signals, select.POLLIN)
        self._alone = select.poll()
        self._alone.register(self._signals, select.POLLIN)

    def watch(self, descriptor: int) -> None:
        """Wake up when this can be read, too."""
        self._poll.register(descriptor, select.POLLIN)

    def forget(self, descriptor: int) -> None:
        """Watch it no longer."""
        self._poll.unregister(descriptor)

    def wait(self, *instants: float, quiet_until: float = 0.0) -> int:
        """Wait for a signal, until the next of these monotonic instants at most; return it, or 0.

        What else is watched wakes it too, but not before `quiet_until`.
        """
        now = time.monotonic()
        until = min([now + LOOK_EVERY_S, *(instant for instant in instants if instant > now)])
        if quiet_until > now:
            self._alone.poll(_milliseconds(min(quiet_until, until)))
        elif time.monotonic() < until:
            self._poll.poll(_milliseconds(until))
        try:
            info = os.read(self._signals, INFO_BYTES)
        except BlockingIOError:
            return 0
        return int(struct.unpack_from("I", info)[0])


def _milliseconds(until: float) -> float:
    return max(1.0, (until - time.monotonic()) * 1000)

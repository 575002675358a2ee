"""The parent's handle of a sampler process: start it, request a sample, receive with a time limit, end it."""

import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from greenrun.meters.sampler.wire import Message, unpack

COMMAND = (sys.executable, "-P", "-m", "greenrun.meters.sampler.process")
LINE_BYTES = 1 << 20
ENDING_LIMIT_S = 1.0


class ChildGone(Exception):
    """The process ended, fell silent, or sent an invalid message; the text says which."""


class Child:
    """One sampler process. It ends with this process, since its standard input is then closed."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it in its own session, so that it gets no signals of the terminal; raise OSError."""
        self._socket, its = socket.socketpair()  # both ways, where two pipes would take two descriptors
        try:
            self._process = subprocess.Popen(command, stdin=its.fileno(), stdout=its.fileno(), start_new_session=True)
        except OSError:
            self._socket.close()
            raise
        finally:
            its.close()
        self._buffer = b""

    @property
    def pid(self) -> int:
        """Its pid."""
        return self._process.pid

    def poke(self, number: int, *, is_urgent: bool = False) -> None:
        """Request a reading now, and if it `is_urgent` who uses the GPUs; do nothing if it is gone.

        Poke again only after it has answered.
        """
        with suppress(OSError):  # gone, or closed in the meantime: the receiver will notice
            self._socket.sendall(b"%d%s\n" % (number, b"!" if is_urgent else b""))

    def hear(self, limit_s: float) -> Message:
        """Return the next message; raise ChildGone if there is none within the limit, or can be none."""
        deadline = monotonic() + limit_s
        while b"\n" not in self._buffer:
            self._buffer += self._more(deadline - monotonic(), limit_s)
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            return unpack(line)
        except ValueError as exc:
            raise ChildGone(str(exc)) from exc

    def _more(self, seconds: float, limit_s: float) -> bytes:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if seconds <= 0 or not poll.poll(seconds * 1000):
            raise ChildGone(f"said nothing for {limit_s:g} s")
        try:
            more = self._socket.recv(1 << 16)
        except ConnectionResetError:  # it ended before it had read all that it was asked
            more = b""
        if not more or len(self._buffer) > LINE_BYTES:
            raise ChildGone("ended" if not more else "talks without end")
        return more

    def hang_up(self) -> None:
        """Let it end by itself; the receiver then gets ChildGone."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """Kill it; the receiver then gets ChildGone."""
        self._process.kill()

    def end(self) -> None:
        """Kill it, reap it and close the connection to it; one stuck in its driver is left to the kernel."""
        self.hang_up()
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_LIMIT_S)
        self._socket.close()

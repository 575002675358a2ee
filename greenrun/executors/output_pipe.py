"""Take a command's output from a pipe into its log, which so keeps its limit however fast it is written to.

The pipe is emptied as soon as something is in it, yet not more often than every PAUSE_S while there is little.
"""

import contextlib
import fcntl
import os
import time

from greenrun.executors.log_file import Log

PIPE_BYTES = 1 << 20  # asked for; the kernel gives less to a user who has many pipes
READ_BYTES = 1 << 18
MOST_AT_ONCE = 1 << 24  # before signals and limits are looked at again
PAUSE_S = 0.05
F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032


class OutputPipe:
    """The pipe between a command and its log. `quiet_until`: no need to look at it before.

    `took_much`: the last look found the pipe half full or more.
    """

    def __init__(self, log: Log) -> None:
        """Make the pipe; raise OSError."""
        self.log = log
        self.quiet_until = 0.0
        self.took_much = False
        self._buffer = bytearray(READ_BYTES)
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        with contextlib.suppress(OSError):  # else it is as large as the kernel gives it
            fcntl.fcntl(self.write_end, F_SETPIPE_SZ, PIPE_BYTES)
        self._much_bytes = fcntl.fcntl(self.write_end, F_GETPIPE_SZ) // 2

    def begin(self) -> None:
        """Leave the writing end to the command."""
        os.close(self.write_end)

    def pump(self) -> bool:
        """Write what is in the pipe to the log; return whether more may come."""
        taken = 0
        while taken < MOST_AT_ONCE:
            try:
                got = os.readv(self.read_end, [self._buffer])
            except BlockingIOError:
                break
            if got == 0:
                return False
            self.log.write(memoryview(self._buffer)[:got])
            taken += got
        self.took_much = taken > self._much_bytes
        self.quiet_until = time.monotonic() + PAUSE_S if taken and not self.took_much else 0.0
        return True

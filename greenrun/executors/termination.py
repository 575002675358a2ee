"""Terminate a run's command in steps (checkpoint signal if requested, TERM, KILL), and remember the cause.

Loaded by every shim: the standard library and `descendants` alone.
"""

import contextlib
import os
import signal
import time

from greenrun.executors.descendants import signal_one

FOREVER = float("inf")
ITSELF, TIME_LIMIT, STOPPED, NOT_STARTED = "itself", "time_limit", "stop", "not_started"
CHECKPOINT, CHECKPOINT_GRACE = "checkpoint", "checkpoint_grace"


class Termination:
    """Why a run is being terminated, and when it gets TERM and KILL; the first cause of a TERM is kept."""

    def __init__(self) -> None:
        self.cause = ITSELF
        self.term_at = FOREVER
        self.kill_at = FOREVER

    @property
    def was_termed(self) -> bool:
        """Whether TERM was sent to the command."""
        return self.kill_at < FOREVER

    def checkpoint(self, command: int, number: int, grace_s: float) -> None:
        """Send this signal to the command itself, not its workers, and set the time of TERM, once."""
        if self.cause == ITSELF:
            self.cause, self.term_at = CHECKPOINT, time.monotonic() + grace_s
            signal_one(command, number)
            with contextlib.suppress(OSError):
                os.killpg(command, signal.SIGCONT)

    def follow_up(self, command: int, grace_s: float) -> None:
        """Send TERM once a checkpoint has exceeded its grace period."""
        if time.monotonic() >= self.term_at:
            self.begin(CHECKPOINT_GRACE, command, grace_s)

    def begin(self, cause: str, command: int, grace_s: float) -> None:
        """Send TERM to the command and set the time of KILL, once."""
        if not self.was_termed:
            self.cause, self.kill_at = cause, time.monotonic() + grace_s
            signal_command(command, signal.SIGTERM)


def signal_command(command: int, number: int) -> None:
    """Signal the command's process group, and the command itself if it left that group; it must not be reaped yet.

    Who is stopped could do nothing on TERM, so it is continued.
    """
    with contextlib.suppress(OSError):
        os.killpg(command, number)
        if number != signal.SIGKILL:
            os.killpg(command, signal.SIGCONT)
    if os.getpgid(command) != command:
        signal_one(command, number)

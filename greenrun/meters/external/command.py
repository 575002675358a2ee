"""Run a user's command for its output, within limits."""

from collections.abc import Sequence

from greenrun.core.errors import MeterError
from greenrun.limited_process import ENVIRONMENT as ENVIRONMENT
from greenrun.limited_process import run_limited
from greenrun.meters.external.answer import LONGEST_BYTES


def output_of(command: Sequence[str], timeout_s: float) -> bytes:
    """Return what a command writes to standard output; raise MeterError if it fails, writes too much or takes too long.

    It gets only PATH and LANG as environment, and no input. All that it started is killed at its end.
    """
    ended = run_limited(command, timeout_s=timeout_s, most_bytes=LONGEST_BYTES)
    if ended.trouble:
        raise MeterError(f"its command {ended.trouble}")
    if ended.code:
        raise MeterError(f"its command ended with exit code {ended.code}")
    return ended.output

"""Log lines of a command go to standard error: what it prints may be JSON that a program reads."""

import sys
from typing import Any


def log_to_stderr() -> None:
    """Write what parts of the daemon log while they work for a command to standard error."""
    import structlog

    def to_stderr(*_: Any) -> Any:
        return structlog.PrintLogger(sys.stderr)  # as it is now: it may be another one later

    structlog.configure(logger_factory=to_stderr)

"""The composition root: every part built from the settings, and the process around the engine."""

import sys


def _load_structlog() -> None:
    """Load structlog without rich, which it would load for tracebacks that greenrun writes in plain text: 4 MiB."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]  # whoever imports it meanwhile is told that it is not here
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]


_load_structlog()

"""greenrun: run machine-learning training when the electricity is clean.

In Python, `with greenrun.measure() as m: ...` measures what a block of code uses.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greenrun.measuring import measure as measure

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load `measure` when it is asked for: most who import this package do not."""
    if name != "measure":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from greenrun.measuring import measure

    return measure

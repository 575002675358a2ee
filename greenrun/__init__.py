"""greenrun: run machine-learning training when the electricity is clean.

In Python, `with greenrun.measure() as m: ...` measures what a block of code uses, `greenrun.Client()` submits jobs and
looks at them, and `greenrun.training` is for programs that run as jobs.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greenrun import training as training
    from greenrun.client import Client as Client
    from greenrun.client import ClientError as ClientError
    from greenrun.measuring import measure as measure

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Load what is offered here when it is asked for: most who import this package do not."""
    if name == "measure":
        from greenrun.measuring import measure

        return measure
    if name in ("Client", "ClientError"):
        from greenrun import client

        return getattr(client, name)
    if name == "training":
        import greenrun.training as training

        return training
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return what there is, for completion in a notebook."""
    return [*globals(), "Client", "ClientError", "measure", "training"]

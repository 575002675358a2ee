"""Clients of the daemon's API: `Client` for people who program, and below it `ApiClient`, which answers with its JSON.

    client = greenrun.Client()
    job = client.submit(["python", "train.py"], gpus=1, finish_by="tomorrow 9am")

`Client` and what it answers are loaded when they are asked for: the command line needs `ApiClient` alone.
"""

from typing import TYPE_CHECKING, Any

from greenrun.client.api_client import MAX_LOG_BYTES, Answer, ApiClient
from greenrun.client.client_errors import (
    BadAnswer,
    ClientError,
    Forbidden,
    NoAnswer,
    NotFound,
    NotReachable,
    OutOfStorage,
    RequestRefused,
    StillUnfinished,
    error_of,
)

if TYPE_CHECKING:
    from greenrun.client.public_client import Client as Client
    from greenrun.client.submitted_job import Job as Job

__all__ = [
    "MAX_LOG_BYTES", "Answer", "ApiClient", "BadAnswer", "Client", "ClientError", "Forbidden", "Job", "NoAnswer",
    "NotFound", "NotReachable", "OutOfStorage", "RequestRefused", "StillUnfinished", "error_of",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load the typed client when it is asked for."""
    if name == "Client":
        from greenrun.client.public_client import Client

        return Client
    if name == "Job":
        from greenrun.client.submitted_job import Job

        return Job
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

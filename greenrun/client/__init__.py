"""Clients of the daemon's API: `ApiClient` answers with its JSON, as the command line needs it."""

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
    error_of,
)

__all__ = [
    "MAX_LOG_BYTES", "Answer", "ApiClient", "BadAnswer", "Client", "ClientError", "Forbidden", "NoAnswer", "NotFound",
    "NotReachable", "OutOfStorage", "RequestRefused", "error_of",
]  # fmt: skip

Client = ApiClient

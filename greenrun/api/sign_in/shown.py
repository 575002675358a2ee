"""What a request over TCP has shown: the gate puts it beside the request, where routes and pages find it."""

import hmac
from collections.abc import MutableMapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from starlette.requests import HTTPConnection

from greenrun.core.credentials import Credential

_PLACE = "greenrun.shown"  # in the ASGI scope, which no header can reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A credential that is valid, where it was shown from, and the CSRF token of a session."""

    credential: Credential
    address: str
    csrf_token: str | None = None


def put_beside(scope: MutableMapping[str, Any], shown: Shown) -> None:
    """Keep what a request has shown for as long as it is answered."""
    scope[_PLACE] = shown


def shown_by(request: HTTPConnection) -> Shown | None:
    """Return what a request has shown; None on the unix socket, and for who is not known."""
    found: Shown | None = request.scope.get(_PLACE)
    return found


def csrf_token(request: HTTPConnection) -> str | None:
    """Return the CSRF token of the session in which a request is made; None where there is none."""
    shown = shown_by(request)
    return shown.csrf_token if shown else None


def csrf_token_of(session: str) -> str:
    """Return the CSRF token that belongs to the secret of a session; it does not tell that secret."""
    return hmac.new(session.encode(), b"greenrun csrf", sha256).hexdigest()

"""What the API tells of sessions and tokens, and what it takes to make one."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from greenrun.api.json_types import ResponseInstant, ResponseModel
from greenrun.core.credentials import Credential, CredentialKind, Scope


class TicketOut(ResponseModel):
    """A ticket for a browser, used once and before `expires_at`, and the addresses where it signs its user in."""

    ticket: str
    expires_at: ResponseInstant
    addresses: list[str]


class CredentialOut(ResponseModel):
    """A session of a browser, or a token of a program: whose it is, and when and where it was last used.

    `name` is what the token was called, or how the browser named itself.
    """

    id: int
    kind: CredentialKind
    user: str
    name: str
    scope: Scope
    made_at: ResponseInstant
    expires_at: ResponseInstant
    last_used_at: ResponseInstant | None
    last_address: str | None


class TokenIn(BaseModel):
    """A token to create; `name` says what it is for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    scope: Annotated[Scope, Field(strict=False)]
    days: Annotated[int, Field(ge=1, le=366)] = 90
    name: Annotated[str, Field(max_length=100)] = ""


class NewTokenOut(CredentialOut):
    """A token that was created. `token` is told now and never again."""

    token: str


class CallerOut(ResponseModel):
    """Who asks, and by what; `csrf_token` is that of the session, null without one.

    `scope` is what may be done, `admin` on the socket, and `may_all` whether the caller may act on all jobs.
    """

    user: str
    uid: int
    may_all: bool
    scope: Scope
    credential: CredentialOut | None
    csrf_token: str | None


def credential_out(row: Credential) -> CredentialOut:
    """Return what is told of a session or token."""
    return CredentialOut.model_validate(row)

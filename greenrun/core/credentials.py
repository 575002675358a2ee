"""What stands for a user where the kernel does not say who asks: sessions of browsers, and tokens of programs."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Scope(StrEnum):
    """What may be done with a token: each includes those before it."""

    READ = "read"  # look at what its user may see
    SUBMIT = "submit"  # and submit jobs, and act on the user's own
    ADMIN = "admin"  # and whatever else its user may do as one who may act on all jobs


class CredentialKind(StrEnum):
    """Whose it is to keep it."""

    SESSION = "session"  # a browser's
    TOKEN = "token"  # a program's


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Lets whoever has its secret act as a user until it expires; of the secret only the SHA-256 is known.

    `name` is what people call it, `last_address` where it was last used from.
    """

    id: int
    kind: CredentialKind
    digest: str
    uid: int
    user: str
    name: str
    scope: Scope
    made_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = None
    last_address: str | None = None

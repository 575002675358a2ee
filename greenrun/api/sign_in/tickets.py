"""Tickets: what the daemon gives over the unix socket for a browser to become its user's, once and within a minute."""

import secrets
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

TICKET_FOR = timedelta(seconds=60)
MOST_PER_USER = 20  # that wait to be used; of more the oldest is forgotten
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """As whom a browser that shows the ticket is signed in, until when."""

    uid: int
    user: str
    expires_at: datetime


class Tickets:
    """Tickets that were not used yet, by the digest of their secret; a restart forgets them."""

    def __init__(self) -> None:
        self._kept: dict[str, Ticket] = {}
        self._lock = threading.Lock()

    def make(self, uid: int, user: str, now: datetime) -> tuple[str, Ticket]:
        """Return the secret of a new ticket for a user, which is kept nowhere, and the ticket."""
        secret, ticket = secrets.token_urlsafe(SECRET_BYTES), Ticket(uid=uid, user=user, expires_at=now + TICKET_FOR)
        with self._lock:
            self._kept = {digest: row for digest, row in self._kept.items() if row.expires_at > now}
            own = [digest for digest, row in self._kept.items() if row.uid == uid]
            for digest in own[: max(0, len(own) - MOST_PER_USER + 1)]:
                del self._kept[digest]
            self._kept[digest_of(secret)] = ticket
        return secret, ticket

    def whose(self, secret: str, now: datetime) -> int | None:
        """Return the user of a ticket that can be used; None for another."""
        with self._lock:
            ticket = self._kept.get(digest_of(secret))
        return ticket.uid if ticket and ticket.expires_at > now else None

    def use(self, secret: str, now: datetime) -> Ticket | None:
        """Return the ticket and forget it; None for one that never was, was used, or is too old."""
        with self._lock:
            ticket = self._kept.pop(digest_of(secret), None)
        return ticket if ticket and ticket.expires_at > now else None


def digest_of(secret: str) -> str:
    """Return what is kept of a secret of 32 random bytes: so many cannot be guessed from it, and need no salt."""
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()

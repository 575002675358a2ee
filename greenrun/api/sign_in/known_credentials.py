"""The sessions and tokens that are valid: in the store by their digests, and in memory to look at each request."""

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from greenrun.api.ports import ApiCredentials
from greenrun.api.sign_in.tickets import SECRET_BYTES, digest_of
from greenrun.core.credentials import Credential, CredentialKind, Scope
from greenrun.core.errors import CredentialNotFound, InvalidInput, StoreError
from greenrun.core.jobs.job import Origin
from greenrun.core.jobs.trail import EventKind, NewEvent

SESSION_FOR = timedelta(hours=12)
MOST_SESSIONS = 20  # of a user; one more ends the oldest
MOST_TOKENS = 100  # of a user
USE_NOTED_EVERY = timedelta(minutes=1)  # how exactly it is known when a credential was last used
TOKEN_MARK = "greenrun_"  # by which programs that look for secrets in files can tell one
_MADE = {CredentialKind.SESSION: EventKind.SIGNED_IN, CredentialKind.TOKEN: EventKind.TOKEN_CREATED}
_ENDED = {CredentialKind.SESSION: EventKind.SESSION_REVOKED, CredentialKind.TOKEN: EventKind.TOKEN_REVOKED}
_log = structlog.get_logger("greenrun.api")


class KnownCredentials:
    """All that are not expired; each change is stored with an event before it counts."""

    def __init__(self, store: ApiCredentials, now: Callable[[], datetime]) -> None:
        self._store, self._now = store, now
        self._kept: dict[str, Credential] | None = None
        self._lock = threading.RLock()

    @property
    def is_loaded(self) -> bool:
        """Whether they have been read from the store."""
        return self._kept is not None

    def load(self) -> None:
        """Read them from the store, once; raise StoreError."""
        self._all()

    def begin_session(self, uid: int, user: str, address: str, agent: str) -> tuple[str, Credential]:
        """Return the secret of a new session of a user, and the session; raise StoreError."""
        origin = Origin(uid=uid, address=address)
        with self._lock:
            self._end_oldest_session(uid, origin)
            return self._make(
                CredentialKind.SESSION, uid, user, name=agent, scope=Scope.ADMIN, lasts=SESSION_FOR, origin=origin
            )

    def make_token(
        self, uid: int, user: str, *, name: str, scope: Scope, lasts: timedelta, origin: Origin
    ) -> tuple[str, Credential]:
        """Return the secret of a new token, and the token; raise InvalidInput for one too many, StoreError."""
        with self._lock:
            if len(self._of(CredentialKind.TOKEN, uid)) >= MOST_TOKENS:
                raise InvalidInput(
                    f"{user} has {MOST_TOKENS} tokens, so none was created: "
                    "revoke what is not used (`greenrun token list`, `greenrun token revoke`)"
                )
            return self._make(
                CredentialKind.TOKEN, uid, user, name=name, scope=scope, lasts=lasts, origin=origin, mark=TOKEN_MARK
            )

    def find(self, kind: CredentialKind, secret: str) -> Credential | None:
        """Return the credential of a secret, None where it is not valid; raise StoreError when that cannot be told."""
        found = self._all().get(digest_of(secret))
        return found if found and found.kind is kind and found.expires_at > self._now() else None

    def is_valid(self, credential: Credential) -> bool:
        """Whether a credential that was found before is there still, and not over."""
        found = self._all().get(credential.digest)
        return found is not None and found.expires_at > self._now()

    def is_use_news(self, credential: Credential) -> bool:
        """Whether it is not known that a credential was used a moment ago."""
        return credential.last_used_at is None or self._now() - credential.last_used_at >= USE_NOTED_EVERY

    def note_use(self, credential: Credential, address: str) -> None:
        """Keep when and where a credential was used; it is not worth failing for."""
        now = self._now()
        with self._lock:
            known = self._all().get(credential.digest)
            if known is None or not self.is_use_news(known):
                return
            self._all()[credential.digest] = replace(known, last_used_at=now, last_address=address)
        try:
            self._store.note_use(credential.id, at=now, address=address)
        except StoreError as exc:
            _log.warning("the use of a credential cannot be kept", error=str(exc))

    def listed(self, kind: CredentialKind, uid: int | None = None) -> Sequence[Credential]:
        """Return those of a kind that are valid, of one user or of all, in the order in which they were made."""
        return self._of(kind, uid)

    def revoke(self, kind: CredentialKind, number: int, *, uid: int | None, by: str, origin: Origin) -> Credential:
        """End one, of this user or of anybody; raise CredentialNotFound, StoreError."""
        with self._lock:
            found = next((row for row in self._of(kind, uid) if row.id == number), None)
            if found is None:
                raise CredentialNotFound(f"there is no {kind} {number} of yours")
            self._end(found, _ENDED[kind], by, origin)
            return found

    def sign_out(self, session: Credential, origin: Origin) -> None:
        """End a session at the wish of its own browser; raise StoreError."""
        with self._lock:
            if session.digest in self._all():
                self._end(session, EventKind.SIGNED_OUT, session.user, origin)

    def note_refusal(self, address: str, what: str) -> None:
        """Add an event that something was shown that is not valid; it is not worth failing for."""
        event = NewEvent(
            kind=EventKind.ACCESS_REFUSED, at=self._now(), detail={"why": what}, origin=Origin(address=address)
        )
        try:
            self._store.note(event)
        except StoreError as exc:
            _log.warning("the event cannot be kept", kind=event.kind.value, error=str(exc))

    def _make(
        self,
        kind: CredentialKind,
        uid: int,
        user: str,
        *,
        name: str,
        scope: Scope,
        lasts: timedelta,
        origin: Origin,
        mark: str = "",
    ) -> tuple[str, Credential]:
        now, secret = self._now(), mark + secrets.token_urlsafe(SECRET_BYTES)
        made = Credential(
            id=0, kind=kind, digest=digest_of(secret), uid=uid, user=user, name=name, scope=scope, made_at=now,
            expires_at=now + lasts,
        )  # fmt: skip
        kept = self._store.add(made, NewEvent(kind=_MADE[kind], at=now, actor=user, origin=origin))
        self._all()[kept.digest] = kept
        self._kept = {digest: row for digest, row in self._all().items() if row.expires_at > now}
        return secret, kept

    def _end(self, credential: Credential, kind: EventKind, by: str, origin: Origin) -> None:
        self._store.remove(credential, NewEvent(kind=kind, at=self._now(), actor=by, origin=origin))
        self._all().pop(credential.digest, None)

    def _end_oldest_session(self, uid: int, origin: Origin) -> None:
        for session in self._of(CredentialKind.SESSION, uid)[: -(MOST_SESSIONS - 1)]:
            self._end(session, EventKind.SESSION_REVOKED, session.user, origin)

    def _of(self, kind: CredentialKind, uid: int | None) -> list[Credential]:
        now = self._now()
        with self._lock:
            rows = [row for row in self._all().values() if row.kind is kind and row.expires_at > now]
        return sorted((row for row in rows if uid in (None, row.uid)), key=lambda row: row.id)

    def _all(self) -> dict[str, Credential]:
        with self._lock:
            if self._kept is None:
                self._kept = {row.digest: row for row in self._store.credentials()}
            return self._kept

"""The entrance over TCP, of which the whole daemon has one: tickets, known credentials and failures together."""

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256

from fastapi.concurrency import run_in_threadpool

from greenrun.api.ports import ApiCredentials
from greenrun.api.sign_in.failures import Failures
from greenrun.api.sign_in.known_credentials import KnownCredentials
from greenrun.api.sign_in.shown import Shown
from greenrun.api.sign_in.tickets import Tickets
from greenrun.core.credentials import Credential, CredentialKind


class Entrance:
    """What stands for users over TCP; `addresses` are those where the page is, to be opened from this machine."""

    def __init__(self, store: ApiCredentials, now: Callable[[], datetime], place: str = "") -> None:
        """Make it for a daemon, which `place` tells from others: browsers send the cookies of one host to all ports."""
        self._now = now
        self.tickets = Tickets()
        self.known = KnownCredentials(store, now)
        self.failures = Failures()
        self.cookie_name = f"greenrun_{sha256(place.encode()).hexdigest()[:8]}"
        self.addresses: tuple[str, ...] = ()

    async def find(self, kind: CredentialKind, secret: str) -> Credential | None:
        """Return the credential of a secret, None where it is not valid; raise StoreError when that cannot be told."""
        if not self.known.is_loaded:
            await run_in_threadpool(self.known.load)
        return self.known.find(kind, secret)

    async def note_use(self, shown: Shown) -> None:
        """Keep when and where a credential was used, as far as that is not known."""
        if self.known.is_use_news(shown.credential):
            await run_in_threadpool(self.known.note_use, shown.credential, shown.address)

    async def note_failure(self, address: str, what: str) -> int:
        """Do as `note_failure_now` does, and do not keep the event loop."""
        return await run_in_threadpool(self.note_failure_now, address, what)

    def note_failure_now(self, address: str, what: str) -> int:
        """Count something that is not valid; return how many seconds its address has to wait, 0 for not at all."""
        failed = self.failures.add(address, self._now())
        if failed.is_worth_noting:
            self.known.note_refusal(address, what)
        return failed.wait_s

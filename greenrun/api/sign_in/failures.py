"""Count what was shown and is not valid, by address: who guesses is told to wait, and noted once in a while."""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network

WINDOW = timedelta(minutes=1)
MOST_FAILURES = 10  # of an address in a window
MOST_ADDRESSES = 1000  # that are counted; of more the one that began first is forgotten
_NOTED_EVERY = timedelta(minutes=10)  # how often an address is noted in the trail, which anybody can make longer
_MOST_NOTES = 60  # of all addresses, in that time


@dataclass(slots=True)
class _Count:
    since: datetime
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """What a failure is answered with: to wait so many seconds (0: not at all), and whether to note it."""

    wait_s: int
    is_worth_noting: bool


class Failures:
    """Failures of the last minute by address; of IPv6 by the network of 64 bits that a host can choose from.

    What is valid is always let in: at loopback all users of a machine have one address, and none may shut out others.
    """

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}
        self._noted: dict[str, datetime] = {}
        self._lock = threading.Lock()

    def add(self, address: str, now: datetime) -> Failed:
        """Count one more failure of an address."""
        key = _counted_as(address)
        with self._lock:
            count = self._counts.get(key)
            if count is None or now - count.since >= WINDOW:
                self._counts.pop(key, None)
                while len(self._counts) >= MOST_ADDRESSES:
                    del self._counts[next(iter(self._counts))]
                count = self._counts[key] = _Count(now)
            count.failures += 1
            left = (count.since + WINDOW - now).total_seconds()
            wait_s = max(1, round(left)) if count.failures > MOST_FAILURES else 0
            return Failed(wait_s=wait_s, is_worth_noting=self._is_worth_noting(key, now))

    def _is_worth_noting(self, key: str, now: datetime) -> bool:
        self._noted = {each: at for each, at in self._noted.items() if now - at < _NOTED_EVERY}
        if key in self._noted or len(self._noted) >= _MOST_NOTES:
            return False
        self._noted[key] = now
        return True


def _counted_as(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ip_network((found.packed[:8] + bytes(8), 64)))
    return str(found)

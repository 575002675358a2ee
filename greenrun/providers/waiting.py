"""How long a source is waited for; apart from the asking, so that a wait can end where greenrun does."""

from concurrent.futures import Future, wait
from datetime import UTC
from email.utils import parsedate_to_datetime

from greenrun.clock import utc_now


def pause(seconds: float, over: Future[None]) -> None:
    """Wait, but not beyond the instant at which something is `over`."""
    wait([over], seconds)


def retry_after_s(said: str) -> float:
    """Return the seconds that a Retry-After header states, as a number or as a date; 0 when it states none."""
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        at = parsedate_to_datetime(said)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - utc_now()).total_seconds())

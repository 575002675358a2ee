"""Tell a server by POST: signed, within a time, and never another host than the one that is set."""

import hashlib
import hmac
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from urllib.parse import urlsplit

import httpx

from greenrun import __version__
from greenrun.clock import utc_now
from greenrun.core.errors import ProviderError
from greenrun.notifications.hook import Failure, Hook
from greenrun.notifications.message import Notification
from greenrun.providers.settings import read_key
from greenrun.providers.transfer import trusted_authorities

CONNECT_S = 10.0
MOST_LATE = 4  # requests of a hook that have not ended after their time; while there are as many, none is sent
SHOWN = 200  # characters of an error that are told
USER_AGENT = f"greenrun/{__version__}"


def post(hook: Hook, told: Notification) -> Failure:
    """Send it; return why that failed. Nothing that it returns has the address, which may be a secret."""
    try:
        url = read_key(hook.url_file) if hook.url_file else hook.url
        secret = read_key(hook.secret_file) if hook.secret_file else None
    except ProviderError as exc:
        return str(exc)
    try:
        parts = urlsplit(url)
    except ValueError:  # whose text has a part of it
        return "its address is not one"
    if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        return "its address does not begin with https://"
    body = told.model_dump_json().encode()
    headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT, "Greenrun-Notification-Id": told.id}
    if secret is not None:
        headers["Greenrun-Signature"] = signature(secret, body, int(utc_now().timestamp()))
    limit_s = hook.timeout.total_seconds()
    return _within(hook.name, limit_s, lambda: _exchange(url, headers, body, limit_s))


def signature(secret: str, body: bytes, at_s: int) -> str:
    """Return `t=SECONDS,v1=HEX`: the HMAC-SHA256 of `SECONDS.BODY`, so that an old request cannot be sent again."""
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256)
    return f"t={at_s},v1={digest.hexdigest()}"


def _exchange(url: str, headers: Mapping[str, str], body: bytes, limit_s: float) -> Failure:
    """Send it and return what was wrong with the answer, of which only the status counts. Nothing tells the address."""
    timeout = httpx.Timeout(limit_s, connect=min(CONNECT_S, limit_s))
    try:
        with (
            httpx.Client(verify=trusted_authorities(), timeout=timeout, follow_redirects=False) as client,
            client.stream("POST", url, content=body, headers=dict(headers)) as response,
        ):
            status = response.status_code
    except httpx.InvalidURL:
        return "its address is not one"
    except (httpx.HTTPError, OSError, ValueError) as exc:
        return f"its server cannot be reached ({type(exc).__name__}: {str(exc).replace(url, '***')[:SHOWN]})"
    if 300 <= status < 400:
        return f"its server redirects (HTTP {status}), which greenrun does not follow: set the address that is meant"
    return None if 200 <= status < 300 else f"its server refuses (HTTP {status})"


def _within(name: str, limit_s: float, call: Callable[[], Failure]) -> Failure:
    """Return what a call in a thread of its own returns; a failure once its time is over, be it still going on.

    The client's time-outs do not cover name resolution, or an answer that comes byte by byte.
    """
    thread_name, answer = f"greenrun-post {name}", Future[Failure]()
    if sum(thread.name == thread_name for thread in threading.enumerate()) >= MOST_LATE:
        return "earlier requests to its server have not ended yet"

    def run() -> None:
        try:
            answer.set_result(call())
        except Exception as exc:  # noqa: BLE001 - told by whoever waits
            answer.set_exception(exc)

    threading.Thread(target=run, name=thread_name, daemon=True).start()
    try:
        return answer.result(limit_s)
    except TimeoutError:
        return f"its server did not answer within {limit_s:g} s"

"""The HTTP client of providers: bounded, rate-limited, one request at a time, retried, keys redacted in errors."""

import json
import re
import threading
import time
import traceback
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

import httpx
import structlog
from pydantic import TypeAdapter, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from greenrun import __version__
from greenrun.clock import utc_now
from greenrun.core.errors import ProviderError, ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.core.formatting import duration_text
from greenrun.providers.settings import WebSettings
from greenrun.providers.transfer import ACCEPTED, Unpacked, trusted_authorities

SIZE_CAP_BYTES = 5 * 1024**2
TRIES = 3
PATIENCE_S = 15.0  # longest wait for the rate limit or a Retry-After; beyond it the request fails
CONNECT_S = 5.0
SILENT_S = 3600.0  # limit of a Retry-After; then the source is asked again
REDIRECTS = 3
MOST_LATE = 8  # timed-out requests still running per source; no new ones while there are as many
SHOWN = 200  # characters of a source's error message that are shown
MOST_WARNINGS = 20
KEPT = 2000  # ... and of a useless answer that are kept with the error
USER_AGENT = f"greenrun/{__version__} (carbon-aware scheduler; see its operator)"

_ERRNO = re.compile(r"\[Errno -?\d+\] ")  # the system's own number of an error says nothing to a person
_BACK_OFF = wait_random_exponential(multiplier=0.5, max=8)  # full jitter

log = structlog.get_logger("greenrun.providers")

monotonic = time.monotonic  # the tests replace this and `pause`

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAnswer:
    """A body of at most `SIZE_CAP_BYTES` with status 200; `source` names its sender.

    `shown` is its redacted start; `redacted` removes secrets from any text of it.
    """

    source: str
    body: bytes
    shown: str
    redacted: Callable[[str], str]

    def read(self, model: type[T]) -> T:
        """Return the JSON body as `model`; raise ProviderGarbage naming the first invalid place."""
        try:
            return TypeAdapter(model).validate_json(self.body.removeprefix(BOM_UTF8))
        except ValidationError as exc:
            text = f"greenrun does not use what {self.source} answered: {self.redacted(self._first(exc))[:SHOWN]}"
            raise ProviderGarbage(text, self.shown) from None  # the cause would show the answer, including keys

    def _first(self, exc: ValidationError) -> str:
        if _is_page(self.shown):
            return "it is a web page and not data"
        first = exc.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else first["msg"]


class Web:
    """The HTTP client of one source. Requests are sequential and at least `every` apart, in total or `per_path`.

    `secrets` never appear in errors. `warnings` are what the source itself last said to watch out for, and `quota_left`
    is its last stated remaining quota, None without one. It is closed together with the client `beside`. Errors name
    the `section` of the settings that it belongs to.
    """

    def __init__(
        self, name: str, settings: WebSettings, *, every: timedelta, per_path: bool = False,
        secrets: Sequence[str] = (), headers: Mapping[str, str] | None = None, beside: "Web | None" = None,
        section: str | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.quota_left: int | None = None
        self.dropped: Counter[str] = Counter()
        self.warnings: list[str] = []
        self._settings, self._section = settings, section or f"[provider.{name}]"
        self._every_s, self._per_path = every.total_seconds(), per_path
        self._given = tuple(secrets)
        self.hide()
        asked = {"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": ACCEPTED}
        self._headers = {**asked, **(headers or {})}
        self._client: httpx.Client | None = None
        self._over: Future[None] = beside._over if beside else Future()
        self._flight = threading.Lock()
        self._next: dict[str, float] = {}
        self._silent_until = 0.0

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        *,
        private: bool = False,
    ) -> WebAnswer:
        """Return the answer to GET; raise ProviderError, with the status if there was one.

        Up to `TRIES` attempts, each within the timeout of the settings, if a retry may help. The answer to a `private`
        request may be a secret itself: nothing of it is repeated in errors.
        """
        retrying = Retrying(
            stop=stop_after_attempt(TRIES), wait=_wait_s, retry=retry_if_exception(_is_worth_another),
            sleep=lambda seconds: pause(seconds, self._over), reraise=True,
        )  # fmt: skip
        with self._flight:
            return retrying(self._ask, path, params or {}, headers or {}, auth, private)

    def warn(self, text: str) -> None:
        """Keep what the source says to watch out for, and log it if it is new."""
        shown = self.redacted(" ".join(text.split()))[:SHOWN]
        if shown not in self.warnings:
            log.warning("a source warns", provider=self.name, said=shown)
            self.warnings = [*self.warnings, shown][-MOST_WARNINGS:]

    def hide(self, *secrets: str) -> None:
        """Redact these too, instead of those of the last call."""
        forms = {form for key in (*self._given, *secrets) if key for form in _forms(key)}
        self._secrets = sorted(forms, key=len, reverse=True)  # a key may be part of another form of itself

    def redacted(self, text: str) -> str:
        """Return the text with its secrets replaced."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def close(self) -> None:
        """Stop: requests in progress and later ones raise ProviderUnavailable at once."""
        if not self._over.done():
            self._over.set_result(None)
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _ask(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], auth: tuple[str, str] | None,
        private: bool,
    ) -> WebAnswer:  # fmt: skip
        self._take_turn(path)
        self._refuse_if_closed()
        limit_s = self._settings.timeout.total_seconds()
        try:
            status, body, said = self._within(limit_s, lambda: self._exchange(path, params, headers, auth))
        except TimeoutError as exc:
            self._refuse_if_closed()
            self._client = None  # closed by its thread when that returns; the next request gets a new one
            raise self._silent(f"did not answer within {limit_s:g} s", path) from exc
        except (httpx.HTTPError, httpx.InvalidURL, ImportError, OSError, ValueError) as exc:
            why = "" if private else self.redacted(_ERRNO.sub("", str(exc)))[:SHOWN]
            kept = None if private or self._reveals_a_secret(exc) else exc
            raise self._silent(f"cannot be reached ({why or type(exc).__name__})", path) from kept
        self._note_quota(said)
        shown = "" if private else self.redacted(body.decode("utf-8", "replace"))[:KEPT]
        if status != 200:
            raise self._failed(status, said, shown, path)
        if len(body) > SIZE_CAP_BYTES:
            what = f"it has more than {SIZE_CAP_BYTES >> 20} MiB"
            raise ProviderGarbage(f"greenrun does not use what {self.name} answered: {what}", shown)
        return WebAnswer(source=self.name, body=body, shown=shown, redacted=self.redacted)

    def _take_turn(self, path: str) -> None:
        wait_s = self._turn_in_s(path)
        if wait_s > PATIENCE_S:
            raise ProviderUnavailable(
                f"{self.name} is to be asked again in {duration_text(wait_s)} at the earliest; "
                "what is known stays in use",
                retry_after_s=wait_s,
            )
        if wait_s > 0:
            pause(wait_s, self._over)
        self._next[path if self._per_path else ""] = monotonic() + self._every_s

    def _turn_in_s(self, path: str) -> float:
        turn = self._next.get(path if self._per_path else "", 0.0)
        return max(0.0, max(turn, self._silent_until) - monotonic())

    def _exchange(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], auth: tuple[str, str] | None
    ) -> tuple[int, bytes, httpx.Headers]:
        limit_s = self._settings.timeout.total_seconds()
        until, client = monotonic() + limit_s, self._opened(limit_s)
        request = client.build_request("GET", path, params=dict(params) or None, headers=dict(headers))
        try:
            for _ in range(REDIRECTS):
                response = client.send(request, auth=auth, stream=True)
                try:
                    if not response.has_redirect_location or response.next_request is None:
                        return response.status_code, self._body(response, until), response.headers
                    request = self._followed(request, response.next_request)
                finally:
                    response.close()
        finally:
            if client is not self._client:  # it was abandoned after a timeout
                client.close()
        raise ProviderRefused(f"{self.name} redirects in circles; correct the url of {self._section}")

    def _opened(self, limit_s: float) -> httpx.Client:
        if self._client is None:
            timeout = httpx.Timeout(limit_s, connect=min(CONNECT_S, limit_s))
            self._client = httpx.Client(
                base_url=self._settings.url, headers=self._headers, timeout=timeout, verify=trusted_authorities()
            )
        return self._client

    def _followed(self, asked: httpx.Request, to: httpx.Request) -> httpx.Request:
        """Return the redirected request; refuse another host, which must not get the key."""
        if (asked.url.scheme, asked.url.netloc) != (to.url.scheme, to.url.netloc):
            raise ProviderRefused(
                f"{self.name} redirects to another host ({to.url.scheme}://{to.url.host}), where greenrun does not"
                f" follow; correct the url of {self._section} if that is where it lives now"
            )
        return to

    def _body(self, response: httpx.Response, until: float) -> bytes:
        unpacked = Unpacked(response.headers.get("Content-Encoding", ""), SIZE_CAP_BYTES + 1)
        for chunk in response.iter_raw(64 * 1024):
            if unpacked.add(chunk):
                break
            if monotonic() > until:
                raise TimeoutError
        return unpacked.body

    def _within(self, limit_s: float, call: Callable[[], T]) -> T:
        """Return `call()`, run in a separate thread; raise TimeoutError after `limit_s`, or when this is closed.

        The client's timeouts do not cover name resolution, or headers sent byte by byte. The number of such threads is
        limited.
        """
        answer, thread_name = Future[T](), f"greenrun-ask {self.name}"
        if sum(thread.name == thread_name for thread in threading.enumerate()) >= MOST_LATE:
            raise TimeoutError

        def run() -> None:
            try:
                answer.set_result(call())
            except Exception as exc:  # noqa: BLE001 (passed to the waiting thread)
                answer.set_exception(exc)

        threading.Thread(target=run, name=thread_name, daemon=True).start()
        either: list[Future[Any]] = [answer, self._over]
        wait(either, limit_s + 1.0, FIRST_COMPLETED)
        return answer.result(0)

    def _refuse_if_closed(self) -> None:
        if self._over.done():
            text = f"{self.name} is not asked any more, since greenrun is stopping"
            raise ProviderUnavailable(text, retry_after_s=SILENT_S)

    def _silent(self, what: str, path: str) -> ProviderUnavailable:
        text = f"{self.name} {what}; what is known stays in use, and it is asked again"
        return ProviderUnavailable(text, retry_after_s=self._turn_in_s(path))

    def _failed(self, status: int, headers: httpx.Headers, shown: str, path: str) -> ProviderError:
        said = "" if _is_page(shown) or not shown.strip() else f": {' '.join(shown.split())[:SHOWN]}"
        if status == 429 or status >= 500 or status < 400:
            self._silent_until = monotonic() + min(retry_after_s(headers.get("Retry-After", "")), SILENT_S)
            text = f"{self.name} has trouble or asks to wait (HTTP {status}{said}); what is known stays in use"
            return ProviderUnavailable(text, status=status, retry_after_s=self._turn_in_s(path))
        what, check = "does not answer this question", "zone and url"
        if status in (401, 403):
            what, check = "refuses access", "key and plan"
        text = f"{self.name} {what} (HTTP {status}{said}); check {check} of {self._section}"
        return ProviderRefused(text, status=status)

    def _note_quota(self, headers: httpx.Headers) -> None:
        left = headers.get("X-RateLimit-Remaining") or headers.get("RateLimit-Remaining") or ""
        self.quota_left = int(left) if left.isascii() and left.isdigit() and len(left) < 10 else self.quota_left

    def _reveals_a_secret(self, exc: BaseException) -> bool:
        shown = "".join(traceback.format_exception(exc))
        return self.redacted(shown) != shown


def _forms(secret: str) -> tuple[str, ...]:
    """Return the forms of a secret in a URL, in JSON and in Python's own messages."""
    return secret, quote(secret), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]


def _is_worth_another(exc: BaseException) -> bool:
    return isinstance(exc, ProviderUnavailable) and (exc.retry_after_s or 0.0) <= PATIENCE_S


def _wait_s(state: RetryCallState) -> float:
    """Back off with jitter, but at least for the rate limit and Retry-After."""
    exc = state.outcome.exception() if state.outcome else None
    turn_s = exc.retry_after_s if isinstance(exc, ProviderUnavailable) else None
    return max(turn_s or 0.0, _BACK_OFF(state))


def _is_page(text: str) -> bool:
    return text.lstrip()[:15].lower().startswith(("<!doctype", "<html", "<head", "<?xml"))


def pause(seconds: float, over: Future[None]) -> None:
    """Wait, at most until `over` is done."""
    wait([over], seconds)


def retry_after_s(value: str) -> float:
    """Return the seconds of a Retry-After header, a number or a date; 0 if it is neither."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - utc_now()).total_seconds())

"""The gate before everything that TCP serves: it finds out who asks, and answers by itself what may not go on."""

import hmac
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from greenrun.api.identity import has_account
from greenrun.api.problems import problem, problem_answer
from greenrun.api.service import Service
from greenrun.api.sign_in.peer_account import is_of_another_user
from greenrun.api.sign_in.shown import Shown, csrf_token_of, put_beside
from greenrun.core.credentials import Credential, CredentialKind
from greenrun.core.credentials import Scope as TokenScope
from greenrun.core.errors import GreenrunError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER, CSRF_FIELD = "x-csrf-token", "csrf_token"
SIGN_IN = "/sign-in"
FETCHED_AHEAD = ("sec-purpose", "purpose", "x-moz")  # headers in which a browser says that nobody looks yet
_FORM = "application/x-www-form-urlencoded"
_MOST_FORM_BYTES = 64 * 1024
_FOR_ANYBODY = (SIGN_IN, "/healthz", "/readyz")
_OWN_PAGES = ("same-origin", "none")  # of Sec-Fetch-Site: a page of ours, or the address bar
_ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    # of what is no page, as refusals, figures and logs are: pages bring their own
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
_HOW = (
    "In a browser: run `greenrun web` on this machine. For a program: make a token there with `greenrun token create`, "
    "and send it as `Authorization: Bearer TOKEN`. On this machine the unix socket needs neither."
)


class Gate:
    """Lets requests pass that may, with what they have shown beside them, and says what browsers must know of all."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            return
        request = _Rereadable(scope, receive)
        looked = _Look(self._service, request)
        try:
            refusal = await looked.refusal()
        except (GreenrunError, OSError) as exc:
            refusal = problem_answer(request, exc)

        async def completed(message: Message) -> None:
            if message["type"] == "http.response.start":
                _complete(MutableHeaders(scope=message), request, looked)
            await send(message)

        await (refusal or self._app)(scope, request.again, completed)


def _complete(headers: MutableHeaders, request: Request, looked: "_Look") -> None:
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    if request.url.path.startswith("/v1/"):
        headers.setdefault("cache-control", "no-store")
    if looked.has_stale_cookie and request.url.path != SIGN_IN:
        headers.append("set-cookie", stale_cookie(request, looked.cookie_name))


class _Rereadable(Request):
    """A request whose body the gate may read before the route does."""

    _messages: tuple[Message, ...] = ()

    async def read_form(self) -> Mapping[str, list[str]]:
        """Return the fields of a form that is not larger than one of ours; of another none."""
        messages, size = list[Message](), 0
        while True:
            message = await self.receive()
            messages.append(message)
            size += len(message.get("body", b""))
            if size > _MOST_FORM_BYTES or not message.get("more_body", False):
                break
        self._messages = tuple(messages)
        body = b"".join(message.get("body", b"") for message in messages)
        return parse_qs(body.decode("utf-8", "replace")) if size <= _MOST_FORM_BYTES else {}

    async def again(self) -> Message:
        """Give what was read once more, then what comes."""
        if self._messages:
            first, *others = self._messages
            self._messages = tuple(others)
            return first
        return await self.receive()


class _Look:
    """One look at what a request shows."""

    def __init__(self, service: Service, request: _Rereadable) -> None:
        self._service, self._request = service, request
        self._is_api = request.url.path == "/v1" or request.url.path.startswith("/v1/")
        self.cookie_name = service.entrance.cookie_name
        self.has_stale_cookie = False

    async def refusal(self) -> Response | None:
        """Return the answer to a request that may not go on; else put what it has shown beside it."""
        shown = await self._shown()
        if isinstance(shown, Response):
            return shown
        if shown is None:
            return self._unknown(f"Nobody is known who asks. {_HOW}") if self._is_api or self._is_far else None
        if refusal := await self._not_allowed(shown):
            return refusal
        put_beside(self._request.scope, shown)
        await self._service.entrance.note_use(shown)
        return None

    async def _shown(self) -> Shown | Response | None:
        """Return what is shown and valid, None where that is nothing, or the answer to what is not valid."""
        told = self._request.headers.getlist("authorization")
        if told and (self._is_api or self._bearer(told)):
            token = self._bearer(told)
            found = await self._find(CredentialKind.TOKEN, token) if token else "is no `Bearer TOKEN`"
            if isinstance(found, Credential):
                return Shown(credential=found, address=self._address)
            return await self._failed("The token", found) if self._is_api else None
        session = self._request.cookies.get(self.cookie_name)
        if not session:
            return None
        found = await self._find(CredentialKind.SESSION, session)
        if isinstance(found, Credential) and await self._is_taken(found):
            self.has_stale_cookie = True  # from a page at another port, maybe: with it this browser could never sign in
            refused = await self._failed("The session", "is another user's of this machine")
            return refused if self._is_api else None
        if isinstance(found, Credential):
            return Shown(credential=found, address=self._address, csrf_token=csrf_token_of(session))
        self.has_stale_cookie = True
        return await self._failed("The session", found) if self._is_api else None

    async def _find(self, kind: CredentialKind, secret: str) -> Credential | str:
        """Return a valid credential, or what is wrong with what was shown, without a full stop."""
        found = await self._service.entrance.find(kind, secret)
        if found is None:
            return "is not known: it is over, was revoked, or never was"
        if not await has_account(found):
            return f"was {found.user}'s, whose account is not there any more"
        return found

    async def _is_taken(self, session: Credential) -> bool:
        """Whether another person's process on this machine shows a session: browsers send cookies to all ports."""
        ends = self._request.scope.get("client"), self._request.scope.get("server")
        return await run_in_threadpool(is_of_another_user, session.uid, *ends)

    async def _failed(self, what: str, why: str) -> Response:
        wait_s = await self._service.entrance.note_failure(self._address, f"{what.lower().removeprefix('the ')} {why}")
        if wait_s:
            told = f"Too much that is not valid was shown from {self._address}: try again in {wait_s} s."
            return problem(429, "too many requests", told, headers={"Retry-After": str(wait_s)})
        return self._unknown(f"{what} {why}. {_HOW}")

    async def _not_allowed(self, shown: Shown) -> Response | None:
        """Return the answer to what is not for this credential, or was not asked by its user's own page."""
        changes = self._request.method not in SAFE_METHODS
        if changes and shown.credential.scope is TokenScope.READ:
            return _forbidden(
                "This token is for reading (--scope read), so nothing was changed: "
                "it takes one that was created with --scope submit or admin."
            )
        if shown.csrf_token is None:
            return None
        if (changes or self._is_api) and (why := self._of_another_page()):
            return _forbidden(f"{why}, so nothing was done: use greenrun's own page.")
        if changes and not await self._has_csrf_token(shown.csrf_token):
            return _forbidden(
                "A request with a session's cookie changes nothing without its CSRF token, in the header X-CSRF-Token: "
                "load the page again. (GET /v1/caller tells it.)"
            )
        return None

    def _of_another_page(self) -> str | None:
        """Return how a browser says that another site's page asks; None where it does not."""
        headers = self._request.headers
        if headers.get("sec-fetch-site", "same-origin") not in _OWN_PAGES:
            return "A page of another site asks (Sec-Fetch-Site)"
        for origin in headers.getlist("origin"):
            if _origin_of(origin) != (self._request.url.scheme, headers.get("host", "").lower()):
                return f"A page of {origin[:100]} asks (Origin)"
        return None

    async def _has_csrf_token(self, expected: str) -> bool:
        given = self._request.headers.get(CSRF_HEADER)
        if given is None and self._request.headers.get("content-type", "").partition(";")[0].strip() == _FORM:
            given = (await self._request.read_form()).get(CSRF_FIELD, [None])[0]
        return given is not None and hmac.compare_digest(given.encode(), expected.encode())

    def _unknown(self, detail: str) -> Response:
        return problem(401, "not signed in", detail, headers={"WWW-Authenticate": 'Bearer realm="greenrun"'})

    @property
    def _is_far(self) -> bool:
        """Whether another machine asks for what is shown to anybody on this one alone, as metrics are."""
        with suppress(ValueError):
            return not ip_address(self._address).is_loopback and self._request.url.path not in _FOR_ANYBODY
        return False

    @property
    def _address(self) -> str:
        return self._request.client.host if self._request.client else ""

    @staticmethod
    def _bearer(told: list[str]) -> str | None:
        kind, _, token = told[0].partition(" ")
        return token.strip() or None if len(told) == 1 and kind.lower() == "bearer" else None


def _origin_of(named: str) -> tuple[str, str] | None:
    """Return the scheme and the host with its port of an `Origin`; None for what is none, such as `http://[`."""
    try:
        parts = urlsplit(named)
    except ValueError:
        return None
    return parts.scheme, parts.netloc.lower()


def _forbidden(detail: str) -> Response:
    return problem(403, "not permitted", detail)


def session_cookie(request: Request, name: str, session: str, lasts_s: int) -> str:
    """Return the header that gives a browser the cookie of a session."""
    secure = "; Secure" if request.url.scheme == "https" else ""
    return f"{name}={session}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{secure}"


def stale_cookie(request: Request, name: str) -> str:
    """Return the header that has a browser forget the cookie of a session that is over."""
    return session_cookie(request, name, "", 0)

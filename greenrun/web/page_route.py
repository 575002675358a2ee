"""How pages are answered: with a policy for the browser, and with a page also where something is wrong."""

import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from greenrun import __version__
from greenrun.api.identity import visitor_of
from greenrun.api.problems import fault_of, field_problem, problem_of
from greenrun.api.sign_in import csrf_token
from greenrun.core.errors import GreenrunError
from greenrun.core.jobs.access import Viewer
from greenrun.web import assets
from greenrun.web.rendering import render
from greenrun.web.security_headers import secure
from greenrun.web.snapshots import may_act

Handler = Callable[[Request], Awaitable[Response]]
NAVIGATION = (("/", "Now"), ("/jobs", "Jobs"), ("/grid", "Grid"), ("/devices", "Devices"), ("/reports", "Reports"))
_HEADINGS = {
    403: "Not for you", 404: "Not here", 422: "That cannot be shown", 503: "Not now", 507: "The disk is full",
}  # fmt: skip


class PageRoute(APIRoute):
    """A route whose answers and refusals are pages, under a content security policy with a nonce of its own."""

    def get_route_handler(self) -> Any:
        """Return what answers a request."""
        answer = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            request.state.nonce = secrets.token_urlsafe(16)
            try:
                response = await answer(request)
            except Exception as exc:  # noqa: BLE001 - a fault is told by a page too, and logged
                response = await _refusal(request, exc)
            response.headers.setdefault("Cache-Control", "no-store")
            return secure(response, request.state.nonce)

        return guarded


def page(
    request: Request, template: str, values: dict[str, Any], *, visitor: Viewer | None, status: int = 200
) -> Response:
    """Return a page; `visitor` is who looks, if that is known."""
    shared = {
        "nonce": request.state.nonce,
        "static": f"/assets/{assets.static_version()}",
        "plotly": f"/assets/{assets.plotly_version()}/{assets.PLOTLY}",
        "visitor": visitor,
        "can_act": may_act(visitor),
        "csrf_token": csrf_token(request) or "",
        "path": request.url.path,
        "navigation": NAVIGATION,
        "version": __version__,
    }
    return HTMLResponse(render(template, {**shared, **values}), status_code=status)


async def _refusal(request: Request, exc: Exception) -> Response:
    """Return a page that says what is wrong, to whom it is known by: one who is signed in stays so in its words."""
    status, text = _told(request, exc)
    visitor: Viewer | None = None
    with suppress(OSError):  # the system cannot say now who it is
        visitor = await visitor_of(request)
    values = {"heading": _HEADINGS.get(status, "Something is wrong"), "text": text, "status": status}
    answer = page(request, "error.html", values, visitor=visitor, status=status)
    if isinstance(exc, HTTPException):
        answer.headers.update(exc.headers or {})
    return answer


def _told(request: Request, exc: Exception) -> tuple[int, str]:
    if isinstance(exc, GreenrunError):
        told = problem_of(exc)
        return told.status, told.detail
    if isinstance(exc, RequestValidationError):
        return 422, "; ".join(str(field_problem(error)) for error in exc.errors())
    if isinstance(exc, HTTPException):
        return exc.status_code, str(exc.detail)
    status, _, text = fault_of(request, exc)
    return status, text

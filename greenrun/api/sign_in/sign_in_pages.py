"""Where a browser signs in by a ticket and signs out: over TCP alone, and no part of the API that programs use."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from greenrun.api.identity import Visitor
from greenrun.api.problems import problem
from greenrun.api.service import ServiceDep
from greenrun.api.sign_in.gate import FETCHED_AHEAD, SIGN_IN, session_cookie, stale_cookie
from greenrun.api.sign_in.known_credentials import SESSION_FOR
from greenrun.api.sign_in.peer_account import is_of_another_user
from greenrun.api.sign_in.shown import shown_by
from greenrun.core.jobs.job import Origin

router = APIRouter()
_OF_ANOTHER = "ticket is another user's of this machine"
_AGAIN = "Run `greenrun web` again for another one."
_CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<title>Not signed in – greenrun</title></head><body><main><h1>Not signed in</h1><p>{why}</p><p><a href="/">'
    "See the page without signing in</a></p></main></body></html>"
)


@router.get(SIGN_IN, include_in_schema=False, response_model=None)
def get_sign_in(
    request: Request, daemon: ServiceDep, visitor: Visitor, ticket: Annotated[str, Query(max_length=200)] = ""
) -> Response:
    """Begin a session by a ticket, with a cookie and a redirect to the page; the ticket is used up by that."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return _refused(request, 403, "A page of another site led here, so the ticket was not used: open it yourself.")
    ahead = " ".join(request.headers.get(name, "") for name in FETCHED_AHEAD).lower()
    if "prefetch" in ahead or "prerender" in ahead:
        return _refused(request, 403, "This was fetched ahead, so the ticket was not used: open it yourself.")
    address, now = request.client.host if request.client else "", daemon.now()
    uid = daemon.entrance.tickets.whose(ticket, now)
    if uid is not None and is_of_another_user(uid, request.scope.get("client"), request.scope.get("server")):
        daemon.entrance.note_failure_now(address, _OF_ANOTHER)
        return _refused(request, 403, "This ticket is another user's of this machine, so it was not used.")
    found = daemon.entrance.tickets.use(ticket, now) if ticket else None
    if found is None:
        what = (
            "This ticket was used already, is older than a minute, or never was." if ticket else "There is no ticket."
        )
        wait_s = daemon.entrance.note_failure_now(address, "ticket is not valid") if ticket else 0
        if wait_s:
            return _refused(request, 429, f"Too much that is not valid was shown: try again in {wait_s} s.", wait_s)
        return _refused(request, 401, f"{what} {_AGAIN}")
    if visitor is not None and visitor.uid != found.uid:
        return _refused(
            request, 409, f"{visitor.name} is signed in here: sign out first. Nothing was changed. {_AGAIN}"
        )
    if (former := shown_by(request)) and former.csrf_token:
        daemon.entrance.known.sign_out(former.credential, Origin(uid=found.uid, address=address))
    agent = request.headers.get("user-agent", "")[:100]
    session, _ = daemon.entrance.known.begin_session(found.uid, found.user, address, agent)
    answer = RedirectResponse("/", status_code=303, headers={"Cache-Control": "no-store"})
    cookie = session_cookie(request, daemon.entrance.cookie_name, session, int(SESSION_FOR.total_seconds()))
    answer.headers.append("set-cookie", cookie)
    return answer


@router.post("/sign-out", include_in_schema=False, response_model=None)
def post_sign_out(request: Request, daemon: ServiceDep, visitor: Visitor) -> Response:
    """End the session, if there is one, and go to the page."""
    shown = shown_by(request)
    if visitor is not None and shown is not None and shown.csrf_token:
        daemon.entrance.known.sign_out(shown.credential, visitor.origin)
    answer = RedirectResponse("/", status_code=303, headers={"Cache-Control": "no-store"})
    answer.headers.append("set-cookie", stale_cookie(request, daemon.entrance.cookie_name))
    return answer


def _refused(request: Request, status: int, why: str, wait_s: int = 0) -> Response:
    """Say to a person why they are not signed in; to a program by a problem document."""
    headers = {"Cache-Control": "no-store", **({"Retry-After": str(wait_s)} if wait_s else {})}
    if "text/html" in request.headers.get("accept", ""):
        told = {**headers, "Content-Security-Policy": _CSP}
        return HTMLResponse(_PAGE.format(why=escape(why)), status_code=status, headers=told)
    return problem(status, {429: "too many requests"}.get(status, "not signed in"), why, headers=headers)

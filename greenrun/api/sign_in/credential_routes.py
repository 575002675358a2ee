"""The routes of tickets, sessions and tokens. What lets somebody in is made over the unix socket alone."""

from datetime import timedelta

from fastapi import APIRouter, Request

from greenrun.api.identity import Caller
from greenrun.api.orders import WITHOUT_FIELDS
from greenrun.api.problems import refusals
from greenrun.api.service import Service, ServiceDep
from greenrun.api.sign_in.credential_models import (
    CallerOut,
    CredentialOut,
    NewTokenOut,
    TicketOut,
    TokenIn,
    credential_out,
)
from greenrun.api.sign_in.shown import csrf_token
from greenrun.api.strict_route import StrictRoute
from greenrun.core.credentials import CredentialKind, Scope
from greenrun.core.errors import NotPermitted
from greenrun.core.jobs.access import Viewer

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["access"], responses=refusals(404))


@router.get("/caller")
def get_caller(request: Request, daemon: ServiceDep, caller: Caller) -> CallerOut:
    """Say who asks, by what, and what that lets do."""
    shown = caller.credential
    return CallerOut(
        user=caller.name,
        uid=caller.uid,
        may_all=daemon.settings.access.may_all(caller),
        scope=shown.scope if shown else Scope.ADMIN,
        credential=credential_out(shown) if shown else None,
        csrf_token=csrf_token(request),
    )


@router.post("/tickets", dependencies=[WITHOUT_FIELDS])
def post_ticket(daemon: ServiceDep, caller: Caller) -> TicketOut:
    """Make a ticket with which a browser becomes the caller's, once, within a minute. Over the unix socket alone."""
    _require_socket(caller, "A ticket is made")
    secret, ticket = daemon.entrance.tickets.make(caller.uid, caller.name, daemon.now())
    return TicketOut(ticket=secret, expires_at=ticket.expires_at, addresses=list(daemon.entrance.addresses))


@router.get("/sessions")
def get_sessions(daemon: ServiceDep, caller: Caller) -> list[CredentialOut]:
    """List the sessions of browsers that are not over: the caller's own; all, for who may act on all jobs."""
    return _listed(daemon, caller, CredentialKind.SESSION)


@router.post("/sessions/{number}/revoke", dependencies=[WITHOUT_FIELDS])
def post_session_revoke(number: int, daemon: ServiceDep, caller: Caller) -> CredentialOut:
    """End a session of the caller's, or of anybody for who may act on all jobs; answers with it."""
    return _revoke(daemon, caller, CredentialKind.SESSION, number)


@router.get("/tokens")
def get_tokens(daemon: ServiceDep, caller: Caller) -> list[CredentialOut]:
    """List the tokens that are not over: the caller's own; all, for who may act on all jobs."""
    return _listed(daemon, caller, CredentialKind.TOKEN)


@router.post("/tokens")
def post_token(asked: TokenIn, daemon: ServiceDep, caller: Caller) -> NewTokenOut:
    """Create a token that acts as the caller, within its scope. Over the unix socket alone.

    The scope `admin` is for those who may act on all jobs. The token is told this once.
    """
    _require_socket(caller, "A token is created")
    if asked.scope is Scope.ADMIN:
        daemon.settings.access.require_role(caller, "create tokens of the scope admin")
    secret, made = daemon.entrance.known.make_token(
        caller.uid, caller.name, name=asked.name.strip(), scope=asked.scope, lasts=timedelta(days=asked.days),
        origin=caller.origin,
    )  # fmt: skip
    return NewTokenOut(token=secret, **credential_out(made).model_dump())


@router.post("/tokens/{number}/revoke", dependencies=[WITHOUT_FIELDS])
def post_token_revoke(number: int, daemon: ServiceDep, caller: Caller) -> CredentialOut:
    """End a token of the caller's, or of anybody for who may act on all jobs; answers with it."""
    return _revoke(daemon, caller, CredentialKind.TOKEN, number)


def _listed(daemon: Service, caller: Viewer, kind: CredentialKind) -> list[CredentialOut]:
    _require_person(caller)
    return [credential_out(row) for row in daemon.entrance.known.listed(kind, _whose(daemon, caller))]


def _revoke(daemon: Service, caller: Viewer, kind: CredentialKind, number: int) -> CredentialOut:
    _require_person(caller)
    ended = daemon.entrance.known.revoke(kind, number, uid=_whose(daemon, caller), by=caller.name, origin=caller.origin)
    return credential_out(ended)


def _whose(daemon: Service, caller: Viewer) -> int | None:
    return None if daemon.settings.access.may_all(caller) else caller.uid


def _require_socket(caller: Viewer, what: str) -> None:
    """Raise NotPermitted unless the kernel says who asks: who has one credential gets no other by it."""
    if caller.credential is not None:
        raise NotPermitted(
            f"{what} on the daemon's own machine alone, over its unix socket, so nothing was made: "
            "run the command there, without GREENRUN_URL."
        )


def _require_person(caller: Viewer) -> None:
    """Raise NotPermitted for a token: who took one must not learn of the others, or end them."""
    if caller.is_program:
        raise NotPermitted(
            "Sessions and tokens are shown to their user and revoked by them, not by a token: "
            "use the unix socket (`greenrun token list`) or the page."
        )

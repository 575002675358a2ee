"""The first page, what it is made of as it changes, and what its chart draws."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from greenrun.api.identity import Visitor
from greenrun.api.problems import problem
from greenrun.api.service import Service, ServiceDep
from greenrun.core.jobs.access import Viewer
from greenrun.web.page_route import PageRoute, page
from greenrun.web.page_state import PageStateDep
from greenrun.web.rendering import as_markup, render

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_VERSION = Query(max_length=64)


@router.get("/")
def get_overview(request: Request, state: PageStateDep, visitor: Visitor) -> Response:
    """Return the first page."""
    now = state.snapshots.of(visitor)
    parts: Mapping[str, object] = {
        "parts": {name: as_markup(html) for name, html in now.fragments.items()},
        "lists": now.lists,
        "seen": now.version,
        "month": state.month.known,
    }
    return page(request, "overview.html", dict(parts), visitor=visitor)


@router.get("/page/month")
def get_month(state: PageStateDep) -> Response:
    """Return the card of this month, which takes longer than the rest of the page."""
    return Response(render("parts/month.html", {"month": state.month.now()}), media_type="text/html; charset=utf-8")


@router.get("/page/timeline")
def get_timeline(state: PageStateDep, visitor: Visitor) -> Response:
    """Return what the chart of the next 48 hours draws."""
    return Response(state.snapshots.of(visitor).chart, media_type="application/json")


@router.get("/page/stream")
async def get_stream(
    daemon: ServiceDep,
    state: PageStateDep,
    visitor: Visitor,
    seen: Annotated[str, _VERSION] = "",
    last_event_id: Annotated[str, Header(max_length=64)] = "",
) -> Response:
    """Follow the first page: each event has what changed since the version that the page names."""
    await run_in_threadpool(state.snapshots.of, visitor)  # a database that cannot be read is told by status
    if state.streams.are_full(visitor):
        told = "As many pages are open as this daemon follows. This one asks again; close others that nobody reads."
        busy = problem(503, "too many open pages", told)
        busy.headers["Retry-After"] = "30"
        return busy

    def is_ending() -> bool:
        return daemon.scheduler.health().draining or not is_known_still(daemon, visitor)

    return state.streams.answer(state.snapshots.of, visitor, last_event_id or seen, is_ending)


def is_known_still(daemon: Service, visitor: Viewer | None) -> bool:
    """Whether what a page showed when it asked is valid still: a session that is over is told nothing more."""
    shown = visitor.credential if visitor else None
    return shown is None or daemon.entrance.known.is_valid(shown)

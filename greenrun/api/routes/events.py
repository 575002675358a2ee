"""The route of events: what happened to jobs, and to the daemon, in order."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from greenrun.api.identity import Caller
from greenrun.api.job_models import EventOut
from greenrun.api.job_request import Word
from greenrun.api.json_types import RequestInstant
from greenrun.api.problems import refusals
from greenrun.api.reading.following import WaitS, look_until
from greenrun.api.reading.paging import Cursor, next_page
from greenrun.api.service import ServiceDep
from greenrun.api.strict_route import StrictRoute
from greenrun.api.visibility import audience, seen_events
from greenrun.core.jobs.trail import EventKind

MAX_ROWS = 10_000

router = APIRouter(prefix="/v1/events", route_class=StrictRoute, tags=["events"], responses=refusals())


@router.get("")
async def get_all_events(
    request: Request,
    response: Response,
    daemon: ServiceDep,
    caller: Caller,
    job: Annotated[list[Annotated[int, Query(ge=1, le=2**63 - 1)]] | None, Query(max_length=MAX_ROWS)] = None,
    user: Word | None = None,
    kind: Annotated[list[EventKind] | None, Query(max_length=len(EventKind))] = None,
    since: RequestInstant | None = None,
    until: RequestInstant | None = None,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 1000,
    cursor: Cursor = None,
    wait_s: WaitS = 0.0,
) -> list[EventOut]:
    """List what happened, in order: the latest `limit` events, or with `after` the first ones behind that one.

    `user` did it, `kind` is what it is about. Unless the site shows others all of a job, who is no admin sees what
    happened to their own jobs, what they did themselves, and what is about no job.

    With `after` and `wait_s` the answer waits until there is an event, and is empty where there is none in that time.
    """
    look = partial(
        daemon.store.jobs.events,
        job_ids=job or (),
        since=since,
        until=until,
        after=after,
        before=cursor,
        limit=limit,
        actor=user,
        kinds=kind or (),
        visible_to=audience(daemon, caller),
    )
    found = await look_until(request, daemon, wait_s if after is not None else 0.0, look, bool)
    if after is None and len(found) == limit:
        next_page(request, response, found[0].id)
    return await run_in_threadpool(seen_events, daemon, caller, found)

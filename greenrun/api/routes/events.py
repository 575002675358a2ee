"""The route of events: what happened to jobs, and to the daemon, in order."""

from typing import Annotated

from fastapi import APIRouter, Query

from greenrun.api.identity import Caller
from greenrun.api.job_models import EventOut
from greenrun.api.json_types import RequestInstant
from greenrun.api.service import ServiceDep
from greenrun.api.strict_route import StrictRoute

MAX_ROWS = 10_000

router = APIRouter(prefix="/v1/events", route_class=StrictRoute, tags=["events"])


@router.get("")
def get_all_events(
    daemon: ServiceDep,
    caller: Caller,
    job: Annotated[list[Annotated[int, Query(ge=1, le=2**63 - 1)]] | None, Query(max_length=MAX_ROWS)] = None,
    since: RequestInstant | None = None,
    after: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 1000,
) -> list[EventOut]:
    """List what happened, in order: the latest `limit` events, or with `after` the first ones behind that one."""
    found = daemon.store.jobs.events(job_ids=job or (), since=since, after=after, limit=limit)
    return [EventOut.model_validate(event) for event in found]

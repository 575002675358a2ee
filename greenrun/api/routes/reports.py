"""The route of reports; like the ledger, they are open to everybody who may use the socket."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from greenrun.api.grid_models import PastInstant
from greenrun.api.identity import Caller
from greenrun.api.problems import refusals
from greenrun.api.service import ServiceDep
from greenrun.api.strict_route import StrictRoute
from greenrun.api.visibility import reader_of
from greenrun.core.errors import InputProblem, InvalidInput
from greenrun.reports.model import By, Report

JSON = "application/json"
LONGEST = timedelta(days=3 * 366)

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["reports"], responses=refusals())


@router.get("/reports", response_model=Report)
def get_report(
    daemon: ServiceDep,
    caller: Caller,
    start: Annotated[PastInstant | None, Query(alias="from")] = None,
    end: Annotated[PastInstant | None, Query(alias="to")] = None,
    by: By = "project",
) -> Report | StreamingResponse:
    """Report energy and emissions of `[from, to)`, with a row for each `by`; by default of this month (UTC) up to now.

    What jobs of others used of which the caller may not be told is one row, `others`. What is null has its reason in
    `data_quality` or `missing`; docs/reports.md explains each field.
    """
    now = daemon.now()
    until = end or now
    since = start or until.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if not timedelta(0) < until - since <= LONGEST:
        message = f"must be before the end of the period, by at most {LONGEST.days} days"
        raise InvalidInput("This period cannot be reported.", [InputProblem(field="from", message=message)])
    reader = reader_of(daemon, caller)
    if by == "job":
        return StreamingResponse(daemon.scheduler.reports.written_by_job(since, until, now, reader), media_type=JSON)
    return daemon.scheduler.reports.report(since, until, by, now, reader)

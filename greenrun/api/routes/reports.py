"""The route of reports; like the ledger, they are open to everybody who may use the socket."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from itertools import islice
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse

from greenrun.api.grid_models import PastInstant
from greenrun.api.identity import Caller
from greenrun.api.problems import refusals
from greenrun.api.service import ServiceDep
from greenrun.api.strict_route import StrictRoute
from greenrun.api.visibility import reader_of
from greenrun.core.errors import InputProblem, InvalidInput
from greenrun.reports.exports.spreadsheet import as_csv
from greenrun.reports.formats import By
from greenrun.reports.model import Report

JSON, CSV = "application/json", "text/csv; charset=utf-8"
LONGEST = timedelta(days=3 * 366)

_AT_ONCE = 16  # pieces of a report that are made in one go
_AS_CSV: dict[int | str, dict[str, object]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}

router = APIRouter(prefix="/v1", route_class=StrictRoute, tags=["reports"], responses=refusals())


@router.get("/reports", response_model=Report, responses=_AS_CSV)
def get_report(
    daemon: ServiceDep,
    caller: Caller,
    start: Annotated[PastInstant | None, Query(alias="from")] = None,
    end: Annotated[PastInstant | None, Query(alias="to")] = None,
    by: By = "project",
    rows: Annotated[int | None, Query(ge=1)] = None,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Response:
    """Report energy and emissions of `[from, to)`, with a row for each `by`; by default of this month (UTC) up to now.

    What jobs of others used of which the caller may not be told is one row, `others`. What is null has its reason in
    `data_quality` or `missing`; docs/reports.md explains each field. `rows` is how many rows there are at most, and
    `rows_left_out` how many more there would be. As CSV it is a line for each row.
    """
    now = daemon.now()
    until = end or now
    since = start or until.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if not timedelta(0) < until - since <= LONGEST:
        message = f"must be before the end of the period, by at most {LONGEST.days} days"
        raise InvalidInput("This period cannot be reported.", [InputProblem(field="from", message=message)])
    reader, reports = reader_of(daemon, caller), daemon.scheduler.reports
    if by == "job" and rows is None:
        made = (reports.csv_by_job if form == "csv" else reports.json_by_job)(since, until, now, reader)
        return StreamingResponse(_in_batches(made), media_type=CSV if form == "csv" else JSON)
    report = reports.report(since, until, by, now, reader, rows)
    if form == "csv":
        return Response(as_csv(report), media_type=CSV)
    return Response(report.model_dump_json(by_alias=True), media_type=JSON)  # once, without plain values of all rows


async def _in_batches(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces that are made in a thread, many each time: to ask it takes longer than to make one."""
    while batch := await run_in_threadpool(lambda: list(islice(pieces, _AT_ONCE))):
        for piece in batch:
            yield piece

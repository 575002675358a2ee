"""The route of a run's log: its end, any part of it, and what is added while somebody waits."""

import re
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from greenrun.api.as_user import look_as
from greenrun.api.identity import Caller
from greenrun.api.problems import ProblemOut, refusals
from greenrun.api.reading.following import WaitS, look_until
from greenrun.api.reading.stored_log import ReadLog, read_log
from greenrun.api.routes.jobs import JobId
from greenrun.api.service import Service, ServiceDep
from greenrun.api.strict_route import StrictRoute
from greenrun.core.errors import JobNotFound
from greenrun.core.jobs.access import Viewer

MAX_LOG_BYTES = 16 << 20
_TEXT = "text/plain; charset=utf-8"
_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))", re.ASCII)
_HEADERS = {
    "Greenrun-Log-Offset": "Where in the log this begins; more than was asked for where that is gone.",
    "Greenrun-Log-End": "How many bytes have been written to the log.",
    "Greenrun-Log-Ended": "`true` once the run has ended, so that nothing more will come.",
}
_PARTIAL: dict[str, Any] = {
    "description": "The part that `Range` asked for.",
    "content": {"text/plain": {"schema": {"type": "string"}}},
    "headers": {"Content-Range": {"schema": {"type": "string"}}},
}
_TOLD: dict[str, Any] = {
    "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()}
}

router = APIRouter(prefix="/v1/jobs", route_class=StrictRoute, tags=["jobs"], responses=refusals(404))


class _Read(NamedTuple):
    piece: ReadLog
    has_ended: bool


class _Wanted(NamedTuple):
    """Which bytes are wanted: from `first` on, or without it the last; `is_range`: by the header of that name."""

    first: int | None
    size: int
    is_range: bool = False


@router.get(
    "/{job_id}/logs",
    response_class=PlainTextResponse,
    responses={200: _TOLD, 206: _PARTIAL, 416: {"model": ProblemOut}},
)
async def get_log(
    job_id: JobId,
    request: Request,
    daemon: ServiceDep,
    caller: Caller,
    size: Annotated[int, Query(alias="bytes", ge=1, le=MAX_LOG_BYTES)] = 65_536,
    run: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    offset: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    wait_s: WaitS = 0.0,
    asked: Annotated[str | None, Header(alias="Range")] = None,
) -> Response:
    """Return the end of the log of the job's run number `run`, or of its latest; with `offset`, what follows there.

    With `wait_s` the answer waits until there is something behind `offset`, or the run has ended. `Range` is heard in
    place of both.
    """
    wanted = _wanted(asked, offset, size)
    look = partial(_read, daemon, caller, job_id, run, wanted)
    if wanted.first is None or wanted.is_range:
        wait_s = 0.0
    found = await look_until(request, daemon, wait_s, look, lambda row: bool(row.piece.data) or row.has_ended)
    return _answer(found, wanted)


def end_of_log(daemon: Service, caller: Viewer, job_id: int, size: int) -> bytes:
    """Return the last `size` bytes of the log of a job's latest run; raise JobNotFound, NotPermitted, StoreError."""
    return _read(daemon, caller, job_id, None, _Wanted(None, size)).piece.data


def _wanted(asked: str | None, offset: int | None, size: int) -> _Wanted:
    """Return what is wanted: a header that is no single range of bytes is not heard, as HTTP has it."""
    found = _RANGE.fullmatch(asked.strip()) if asked and offset is None else None
    if found is None or (found[2] and int(found[2]) < int(found[1])):
        return _Wanted(offset, size)
    if found[3] is not None:
        return _Wanted(None, min(int(found[3]), MAX_LOG_BYTES), is_range=True)
    length = int(found[2]) - int(found[1]) + 1 if found[2] else MAX_LOG_BYTES
    return _Wanted(int(found[1]), min(length, MAX_LOG_BYTES), is_range=True)


def _read(daemon: Service, caller: Viewer, job_id: int, number: int | None, wanted: _Wanted) -> _Read:
    job = daemon.settings.access.require_all(caller, daemon.store.jobs.job(job_id))
    runs = daemon.store.runs.of_jobs([job.id]).get(job.id, ())
    logged = [row for row in runs if row.log and number in (None, row.number)]
    if not logged:
        raise JobNotFound(f"Job {job.id} {job.state.said} and has no such log yet.")
    run = logged[-1]
    look = partial(read_log, FilePath(str(run.log)), wanted.size, wanted.first)
    piece = look_as(job.uid, daemon.settings, look)
    is_whole = piece.start + len(piece.data) >= piece.end
    return _Read(piece, has_ended=run.outcome is not None and is_whole)  # what ended before it was read


def _answer(found: _Read, wanted: _Wanted) -> Response:
    piece = found.piece
    end = piece.start + len(piece.data)
    headers = {
        "Accept-Ranges": "bytes",
        "Greenrun-Log-Offset": str(piece.start),
        "Greenrun-Log-End": str(piece.end),
        "Greenrun-Log-Ended": str(found.has_ended).lower(),
    }
    if not wanted.is_range:
        return Response(piece.data, media_type=_TEXT, headers=headers)
    if not piece.data:
        told = f"The log has {piece.end} bytes, of which those before {piece.oldest} are gone: ask for some of these."
        raise HTTPException(416, told, {"Content-Range": f"bytes */{piece.end}"})
    headers["Content-Range"] = f"bytes {piece.start}-{end - 1}/{piece.end}"
    return Response(piece.data, 206, media_type=_TEXT, headers=headers)

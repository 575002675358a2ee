"""The page of reports: a month's sums and rows, and the same as a file in every format."""

import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from greenrun.api.identity import Visitor
from greenrun.api.service import Service, ServiceDep
from greenrun.api.visibility import reader_of
from greenrun.core.errors import NotPermitted
from greenrun.core.formatting import iso_text, period_text
from greenrun.core.jobs.access import Viewer
from greenrun.limited_process import run_limited
from greenrun.reports.formats import AS_SENT, BY, JOB_FORMATS, WRITERS, By
from greenrun.web.overview_sections import month_start
from greenrun.web.page_route import PageRoute, page
from greenrun.web.page_state import PageStateDep

ROWS = 100
MONTHS = 13
FORMATS = {
    "html": ("HTML page", "text/html; charset=utf-8"),
    "csv": ("CSV", "text/csv; charset=utf-8"),
    "json": ("JSON", "application/json"),
    "boamps": ("BoAmps", "application/json"),
    "codecarbon": ("CodeCarbon CSV", "text/csv; charset=utf-8"),
    "sci": ("SCI", "application/json"),
}
_LIMIT_S = 120.0
_MOST_BYTES = 256 << 20
MOST_AT_ONCE = 2  # files that are written at the same time, by a process each
_writing = threading.BoundedSemaphore(MOST_AT_ONCE)
_SIGN_IN = "Reports are for who is known: run `greenrun web` in a terminal, which opens this page as you."

router = APIRouter(route_class=PageRoute, include_in_schema=False)
MonthWord = Annotated[str, Query(pattern=r"^([0-9]{4}-(0[1-9]|1[0-2]))?$")]


@router.get("/reports")
def get_reports_page(
    request: Request, daemon: ServiceDep, state: PageStateDep, visitor: Visitor, month: MonthWord = "",
    by: By = "project",
) -> Response:  # fmt: skip
    """Return the report of a month."""
    now = daemon.now()
    start, end = _period(month, now)
    report = None
    if visitor is not None:
        report = daemon.scheduler.reports.report(start, end, by, now, reader_of(daemon, visitor), ROWS)
    values = {
        "report": report,
        "month": None if visitor else state.month.now(),
        "period": period_text(start, end),
        "chosen": f"{start:%Y-%m}",
        "months": _months(now),
        "by": by,
        "bys": BY,
        "downloads": [(label, _link(name, start, end, by)) for name, (label, _) in FORMATS.items()],
    }
    return page(request, "reports.html", values, visitor=visitor)


@router.get("/reports/file")
def get_report_file(
    daemon: ServiceDep, visitor: Visitor, form: Annotated[str, Query(alias="format")], month: MonthWord = "",
    by: By = "project",
) -> Response:  # fmt: skip
    """Return the report of a month as a file. A process apart writes it, so that the daemon loads nothing for that."""
    if visitor is None:
        raise NotPermitted(_SIGN_IN)
    if form not in WRITERS:
        raise HTTPException(422, f"There is no format {form[:50]!r}: choose one of {', '.join(WRITERS)}.")
    start, end = _period(month, daemon.now())
    rows: By = "job" if form in JOB_FORMATS else by
    if not _writing.acquire(blocking=False):
        why = f"{MOST_AT_ONCE} reports are being written, which is the most at once. Try again when they are done."
        raise HTTPException(503, why, {"Retry-After": "10"})
    try:
        output = _written(daemon, visitor, form, rows, start, end)
    finally:
        _writing.release()
    ending = {"boamps": "boamps.json", "codecarbon": "codecarbon.csv", "sci": "sci.json"}.get(form, form)
    name = f"greenrun-{start:%Y-%m}-{rows}.{ending}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(output, media_type=FORMATS[form][1], headers=headers)


def _written(daemon: Service, visitor: Viewer, form: str, rows: By, start: datetime, end: datetime) -> bytes:
    report = daemon.scheduler.reports.report(start, end, rows, daemon.now(), reader_of(daemon, visitor))
    command = (sys.executable, "-I", "-m", "greenrun.reports.exports.write_report", form)
    done = run_limited(
        command, timeout_s=_LIMIT_S, most_bytes=_MOST_BYTES, given=report.model_dump_json().encode(), nice=10
    )
    if done.trouble or done.code:
        why = done.trouble or f"ended with code {done.code}"
        raise HTTPException(503, f"The report could not be written: the process that does so {why}. Try again.")
    return done.output


def _link(form: str, start: datetime, end: datetime, by: str) -> str:
    if form in AS_SENT:
        words = {"from": iso_text(start), "to": iso_text(end), "by": by, "format": form}
        return f"/v1/reports?{urlencode(words)}"
    return f"/reports/file?{urlencode({'month': f'{start:%Y-%m}', 'by': by, 'format': form})}"


def _period(month: str, now: datetime) -> tuple[datetime, datetime]:
    """Return a month (UTC), up to now at the latest; by default this one."""
    start = month_start(datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)) if month else month_start(now)
    if start >= now:
        raise HTTPException(422, f"{month} has not begun: choose an earlier month.")
    return start, min(now, month_start(start + timedelta(days=32)))


def _months(now: datetime) -> list[str]:
    found, start = [], month_start(now)
    for _ in range(MONTHS):
        found.append(f"{start:%Y-%m}")
        start = month_start(start - timedelta(days=1))
    return found

"""The page of a job: where it stands in words, what else could be done, what it drew, what happened, its log."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from pydantic_core import to_json

from greenrun.api.identity import Visitor
from greenrun.api.job_models import EventOut
from greenrun.api.routes.jobs import explain_job, get_events, get_job
from greenrun.api.routes.run_logs import end_of_log
from greenrun.api.service import Service, ServiceDep
from greenrun.core.errors import JobNotFound, NotPermitted, StoreError
from greenrun.core.formatting import iso_text
from greenrun.core.jobs.access import Access, Viewer
from greenrun.core.jobs.job import FINISHED, LIVE, State
from greenrun.web.job_alternatives import alternatives
from greenrun.web.page_route import PageRoute, page
from greenrun.web.rendering import render
from greenrun.web.run_power import PowerStep, power_chart, power_steps
from greenrun.web.snapshots import may_act

LOG_BYTES = 16 * 1024
MOST_EVENTS = 200
_MOST_ENTRIES = 5000
_MOST_SHOWN = 60
_SIGN_IN = "Jobs are shown to who is known: run `greenrun web` in a terminal, which opens this page as you."

router = APIRouter(route_class=PageRoute, include_in_schema=False)
JobId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.get("/jobs/{job_id}")
def get_job_page(job_id: JobId, request: Request, daemon: ServiceDep, visitor: Visitor) -> Response:
    """Return the page of a job."""
    visitor = _known(visitor)
    state, html = _state(daemon, visitor, job_id)
    steps = _steps(daemon, visitor, job_id)
    log, why_no_log = _log(daemon, visitor, job_id)
    values: dict[str, Any] = {
        "job_id": job_id,
        "state_part": html,
        "is_live": state in LIVE,
        "is_over": state in FINISHED,
        "steps": steps[:_MOST_SHOWN],
        "steps_left_out": len(steps[_MOST_SHOWN:]),
        "events": [_told(row) for row in get_events(job_id, daemon, visitor, limit=MOST_EVENTS)],
        "log": log,
        "why_no_log": why_no_log,
        "log_bytes": LOG_BYTES,
    }
    return page(request, "job.html", values, visitor=visitor)


@router.get("/jobs/{job_id}/state")
def get_job_state(job_id: JobId, daemon: ServiceDep, visitor: Visitor) -> Response:
    """Return the part of the page that changes while a job waits and runs."""
    _, html = _state(daemon, _known(visitor), job_id)
    return Response(html, media_type="text/html; charset=utf-8")


@router.get("/jobs/{job_id}/power")
def get_job_power(job_id: JobId, daemon: ServiceDep, visitor: Visitor) -> Response:
    """Return what the chart of a job's power draws."""
    return Response(to_json(power_chart(_steps(daemon, _known(visitor), job_id))), media_type="application/json")


def _known(visitor: Viewer | None) -> Viewer:
    if visitor is None:
        raise NotPermitted(_SIGN_IN)
    return visitor


def _state(daemon: Service, visitor: Viewer, job_id: int) -> tuple[State, str]:
    job, told = get_job(job_id, daemon, visitor), explain_job(job_id, daemon, visitor)
    active = daemon.scheduler.active_forecast(None)
    series = active.forecast.series if active and active.forecast else None
    is_planned = job.state is State.QUEUED and job.access != "listed"
    acts: list[tuple[str, str]] = []
    if may_act(visitor) and job.access == "all":
        if job.state is State.QUEUED:
            acts = [("release", "Release") if job.held else ("hold", "Hold"), ("start-now", "Start now")]
        if job.state not in FINISHED and not job.cancel_requested:
            acts.append(("cancel", "Cancel"))
    values = {
        "job": job, "told": told, "acts": acts,
        "alternatives": alternatives(told, series, daemon.now()) if is_planned else [],
    }  # fmt: skip
    return job.state, render("parts/job_state.html", values)


def _steps(daemon: Service, visitor: Viewer, job_id: int) -> list[PowerStep]:
    """Return what is in the books of the job; nothing where that is not for this visitor."""
    job = daemon.settings.access.require_visible(visitor, daemon.store.jobs.job(job_id))
    if daemon.settings.access.access(visitor, job.uid, job.user) < Access.READ:
        return []
    entries = daemon.store.books.entries(job_id=job_id, limit=_MOST_ENTRIES)
    return power_steps(entries, daemon.store.runs.of_jobs([job_id])[job_id])


def _log(daemon: Service, visitor: Viewer, job_id: int) -> tuple[str, str]:
    """Return the end of the log, or why there is none to show."""
    try:
        end = end_of_log(daemon, visitor, job_id, LOG_BYTES)
    except (JobNotFound, NotPermitted, StoreError) as exc:
        return "", str(exc)
    return end.decode("utf-8", "replace"), ""


def _told(row: EventOut) -> dict[str, Any]:
    """Return an event in words: what it was, and its details without what is nested."""
    plain = {key: value for key, value in row.detail.items() if isinstance(value, (str, int, float, bool))}
    lists = {key: ", ".join(map(str, value)) for key, value in row.detail.items() if isinstance(value, list) and value}
    why = str(plain.pop("why", ""))
    words = [f"{key.replace('_', ' ')} {value}" for key, value in {**plain, **lists}.items() if value not in ("", None)]
    return {
        "at": row.at, "actor": row.actor, "kind": row.kind.replace("_", " "), "id": row.id, "iso": iso_text(row.at),
        "text": "; ".join([*([why] if why else []), *words]),
    }  # fmt: skip

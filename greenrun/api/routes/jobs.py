"""The routes of jobs: submit, look, explain, and state an intent."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse

from greenrun.api.costs import CostedJobOut, costed
from greenrun.api.explanation import sentences
from greenrun.api.identity import Caller, Identity, require_touch
from greenrun.api.job_models import EventOut, ExplainOut, JobOut
from greenrun.api.job_request import Jobs
from greenrun.api.logs import tail
from greenrun.api.service import Daemon, Service
from greenrun.api.submit import submit, try_out
from greenrun.api.views import event_view, job_views
from greenrun.core.errors import JobNotFound
from greenrun.core.jobs.job import Job, State

MAX_LOG_BYTES = 16 << 20
MAX_ROWS = 10_000

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
JobId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Rows = Annotated[int, Query(ge=1, le=MAX_ROWS)]


@router.post("", status_code=201)
def post_jobs(
    jobs: Jobs, response: Response, daemon: Daemon, caller: Caller, dry_run: bool = False
) -> JobOut | list[JobOut]:
    """Submit one job or many: all of them, or none when one has a fault. A known `unique_key` gives the job it names.

    A job with an `array` or a `grid` is many jobs, and the answer the list of them.

    201 says that something new is stored durably, 200 that nothing was: all were known, or `dry_run` was asked.
    """
    stated = jobs if isinstance(jobs, list) else [jobs]
    views, new = try_out(daemon, caller, stated) if dry_run else submit(daemon, caller, stated)
    if not new:
        response.status_code = 200
    return views if isinstance(jobs, list) or jobs.array or jobs.grid else views[0]


@router.get("")
def get_jobs(
    daemon: Daemon,
    caller: Caller,
    state: Annotated[list[State] | None, Query()] = None,
    project: str | None = None,
    user: str | None = None,
    limit: Rows = 1000,
) -> list[JobOut]:
    """List the latest `limit` jobs, by id."""
    jobs = daemon.store.jobs(tuple(state or ()), project=project, user=user, limit=limit, newest_first=True)
    return job_views(sorted(jobs, key=lambda job: job.id), daemon.store, daemon.scheduler.plan())


@router.get("/{job_id}")
def get_job(job_id: JobId, daemon: Daemon, caller: Caller) -> CostedJobOut:
    """Return one job with its runs, and what their electricity cost."""
    return costed(_view(daemon, daemon.store.job(job_id)), daemon.scheduler.reports)


@router.get("/{job_id}/explain")
def explain_job(job_id: JobId, daemon: Daemon, caller: Caller) -> ExplainOut:
    """Say why the job is where it is."""
    job = daemon.store.job(job_id)
    view = _view(daemon, job)
    max_delay = daemon.settings.default_max_delay
    return ExplainOut(
        job=job.id,
        state=job.state,
        reason=view.reason,
        sentences=sentences(job, view, max_delay, daemon.store.events(job_id), daemon.scheduler.active_forecast(None)),
        planned=view.planned,
        duration_s=view.duration_s,
        duration_source=view.duration_source,
        earliest_start=job.earliest_start,
        latest_start=job.latest_start(max_delay),
    )


@router.get("/{job_id}/events")
def get_events(job_id: JobId, daemon: Daemon, caller: Caller, limit: Rows = 1000) -> list[EventOut]:
    """List what happened to the job, in order."""
    job = daemon.store.job(job_id)
    return [event_view(event) for event in daemon.store.events(job.id, limit)]


@router.get("/{job_id}/logs", response_class=PlainTextResponse)
def get_log(
    job_id: JobId,
    daemon: Daemon,
    caller: Caller,
    size: Annotated[int, Query(alias="bytes", ge=1, le=MAX_LOG_BYTES)] = 65_536,
    run: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """Return the end of the log of the job's run number `run`, or of its latest run."""
    job = require_touch(caller, daemon.store.job(job_id))
    runs = daemon.store.runs([job.id]).get(job.id, ())
    logs = [row.log for row in runs if row.log and run in (None, row.number)]
    if not logs:
        raise JobNotFound(f"Job {job.id} is {job.state} and has no such log yet.")
    return Response(tail(FilePath(logs[-1]), size), media_type="text/plain; charset=utf-8")


@router.post("/{job_id}/cancel")
def cancel_job(job_id: JobId, daemon: Daemon, caller: Caller) -> JobOut:
    """Ask for the job to be stopped, or taken out of the queue."""
    return _change(daemon, caller, job_id, daemon.store.request_cancel)


@router.post("/{job_id}/hold")
def hold_job(job_id: JobId, daemon: Daemon, caller: Caller) -> JobOut:
    """Keep a queued job from starting."""
    return _change(daemon, caller, job_id, lambda key, **who: daemon.store.set_held(key, True, **who))


@router.post("/{job_id}/release")
def release_job(job_id: JobId, daemon: Daemon, caller: Caller) -> JobOut:
    """Let a held job go."""
    return _change(daemon, caller, job_id, lambda key, **who: daemon.store.set_held(key, False, **who))


@router.post("/{job_id}/start-now")
def start_job_now(job_id: JobId, daemon: Daemon, caller: Caller) -> JobOut:
    """Start a queued job as soon as GPUs are free."""
    return _change(daemon, caller, job_id, daemon.store.request_start_now)


def _change(daemon: Service, caller: Identity, job_id: int, change: Callable[..., Job]) -> JobOut:
    require_touch(caller, daemon.store.job(job_id))
    now: datetime = daemon.now()
    job = change(job_id, actor=caller.name, now=now)
    daemon.scheduler.wake()
    return _view(daemon, job)


def _view(daemon: Service, job: Job) -> JobOut:
    return job_views([job], daemon.store, daemon.scheduler.plan())[0]

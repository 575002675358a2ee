"""The routes of jobs: submit, list, explain, and request changes."""

import asyncio
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from greenrun.api.editing import EditIn, RequeueIn, RequeueJobIn, edit_jobs, requeue_jobs
from greenrun.api.identity import Caller
from greenrun.api.job_models import CostedJobOut, EventOut, ExplainOut, JobOut, SubmittedJobOut, jobs_out
from greenrun.api.job_request import Jobs, RequestKeyDep, Word
from greenrun.api.orders import (
    MOST_STATES,
    WITHOUT_FIELDS,
    OrderIn,
    OrderOut,
    StateFilter,
    order_job,
    order_jobs,
    select_ids,
)
from greenrun.api.power_limits.limit_sentences import limit_sentences
from greenrun.api.problems import refusals
from greenrun.api.reading.paging import Cursor, next_page
from greenrun.api.routes.explanation import gpu_sentences, sentences
from greenrun.api.service import ServiceDep
from greenrun.api.strict_route import StrictRoute
from greenrun.api.submit import preview_jobs, submit
from greenrun.api.visibility import audience, hides_jobs, seen_events, seen_explanation, seen_jobs
from greenrun.core.jobs.access import Access
from greenrun.core.jobs.job import State
from greenrun.core.jobs.selection import Selector
from greenrun.core.jobs.transitions import Intent

MAX_ROWS = 10_000

_MOST_SUBMITTING = 16  # at once: they are accepted together, and the other threads are left to whoever looks
_submitting = asyncio.Semaphore(_MOST_SUBMITTING)

router = APIRouter(prefix="/v1/jobs", route_class=StrictRoute, tags=["jobs"], responses=refusals(404, 409))
JobId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Rows = Annotated[int, Query(ge=1, le=MAX_ROWS)]


@router.post("", status_code=201)
async def post_jobs(
    jobs: Jobs, response: Response, daemon: ServiceDep, caller: Caller, request: RequestKeyDep, dry_run: bool = False
) -> SubmittedJobOut | list[SubmittedJobOut]:
    """Submit one job or many: all of them, or none when one has a fault. A known `unique_key` gives the job it names.

    What would fail for certain, or contradicts itself, is refused; what is likely wrong is in `warnings`.

    A job with an `array` or a `grid` is many jobs, and the answer the list of them. A request that is sent again with
    the same `Idempotency-Key` and body gets the jobs that it got before.

    201 says that something new is stored durably, 200 that nothing was: all were known, or `dry_run` was asked.
    """
    stated = jobs if isinstance(jobs, list) else [jobs]
    async with _submitting:
        outs, new = await run_in_threadpool(
            partial(preview_jobs, daemon, caller, stated)
            if dry_run
            else partial(submit, daemon, caller, stated, request)
        )
    if not new:
        response.status_code = 200
    return outs if isinstance(jobs, list) or jobs.array or jobs.grid else outs[0]


@router.get("")
def get_jobs(
    request: Request,
    response: Response,
    daemon: ServiceDep,
    caller: Caller,
    state: Annotated[list[State] | None, Query(max_length=MOST_STATES)] = None,
    project: Word | None = None,
    user: Word | None = None,
    limit: Rows = 1000,
    cursor: Cursor = None,
) -> list[JobOut]:
    """List the latest `limit` jobs, by id: of those that the caller may see, and of each as much as that.

    `Link` has the address of the page before, with older ones, where there may be more.
    """
    uid = caller.uid if hides_jobs(daemon, caller) else None
    jobs = daemon.store.jobs.jobs(
        tuple(state or ()), project=project, user=user, uid=uid, limit=limit, newest_first=True, before=cursor
    )
    if len(jobs) == limit:
        next_page(request, response, jobs[-1].id)
    return seen_jobs(daemon, caller, sorted(jobs, key=lambda job: job.id))


@router.get("/select")
def get_selected_jobs(
    daemon: ServiceDep,
    caller: Caller,
    job: Annotated[list[Word] | None, Query(max_length=1000)] = None,
    all: bool = False,
    state: Annotated[list[StateFilter] | None, Query(max_length=MOST_STATES)] = None,
    project: Word | None = None,
    name: Word | None = None,
    purpose: Annotated[Literal["read", "wait", "after", "requeue"], Query(alias="for")] = "read",
) -> list[JobOut]:
    """Return the jobs that people mean by these words and filters, in the order named; 404 where a word names none.

    A name that several jobs have means, to `read` and to come `after`, the one that is not finished, else the newest;
    to `wait` for, all that are not finished.
    """
    selector = Selector(
        words=tuple(job or ()), everything=all, states=tuple(map(str, state or ())), project=project, name=name
    )
    ids = select_ids(daemon, caller, selector, purpose)
    jobs = daemon.store.jobs.jobs_of(ids)
    return seen_jobs(daemon, caller, [daemon.settings.access.require_visible(caller, row) for row in jobs])


@router.get("/{job_id}")
def get_job(job_id: JobId, daemon: ServiceDep, caller: Caller) -> CostedJobOut:
    """Return one job with its runs, and what their electricity cost."""
    job = daemon.settings.access.require_visible(caller, daemon.store.jobs.job(job_id))
    (out,) = seen_jobs(daemon, caller, [job])
    is_told = daemon.settings.access.access(caller, job.uid, job.user) >= Access.READ
    cost = daemon.scheduler.reports.cost_of([run.id for run in out.runs] if is_told else [])
    costed: CostedJobOut = CostedJobOut.model_validate({**dict(out), **dict(cost)})
    return costed


@router.get("/{job_id}/explain")
def explain_job(job_id: JobId, daemon: ServiceDep, caller: Caller) -> ExplainOut:
    """Say why the job is where it is."""
    job = daemon.settings.access.require_visible(caller, daemon.store.jobs.job(job_id))
    (out,) = jobs_out([job], daemon.store, daemon.scheduler.plan())
    max_delay, runs = daemon.settings.default_max_delay, daemon.store.runs.of_jobs([job.id])[job.id]
    told = ExplainOut(
        job=job.id,
        state=job.state,
        reason=out.reason,
        sentences=sentences(
            job,
            out,
            max_delay,
            daemon.store.jobs.events(job.id),
            daemon.scheduler.active_forecast(None),
            [
                *gpu_sentences(job, runs, daemon.scheduler.host.devices(), daemon.scheduler.host.gpu_state),
                *limit_sentences(job, runs, daemon.scheduler.host),
            ],
            daemon.scheduler.turn_text(job.id),
        ),
        planned=out.planned,
        duration_s=out.duration_s,
        duration_source=out.duration_source,
        earliest_start=job.earliest_start,
        latest_start=job.latest_start(max_delay),
    )
    return seen_explanation(daemon, caller, job, told)


@router.get("/{job_id}/events")
def get_events(job_id: JobId, daemon: ServiceDep, caller: Caller, limit: Rows = 1000) -> list[EventOut]:
    """List what happened to the job, in order; of another one's job that is listed, only what the caller did."""
    job = daemon.settings.access.require_visible(caller, daemon.store.jobs.job(job_id))
    events = daemon.store.jobs.events(job.id, limit, visible_to=audience(daemon, caller))
    return seen_events(daemon, caller, events)


@router.post("/cancel")
def cancel_jobs(asked: OrderIn, daemon: ServiceDep, caller: Caller) -> list[OrderOut]:
    """Ask for jobs to be stopped, or taken out of the queue."""
    return order_jobs(daemon, caller, Intent.CANCEL, asked)


@router.post("/hold")
def hold_jobs(asked: OrderIn, daemon: ServiceDep, caller: Caller) -> list[OrderOut]:
    """Keep queued jobs from starting."""
    return order_jobs(daemon, caller, Intent.HOLD, asked)


@router.post("/release")
def release_jobs(asked: OrderIn, daemon: ServiceDep, caller: Caller) -> list[OrderOut]:
    """Let held jobs go."""
    return order_jobs(daemon, caller, Intent.RELEASE, asked)


@router.post("/start-now")
def start_jobs_now(asked: OrderIn, daemon: ServiceDep, caller: Caller) -> list[OrderOut]:
    """Start queued jobs as soon as GPUs are free."""
    return order_jobs(daemon, caller, Intent.START_NOW, asked)


@router.post("/approve")
def post_approve_many(asked: OrderIn, daemon: ServiceDep, caller: Caller) -> list[OrderOut]:
    """Let queued jobs start although a budget has no room for them; only those may who may do everything."""
    daemon.settings.access.require_role(caller, "let jobs go over a budget")
    return order_jobs(daemon, caller, Intent.APPROVE, asked)


@router.post("/edit")
def post_edit(asked: EditIn, daemon: ServiceDep, caller: Caller, dry_run: bool = False) -> list[JobOut]:
    """Change jobs that have not ended, all or none, if each can be run as stated beside all others.

    With `dry_run` nothing is changed, and the answer is what they would be.
    """
    return edit_jobs(daemon, caller, asked, dry_run=dry_run)


@router.post("/requeue")
def post_requeue(asked: RequeueIn, daemon: ServiceDep, caller: Caller, dry_run: bool = False) -> list[JobOut]:
    """Let jobs that have ended run again, all or none, each as another attempt of the same job.

    With `dry_run` nothing is changed, and the answer is what they would be.
    """
    return requeue_jobs(daemon, caller, asked, dry_run=dry_run)


@router.post("/{job_id}/edit")
def post_edit_of_job(
    job_id: JobId, changes: Annotated[dict[str, Any], Body()], daemon: ServiceDep, caller: Caller
) -> JobOut:
    """Change these fields of a job that has not ended; null stands for the default."""
    return edit_jobs(daemon, caller, EditIn(ids=[job_id], changes=changes))[0]


@router.post("/{job_id}/requeue")
def post_requeue_of_job(job_id: JobId, daemon: ServiceDep, caller: Caller, asked: RequeueJobIn | None = None) -> JobOut:
    """Let a job that has ended run again."""
    said = asked or RequeueJobIn()
    return requeue_jobs(daemon, caller, RequeueIn(ids=[job_id], changes=said.changes, env=said.env))[0]


@router.post("/{job_id}/cancel", dependencies=[WITHOUT_FIELDS])
def cancel_job(job_id: JobId, daemon: ServiceDep, caller: Caller) -> JobOut:
    """Ask for the job to be stopped, or taken out of the queue."""
    return order_job(daemon, caller, Intent.CANCEL, job_id)


@router.post("/{job_id}/hold", dependencies=[WITHOUT_FIELDS])
def hold_job(job_id: JobId, daemon: ServiceDep, caller: Caller) -> JobOut:
    """Keep a queued job from starting."""
    return order_job(daemon, caller, Intent.HOLD, job_id)


@router.post("/{job_id}/release", dependencies=[WITHOUT_FIELDS])
def release_job(job_id: JobId, daemon: ServiceDep, caller: Caller) -> JobOut:
    """Let a held job go."""
    return order_job(daemon, caller, Intent.RELEASE, job_id)


@router.post("/{job_id}/start-now", dependencies=[WITHOUT_FIELDS])
def start_job_now(job_id: JobId, daemon: ServiceDep, caller: Caller) -> JobOut:
    """Start a queued job as soon as GPUs are free."""
    return order_job(daemon, caller, Intent.START_NOW, job_id)

"""Ends queued jobs that need not, cannot or may no longer start, so that the plan is made for those that may."""

from collections.abc import Iterable
from datetime import datetime

import structlog

from greenrun.core.jobs.dependencies import hopeless
from greenrun.core.jobs.job import Job, JobSpec, State
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.jobs.transitions import SCHEDULER
from greenrun.core.planning.model import Options
from greenrun.engine.ports import JobStore

log = structlog.get_logger("greenrun.engine.queue")


def end_unstartable_jobs(jobs: JobStore, options: Options, now: datetime) -> None:
    """Cancel queued jobs on request and those that can never start; expire those that asked not to start late."""
    queued = jobs.jobs([State.QUEUED])
    states = awaited(jobs, (job.spec for job in queued))
    ends: dict[int, tuple[State, Reason]] = {}
    for job in queued:  # by id, so that those which a job waits for come before it
        if why := _verdict(job, states, options, now):
            ends[job.id] = why
            states[job.id] = why[0]
    if ends and jobs.change_states(State.QUEUED, ends, actor=SCHEDULER, now=now):  # else the next tick looks again
        for job_id, (state, _) in ends.items():
            log.info("ended", job=job_id, outcome=state.value)


def awaited(jobs: JobStore, specs: Iterable[JobSpec]) -> dict[int, State]:
    """Return the states of the jobs that these wait for."""
    return dict(jobs.job_states({row.job_id for spec in specs for row in spec.after}))


def _verdict(job: Job, states: dict[int, State], options: Options, now: datetime) -> tuple[State, Reason] | None:
    if job.cancel_requested:
        return State.CANCELLED, because(ReasonCode.CANCELLED)
    if why := hopeless(job, states):
        return State.CANCELLED, why
    latest = job.latest_start(options.default_max_delay)
    may_expire = job.spec.expire and not job.spec.start_now and not job.progress  # it has not begun yet
    if may_expire and now > latest + options.due_grace:
        return State.EXPIRED, because(ReasonCode.EXPIRED, latest=latest.isoformat())
    return None

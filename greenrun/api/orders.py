"""Orders of users for stored jobs: many at once, each done as far as it can be, with an answer of its own."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from pydantic import Field

from greenrun.api.identity import User, require_control
from greenrun.api.job_models import JobOut, jobs_out
from greenrun.api.json_types import RequestModel, ResponseModel
from greenrun.api.problems import ProblemOut, problem_of
from greenrun.api.service import Service
from greenrun.core.errors import JobError
from greenrun.core.jobs.job import MOST_TOGETHER
from greenrun.core.jobs.transitions import Intent

AnyJobId = Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]


class OrderIn(RequestModel):
    """The jobs that are meant; one that is named twice is answered twice."""

    ids: Annotated[list[AnyJobId], Field(min_length=1, max_length=MOST_TOGETHER)]


class OrderOut(ResponseModel):
    """What came of an order for one job: the job as it is then, or the problem why it was refused; one is null."""

    id: int
    job: JobOut | None
    problem: ProblemOut | None


def order_job(daemon: Service, caller: User, intent: Intent, job_id: int) -> JobOut:
    """Do as asked with one job and return it; raise JobNotFound, NotPermitted, InvalidTransition, StoreError."""
    (outcome,) = _order(daemon, caller, intent, [job_id])
    if isinstance(outcome, JobError):
        raise outcome
    return outcome


def order_jobs(daemon: Service, caller: User, intent: Intent, job_ids: Sequence[int]) -> list[OrderOut]:
    """Do as asked with each job that allows it, together; return what came of each, in this order; raise StoreError."""
    outcomes = _order(daemon, caller, intent, job_ids)
    return [_out(job_id, outcome) for job_id, outcome in zip(job_ids, outcomes, strict=True)]


def _order(daemon: Service, caller: User, intent: Intent, job_ids: Sequence[int]) -> list[JobOut | JobError]:
    may_control = partial(require_control, caller)
    outcomes = daemon.store.jobs.intend(intent, job_ids, actor=caller.name, now=daemon.now(), permit=may_control)
    done = {job.id: job for job in outcomes if not isinstance(job, JobError)}
    if done:
        daemon.scheduler.wake(list(done.values()))
    outs = {out.id: out for out in jobs_out(list(done.values()), daemon.store, daemon.scheduler.plan())}
    return [outcome if isinstance(outcome, JobError) else outs[outcome.id] for outcome in outcomes]


def _out(job_id: int, outcome: JobOut | JobError) -> OrderOut:
    if isinstance(outcome, JobError):
        return OrderOut(id=job_id, job=None, problem=problem_of(outcome))
    return OrderOut(id=job_id, job=outcome, problem=None)

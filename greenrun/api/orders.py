"""Orders of users for stored jobs: many at once, each done as far as it can be, with an answer of its own."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from fastapi import Depends
from pydantic import Field, ValidationInfo, field_validator

from greenrun.api.job_models import JobOut, jobs_out
from greenrun.api.job_request import Word
from greenrun.api.json_types import RequestModel, ResponseModel
from greenrun.api.problems import ProblemOut, problem_of
from greenrun.api.service import Service
from greenrun.api.visibility import control_of
from greenrun.core.errors import AmbiguousJob, InputProblem, InvalidJob, JobError, JobNotFound
from greenrun.core.jobs.access import Viewer
from greenrun.core.jobs.job import MOST_TOGETHER, Job, State
from greenrun.core.jobs.selection import PURPOSES, Selector
from greenrun.core.jobs.transitions import Intent

AnyJobId = Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]
StateFilter = State | Literal["held"]
MOST_STATES = 100  # so that an answer about them stays short
ALL_AND_SOME = "names all jobs beside some of them: give one or the other"


class OrderIn(RequestModel):
    """The jobs that are meant: by `ids`, of which one that is named twice is answered twice, or as people name them.

    A word of `jobs` is a number, a range (`1-9,12`), a name, an array or some of its indices (`sweep[1-5]`, `17[]`).
    `states`, `project` and `name` are filters, all of which must let a job through; `all` are all of the caller's own.
    """

    jobs: Annotated[list[Word], Field(max_length=MOST_TOGETHER)] = Field(default_factory=list)
    all: bool = False
    states: Annotated[list[StateFilter], Field(max_length=MOST_STATES)] = Field(default_factory=list)
    project: Word | None = None
    name: Word | None = None
    ids: Annotated[list[AnyJobId], Field(max_length=MOST_TOGETHER)] = Field(default_factory=list, validate_default=True)

    @field_validator("all")
    @classmethod
    def _is_all_there_is(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("jobs"):
            raise ValueError(ALL_AND_SOME)
        return value

    @field_validator("ids")
    @classmethod
    def _is_said_in_one_way(cls, value: list[int], info: ValidationInfo) -> list[int]:
        others = any(info.data.get(name) not in (None, False, []) for name in info.data)
        if value and others:
            raise ValueError("go without jobs, all and filters: put the numbers into `jobs`")
        if not value and not others and "jobs" in info.data:
            raise ValueError("name no job: give ids, jobs, a filter, or all")
        return value

    @property
    def selector(self) -> Selector:
        """What it says, other than by ids."""
        return Selector(
            words=tuple(self.jobs), everything=self.all, states=tuple(map(str, self.states)), project=self.project,
            name=self.name,
        )  # fmt: skip


class NothingIn(RequestModel):
    """Nothing: the path says all that is meant. The body may be left out."""


def _refuse_fields(nothing: NothingIn | None = None) -> None:
    """Have a body refused that says more than nothing, so that nobody thinks it was heard."""


WITHOUT_FIELDS = Depends(_refuse_fields)


class OrderOut(ResponseModel):
    """What came of an order for one job: the job as it is then, or the problem why it was refused; one is null.

    `id` is null for the problem of a word that named no job.
    """

    id: int | None
    job: JobOut | None
    problem: ProblemOut | None


def order_job(daemon: Service, caller: Viewer, intent: Intent, job_id: int) -> JobOut:
    """Do as asked with one job and return it; raise JobNotFound, NotPermitted, InvalidTransition, StoreError."""
    (outcome,) = outcomes_out(daemon, _intend(daemon, caller, intent, [job_id]))
    if isinstance(outcome, JobError):
        raise outcome
    return outcome


def order_jobs(daemon: Service, caller: Viewer, intent: Intent, asked: OrderIn) -> list[OrderOut]:
    """Do as asked with each job that allows it, together; return what came of each, in this order; raise StoreError."""
    if asked.ids:
        outcomes = _intend(daemon, caller, intent, asked.ids)
        return orders_out(asked.ids, outcomes_out(daemon, outcomes))
    found = daemon.store.jobs.intend_for(
        intent,
        asked.selector,
        actor=caller.name,
        uid=caller.uid,
        now=daemon.now(),
        permit=control_of(daemon, caller),
        origin=caller.origin,
    )
    return orders_out([None] * len(found), outcomes_out(daemon, found))


def select_ids(daemon: Service, caller: Viewer, selector: Selector, purpose: str) -> tuple[int, ...]:
    """Return the jobs that are meant; raise with all problems at once when a word names none, or several for one."""
    if selector.is_empty:
        raise _invalid("job", "no job is named: give its number or its name, a filter, or all")
    if selector.everything and selector.words:
        raise _invalid("all", f"all: {ALL_AND_SOME}")
    found = daemon.store.jobs.select(selector, PURPOSES[purpose], uid=caller.uid, permit=control_of(daemon, caller))
    if found.problems:  # else each number of no job is told where it is asked for
        unknown = (JobNotFound(f"there is no job {job_id}") for job_id in found.unknown)
        require_found([*found.problems, *unknown])
    return found.ids


def require_found(problems: Sequence[JobError]) -> None:
    """Raise one error for all of these problems, of the kind of the first; none where there are none."""
    if problems:
        kinds: Mapping[bool, type[JobError]] = {True: AmbiguousJob, False: JobNotFound}
        if all(isinstance(row, InvalidJob) for row in problems):
            raise _invalid("job", "; ".join(map(str, problems)))
        kind = type(problems[0]) if len(problems) == 1 else kinds[isinstance(problems[0], AmbiguousJob)]
        raise kind("; ".join(map(str, problems)))


def _invalid(field: str, why: str) -> InvalidJob:
    return InvalidJob(why, [InputProblem(field=field, message=why)])


def outcomes_out(daemon: Service, outcomes: Sequence[Job | JobError]) -> list[JobOut | JobError]:
    """Let the daemon take in the jobs that were changed; return them as answers have them, and errors as they are."""
    done = {job.id: job for job in outcomes if isinstance(job, Job)}
    if done:
        daemon.scheduler.wake(list(done.values()))
    outs = {out.id: out for out in jobs_out(list(done.values()), daemon.store, daemon.scheduler.plan())}
    return [outs[outcome.id] if isinstance(outcome, Job) else outcome for outcome in outcomes]


def orders_out(ids: Sequence[int | None], outcomes: Sequence[JobOut | JobError]) -> list[OrderOut]:
    """Return the answer for each job; `ids` are those asked for, where it was by them."""
    return [
        OrderOut(id=job_id, job=None, problem=problem_of(outcome))
        if isinstance(outcome, JobError)
        else OrderOut(id=outcome.id, job=outcome, problem=None)
        for job_id, outcome in zip(ids, outcomes, strict=True)
    ]


def _intend(daemon: Service, caller: Viewer, intent: Intent, job_ids: Sequence[int]) -> Sequence[Job | JobError]:
    permit = control_of(daemon, caller)
    return daemon.store.jobs.intend(
        intent, job_ids, actor=caller.name, now=daemon.now(), permit=permit, origin=caller.origin
    )

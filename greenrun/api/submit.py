"""Accept jobs, or try them without storing: whatever can be refused is refused before anything is stored."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain

from greenrun.api.identity import User
from greenrun.api.job_models import JobOut, job_out, jobs_out
from greenrun.api.job_request import JobIn, to_spec, to_specs
from greenrun.api.service import Preview, Service, Submitted
from greenrun.api.validation import problems_of
from greenrun.core.errors import InputProblem, InvalidJob
from greenrun.core.jobs.dependencies import ended_text, is_in_vain
from greenrun.core.jobs.history import FinishedJob, learn_duration, learn_power
from greenrun.core.jobs.job import MOST_TOGETHER, DurationSource, Job, JobSpec, State

MAX_DEPENDENCIES = 10_000  # of the jobs of one submission for others: each of them is looked at whenever there is news


def submit(daemon: Service, caller: User, stated: Sequence[JobIn]) -> tuple[list[JobOut], bool]:
    """Store the jobs; return them, and whether any is new. When one has a fault raise InvalidJob and store none."""
    now = daemon.now()
    groups = _specs(daemon, caller, stated)
    specs = list(chain.from_iterable(groups))
    try:
        _check(daemon, caller, groups, now)
        rows = daemon.scheduler.submit(specs, user=caller.name, uid=caller.uid, now=now)
    except InvalidJob:
        known = _jobs_of_keys(daemon, caller, specs)
        if known is None:
            raise
        return jobs_out(known, daemon.store, daemon.scheduler.plan()), False
    return [_submitted_out(daemon, row) for row in rows], any(row.is_new for row in rows)


def preview_jobs(daemon: Service, caller: User, stated: Sequence[JobIn]) -> tuple[list[JobOut], bool]:
    """Return where each job would be placed, storing nothing; raise InvalidJob as `submit` does."""
    now = daemon.now()
    groups = _specs(daemon, caller, stated)
    specs = list(chain.from_iterable(groups))
    _check(daemon, caller, groups, now)
    previews = daemon.scheduler.preview(specs, user=caller.name, uid=caller.uid, now=now)
    jobs = [_as_if_stored(spec, caller, now) for spec in specs]
    outs = [_new_job_out(job, preview) for job, preview in zip(jobs, previews, strict=True)]
    return [row.model_copy(update={"id": None}) for row in outs], False


def _specs(daemon: Service, caller: User, stated: Sequence[JobIn]) -> list[list[JobSpec]]:
    """Return the jobs that each statement means: one, or those of its array or grid."""
    specs = _with_history(daemon, caller, [to_spec(job, daemon.settings.default_duration) for job in stated])
    return [to_specs(job, spec, caller.uid) for spec, job in zip(specs, stated, strict=True)]


def _with_history(daemon: Service, caller: User, specs: Sequence[JobSpec]) -> list[JobSpec]:
    """Return the jobs with a learned duration and power where they state none and enough is known; raise StoreError."""
    known: dict[tuple[str, str], Sequence[FinishedJob]] = {}
    return [_with_history_of(daemon, caller, spec, known) for spec in specs]


def _with_history_of(
    daemon: Service, caller: User, spec: JobSpec, known: dict[tuple[str, str], Sequence[FinishedJob]]
) -> JobSpec:
    if spec.duration_source is DurationSource.GIVEN and spec.power_w is not None:
        return spec
    key = (spec.name, spec.project)
    if key not in known:
        known[key] = daemon.store.history.finished_jobs(caller.name, name=spec.name, project=spec.project)
    return _with_power(_with_duration(spec, known[key], daemon.settings.duration_quantile), known[key])


def _with_duration(spec: JobSpec, past: Sequence[FinishedJob], quantile: float) -> JobSpec:
    if spec.duration_source is DurationSource.GIVEN:
        return spec
    found = learn_duration(past, name=spec.title, project=spec.project, gpus=spec.gpus, quantile=quantile)
    if found is None:
        return spec
    duration = min(found.expected, spec.time_limit or found.expected)
    return replace(spec, duration=duration, duration_source=DurationSource.LEARNED, duration_note=found.note)


def _with_power(spec: JobSpec, past: Sequence[FinishedJob]) -> JobSpec:
    if spec.power_w is not None:
        return spec
    found = learn_power(past, name=spec.title, project=spec.project, gpus=spec.gpus)
    return spec if found is None else replace(spec, power_w=found.power_w, power_note=found.note)


def _check(daemon: Service, caller: User, groups: Sequence[Sequence[JobSpec]], now: datetime) -> None:
    """Raise InvalidJob with the problems of all of them that show without planning; an array's jobs share theirs."""
    specs = list(chain.from_iterable(groups))
    _require_few_jobs(len(specs))
    _require_few_dependencies(sum(len(spec.after) for spec in specs))
    found = [[*problems_of(group[0], now), *_vain_dependencies(daemon, group[0])] for group in groups]
    problems = [row for index, rows in enumerate(found) for row in _with_index(rows, index, groups)]
    if [row.field for row in problems] == ["finish_by"]:  # a plan knows what else runs, so it has the better advice
        daemon.scheduler.preview(specs, user=caller.name, uid=caller.uid, now=now)
    if problems:
        raise InvalidJob("; ".join(map(str, problems)), problems)
    _require_room(daemon, len(specs))


def _vain_dependencies(daemon: Service, spec: JobSpec) -> Iterator[InputProblem]:
    """Yield a problem for each dependency that can no longer be fulfilled."""
    states = daemon.store.jobs.job_states({row.job_id for row in spec.after})
    for row in spec.after:
        state = states.get(row.job_id)
        if state is None:
            why = f"there is no job {row.job_id} to wait for; `greenrun list --all` shows those that there are"
            yield InputProblem(field="after", message=why)
        elif is_in_vain(row, state):
            why = f"job {row.job_id} has {ended_text(state)}, so a job that waits for it to succeed would never start"
            yield InputProblem(field="after", message=f"{why}: leave it out, or wait for {row.job_id}:any")


def _with_index(
    problems: Sequence[InputProblem], index: int, groups: Sequence[Sequence[JobSpec]]
) -> list[InputProblem]:
    prefix = f"[{index}]." if len(groups) > 1 else ""
    return [InputProblem(field=f"{prefix}{row.field}", message=row.message) for row in problems]


def _require_few_jobs(jobs: int) -> None:
    if jobs > MOST_TOGETHER:
        raise InvalidJob(
            f"{jobs} jobs are more than the {MOST_TOGETHER} that one submission may be, so nothing was accepted: "
            "submit them in parts."
        )


def _require_few_dependencies(waits: int) -> None:
    if waits > MAX_DEPENDENCIES:
        raise InvalidJob(
            f"the jobs would wait for {waits} others in all, more than the {MAX_DEPENDENCIES} that one submission may, "
            "so nothing was accepted: let them wait for one job that waits for the others."
        )


def _require_room(daemon: Service, more: int) -> None:
    limit = daemon.settings.max_queued
    queued = len(daemon.store.jobs.jobs((State.QUEUED,), limit=limit))
    if queued + more > limit:
        raise InvalidJob(
            f"{queued} jobs are queued and no more than {limit} may be, so nothing was accepted: "
            "wait until some have started, or cancel some."
        )


def _jobs_of_keys(daemon: Service, caller: User, specs: Sequence[JobSpec]) -> list[Job] | None:
    """Return the jobs that the unique keys name when each names one: submitting them again is no fault."""
    if not all(spec.unique_key for spec in specs):
        return None
    jobs = {job.spec.unique_key: job for job in daemon.store.jobs.jobs(user=caller.name)}
    found = [jobs[spec.unique_key] for spec in specs if spec.unique_key in jobs]
    return found if len(found) == len(specs) else None


def _as_if_stored(spec: JobSpec, caller: User, now: datetime) -> Job:
    return Job(id=0, spec=spec, user=caller.name, uid=caller.uid, state=State.QUEUED, submitted_at=now)


def _submitted_out(daemon: Service, row: Submitted) -> JobOut:
    if row.is_new:
        return _new_job_out(row.job, row.preview)
    return jobs_out([row.job], daemon.store, daemon.scheduler.plan())[0]


def _new_job_out(job: Job, preview: Preview) -> JobOut:
    return job_out(job, preview.placement, preview.reason)

"""Changes of what stored jobs are, and requeues: checked as a submission is, and done to all of the jobs or to none."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, replace
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field, ValidationError

from greenrun.api.as_user import look_as
from greenrun.api.job_models import JobOut, jobs_out
from greenrun.api.job_request import JobIn, to_spec
from greenrun.api.json_types import RequestModel
from greenrun.api.needs import container_problems, variable_problems
from greenrun.api.orders import OrderIn, select_ids
from greenrun.api.power_limits.allowed_caps import with_allowed_caps
from greenrun.api.problems import field_problem
from greenrun.api.service import Service
from greenrun.api.submit import lacking_gpus, vain_dependencies, visible_states, with_history, with_noted_files
from greenrun.api.validation import Here, problems_of
from greenrun.api.visibility import as_seen
from greenrun.core.errors import InputProblem, InvalidJob, InvalidTransition
from greenrun.core.formatting import exact_duration_text, instant_text, iso_text
from greenrun.core.jobs.access import Viewer
from greenrun.core.jobs.arrays import variable_of
from greenrun.core.jobs.declaration import FieldInfo, Trait, field_infos
from greenrun.core.jobs.job import FINISHED, LIVE, DurationSource, Job, JobSpec
from greenrun.core.jobs.log_names import literal, log_of
from greenrun.core.jobs.transitions import Edit

_FIXED = frozenset({"unique_key", "after", "env", "git_commit"})  # said once, at submission
_EDITABLE = tuple(row for row in field_infos(JobSpec) if not row.has(Trait.READ_ONLY) and row.name not in _FIXED)
_NAMES = {row.json_name: row for row in _EDITABLE}
_WHILE_IT_RUNS = frozenset({
    "name", "labels", "priority", "duration", "retries", "retry_on", "finish_by", "stop_on", "notify", "min_saving",
    "run_below_g_per_kwh",
})  # fmt: skip
_EXECUTED = frozenset({"command", "container", "workdir", "env_file", "log"})  # what runs as its user, and writes where
MOST_TRIES = 3  # of an edit, when its jobs change while it is checked
_ONE_EACH = ("log",)  # what several jobs cannot share


class EditIn(OrderIn):
    """The jobs that are meant, and the fields of theirs that change: as in [JobIn](#jobin), null for the default.

    `labels` are added to those that a job has; one that is null is removed.
    """

    changes: dict[str, Any] = Field(default_factory=dict)


Env = Annotated[dict[str, str], Field(max_length=10_000)]


class RequeueJobIn(RequestModel):
    """What changes of a job that runs again, and the values of its variables, which were deleted when it ended."""

    changes: dict[str, Any] = Field(default_factory=dict)
    env: Env = Field(default_factory=dict)


class RequeueIn(EditIn):
    """The jobs that are meant, what changes of them, and the values of their variables, which were deleted at the end.

    Of `env` each job takes the variables that it had.
    """

    env: Env = Field(default_factory=dict)


def edit_jobs(daemon: Service, caller: Viewer, asked: EditIn, *, dry_run: bool = False) -> list[JobOut]:
    """Change jobs, all or none; raise InvalidJob with every problem of each. With `dry_run` say what they would be."""
    if not asked.changes:
        raise InvalidJob("nothing is to be changed: name at least one field", [_problem("changes", "is empty")])
    return _done(daemon, caller, asked, "edit", None, dry_run)


def requeue_jobs(daemon: Service, caller: Viewer, asked: RequeueIn, *, dry_run: bool = False) -> list[JobOut]:
    """Let jobs that have ended run again, all or none; raise InvalidJob with every problem of each."""
    return _done(daemon, caller, asked, "requeue", asked.env, dry_run)


def _done(
    daemon: Service, caller: Viewer, asked: EditIn, purpose: str, env: Mapping[str, str] | None, dry_run: bool
) -> list[JobOut]:
    """Find the jobs and change them; where one has changed between the two, look again."""
    for tries_left in range(MOST_TRIES - 1, -1, -1):
        try:
            ids = _ids(daemon, caller, asked, purpose)
            edits = _checked(daemon, caller, ids, asked.changes, env)
            _require_projects(daemon, caller, edits)
            who, now = caller.name, daemon.now()
            with as_seen(daemon, caller):
                jobs = (
                    daemon.scheduler.try_edit(edits, actor=who, now=now)
                    if dry_run
                    else daemon.scheduler.edit(edits, actor=who, now=now, origin=caller.origin)
                )
            return jobs_out(jobs, daemon.store, daemon.scheduler.plan())
        except InvalidTransition:
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _require_projects(daemon: Service, caller: Viewer, edits: Sequence[Edit]) -> None:
    """Raise NotPermitted where a job is moved to, or requeued in, a project of which the caller is no member."""
    projects = (edit.spec.project for edit in edits if edit.requeue or edit.spec.project != edit.before.spec.project)
    for project in dict.fromkeys(projects):
        daemon.settings.access.require_member(caller, project)


def _ids(daemon: Service, caller: Viewer, asked: OrderIn, purpose: str) -> Sequence[int]:
    return list(dict.fromkeys(asked.ids)) or select_ids(daemon, caller, asked.selector, purpose)


def _checked(
    daemon: Service, caller: Viewer, ids: Sequence[int], changes: Mapping[str, Any], env: Mapping[str, str] | None
) -> list[Edit]:
    """Return every edit, checked; `env` has the values of variables for jobs that are to run again."""
    now = daemon.now()
    jobs = [daemon.settings.access.require_all(caller, job) for job in daemon.store.jobs.jobs_of(ids)]
    if executed := [name for name in changes if name in _EXECUTED] + (["env"] if env else []):
        for job in jobs:
            daemon.settings.access.require_own(caller, job, ", ".join(executed))
    problems = list(_unknown(changes))
    if len(jobs) > 1:
        problems += [_problem(name, "would be shared by several jobs") for name in _ONE_EACH if changes.get(name)]
    edits = []
    here: Here = {}
    lacking: dict[tuple[object, ...], list[InputProblem]] = {}  # each takes a plan, and many jobs have the same needs
    for job in [] if problems else jobs:
        spec, found = _edited(daemon, caller, job, changes, env, now, here)
        if found and job.state not in LIVE:
            needs = (spec.gpus, spec.gpu_model, spec.gpu_memory_gib, spec.shared)
            if needs not in lacking:
                lacking[needs] = lacking_gpus(daemon, caller, spec, now)
            found = [*found, *lacking[needs]]
        problems += [row if len(jobs) == 1 else replace(row, field=f"job {job.id}: {row.field}") for row in found]
        edits.append(Edit(before=job, spec=spec, requeue=env is not None))
    if problems:
        raise InvalidJob("; ".join(map(str, problems)), problems)
    return edits


def _unknown(changes: Mapping[str, Any]) -> Iterator[InputProblem]:
    for name in changes:
        if name in _FIXED or name in ("array", "grid"):
            yield _problem(name, "cannot be changed: submit the job anew, and cancel this one")
        elif name not in _NAMES:
            yield _problem(name, "is not a field of a job")


def _edited(
    daemon: Service,
    caller: Viewer,
    job: Job,
    changes: Mapping[str, Any],
    env: Mapping[str, str] | None,
    now: datetime,
    here: Here,
) -> tuple[JobSpec, list[InputProblem]]:
    """Return what a job would be, and what is wrong with that and was not wrong before; raise InvalidTransition."""
    if env is None and job.state in FINISHED:
        raise InvalidTransition(f"job {job.id} {job.state.said} already: requeue it to have it run again")
    if env is not None and job.state not in FINISHED:
        raise InvalidTransition(f"job {job.id} {job.state.said}; only one that has ended can be requeued")
    begun = [name for name in changes if _NAMES[name].name not in _WHILE_IT_RUNS] if job.state in LIVE else []
    if begun:
        why = f"cannot be changed while the job {job.state.said}: its run has begun with it"
        return job.spec, [_problem(name, why) for name in begun]
    spec, problems = _with_changes(daemon, caller, job.spec, changes)
    checked = spec
    if spec.log != job.spec.log and spec.log is not None:
        spec = replace(spec, log=log_of(spec, job.user, job.id, job.id))
    elif spec.log is not None:
        checked = replace(spec, log=literal(spec.log))
    if env is not None:
        values, missing = _values(job.spec, env)
        spec, problems = replace(spec, env=values), [*problems, *missing]
    if problems or job.state in LIVE:
        return spec, problems
    states = visible_states(daemon, caller, [spec])
    as_it_is = replace(job.spec, log=job.spec.log and literal(job.spec.log))
    is_other = env is not None or (spec.command, spec.workdir) != (job.spec.command, job.spec.workdir)

    def look() -> tuple[JobSpec, list[InputProblem]]:
        known = job.spec if spec.container == job.spec.container else replace(job.spec, container=None)
        before = [*_of_the_site(daemon, known), *problems_of(as_it_is, job.user, now, here)] if env is None else []
        wrong = [*_of_the_site(daemon, spec), *problems_of(checked, job.user, now, here)]
        wrong += _too_late(job, spec, env is not None, now)
        wrong += variable_problems(spec, daemon.settings.variables) if env is not None else []
        (noted,) = with_noted_files([spec], {}) if is_other else [spec]
        return noted, [row for row in wrong if row not in before]

    noted, wrong = look_as(job.uid, daemon.settings, look)
    return noted, [*wrong, *(vain_dependencies(spec, states) if env is not None else [])]


def _of_the_site(daemon: Service, spec: JobSpec) -> Iterator[InputProblem]:
    yield from daemon.settings.resources.problems(spec)
    yield from container_problems(spec, daemon.settings.container_engine)


def _with_changes(
    daemon: Service, caller: Viewer, spec: JobSpec, changes: Mapping[str, Any]
) -> tuple[JobSpec, list[InputProblem]]:
    """Return the spec with the changed fields, as if it had been submitted with them, and what is wrong with these."""
    given = dict(changes)
    if isinstance(labels := changes.get("labels"), Mapping):
        given["labels"] = {key: value for key, value in {**spec.labels, **labels}.items() if value is not None}
    stated = {name: value for name, value in _stated(spec).items() if name != "log"}  # its patterns are filled in
    if spec.takes_part:
        stated.pop("power_cap", None)  # no user's: earlier releases gave such jobs the site's default, too
    if given.get("interruptible") is False:
        stated = {name: value for name, value in stated.items() if not _NAMES[name].has(Trait.INTERRUPTIBLE_ONLY)}
    stated |= {name: value for name, value in given.items() if value is not None}
    for name in [name for name, value in given.items() if value is None]:
        if _NAMES[name].default is MISSING and not _NAMES[name].has(Trait.MAY_BE_MISSING):
            return spec, [_problem(name, "has no default: give a value")]
        stated.pop(name, None)
    try:
        job = JobIn.model_validate(stated)
    except ValidationError as exc:
        return spec, [field_problem(error) for error in exc.errors()]
    made = daemon.settings.resources.with_usual(to_spec(job, daemon.settings.default_duration, spec.after))
    if changes.get("duration_s", 0) is None or changes.get("power_w", 0) is None:
        (made,) = with_history(daemon, caller, [made])
    (made,) = with_allowed_caps(daemon, [made]) if "power_cap" in changes else (made,)
    names = {_NAMES[name].name for name in changes}
    names |= {"duration_source", "duration_note"} if "duration" in names else set()
    names |= {"power_note"} if "power_w" in names else set()
    names |= {"power_cap_note"} if "power_cap" in names else set()
    if "interruptible" in names:
        names |= {row.name for row in _EDITABLE if row.has(Trait.INTERRUPTIBLE_ONLY)}
    changed = replace(spec, **{name: getattr(made, name) for name in names})
    if changed.duration_source is not DurationSource.GIVEN and changed.time_limit and "time_limit" in names:
        changed = replace(changed, duration=min(changed.duration, changed.time_limit))
    return changed, []


def _stated(spec: JobSpec) -> dict[str, Any]:
    """Return the spec as a client would state it."""
    rows = [row for row in _EDITABLE if spec.interruptible or not row.has(Trait.INTERRUPTIBLE_ONLY)]
    found = {row.json_name: _json(row, getattr(spec, row.name)) for row in rows}
    return {name: value for name, value in found.items() if value is not None}


def _json(row: FieldInfo, value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return iso_text(value)
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


def _values(spec: JobSpec, given: Mapping[str, str]) -> tuple[dict[str, str], list[InputProblem]]:
    """Return the job's variables with their values: those that greenrun had set by itself are known, others `given`."""
    own = {}
    if spec.array is not None:
        own = {variable_of(name): value for name, value in spec.labels.items()}
        own |= {"GREENRUN_ARRAY_INDEX": str(spec.array.index), "GREENRUN_ARRAY_SIZE": str(spec.array.size)}
    known = {**given, **own}
    missing = sorted(name for name in spec.env if name not in known)
    if not missing:
        return {name: known[name] for name in spec.env}, []
    named, few = ", ".join(missing[:10]), "" if len(missing) <= 10 else f" and {len(missing) - 10} more"
    advice = " ".join(f"--env {name}=..." for name in missing[:3])
    why = f"the values of {named}{few} were deleted when the job ended: give them again ({advice})"
    return dict(spec.env), [_problem("env", why)]


def _too_late(job: Job, spec: JobSpec, is_requeued: bool, now: datetime) -> Iterator[InputProblem]:
    """Yield what is wrong with a max delay that counts from an instant some time ago."""
    since = now if is_requeued else job.queued_since
    if spec.max_delay is not None and spec.max_delay != job.spec.max_delay and since + spec.max_delay < now:
        least = exact_duration_text(timedelta(seconds=int((now - since).total_seconds()) + 60))
        ended = instant_text(since + spec.max_delay)
        why = f"ended at {ended}: it counts from {instant_text(since)}, so give {least} or more"
        yield _problem("max_delay_s", why)


def _problem(field: str, message: str) -> InputProblem:
    return InputProblem(field=field, message=message)

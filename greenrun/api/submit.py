"""Accept jobs, or try them without storing: whatever can be refused is refused before anything is stored."""

import shlex
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import TypeVar

from greenrun.api.advice import of_shared_log, of_untold, warnings_of, warnings_of_repetition
from greenrun.api.as_user import look_as
from greenrun.api.job_models import BudgetUseOut, JobOut, SubmittedJobOut, job_out, jobs_out
from greenrun.api.job_request import JobIn, to_spec, to_specs
from greenrun.api.needs import container_problems, variable_problems
from greenrun.api.orders import select_ids
from greenrun.api.power_limits.allowed_caps import cap_warnings, with_allowed_caps
from greenrun.api.routes.budget_use import standings_of, uses_of
from greenrun.api.service import Preview, Service
from greenrun.api.validation import Here, problems_of
from greenrun.api.visibility import as_seen, visible_jobs
from greenrun.core.errors import InputProblem, InvalidJob, JobError, KeyReused
from greenrun.core.formatting import instant_text
from greenrun.core.jobs.access import Viewer
from greenrun.core.jobs.dependencies import ended_text, is_in_vain
from greenrun.core.jobs.history import FinishedJob, learn_duration, learn_power
from greenrun.core.jobs.job import MOST_TOGETHER, Dependency, DurationSource, Job, JobSpec, RequestKey, State
from greenrun.core.jobs.script_argument import own_files
from greenrun.core.jobs.selection import Selector
from greenrun.executors.command_files.noted_files import noted

Found = TypeVar("Found")
Noted = dict[tuple[str, ...], dict[str, str]]  # what is noted of files, by folder and command
Meant = dict[str, Sequence[int] | JobError]  # the jobs that a name means, or why it means none

_MOST_NEEDS = 16  # different wishes for GPUs that are looked up beside other problems
_GRACE = timedelta(seconds=5)  # later than that after its latest start it expires
MAX_DEPENDENCIES = 10_000  # of the jobs of one submission for others: each of them is looked at whenever there is news


def submit(
    daemon: Service, caller: Viewer, stated: Sequence[JobIn], request: RequestKey | None = None
) -> tuple[list[SubmittedJobOut], bool]:
    """Store the jobs; return them, and whether any is new. When one has a fault raise InvalidJob and store none.

    Jobs of known unique keys, and those of a `request` that was accepted before, are returned as they are now; raise
    KeyReused when its key was given to another request.
    """
    now = daemon.now()
    groups, unnamed = _specs(daemon, caller, stated)
    specs = list(chain.from_iterable(groups))
    known: Mapping[str, Job] = {}
    answer: list[Job] | None = None
    if any(spec.unique_key for spec in specs):  # else only its `request` can be known, which storing it tells
        known, answer = _known(daemon, caller, specs, request)
    warnings = _warnings(daemon, caller, groups, known, now)
    if answer is not None:
        return _warned(jobs_out(answer, daemon.store, daemon.scheduler.plan()), warnings), False
    new_of_groups, before = _new_of(groups, known), standings_of(daemon, caller, specs, now)
    try:
        _check(daemon, caller, new_of_groups, now, unnamed)
        new = noted_as(daemon, caller.uid, new_of_groups)
        with as_seen(daemon, caller):
            rows = daemon.scheduler.submit(
                new, user=caller.name, uid=caller.uid, now=now, request=request, origin=caller.origin
            )
    except JobError as exc:
        known, answer = _known(daemon, caller, specs, request)  # the same may have been asked for twice at once
        if answer is None:
            raise _by_job(exc, daemon, caller, new_of_groups, now) from exc
        warnings = _warnings(daemon, caller, groups, known, now)
        return _warned(jobs_out(answer, daemon.store, daemon.scheduler.plan()), warnings), False
    if meanwhile := {row.job.spec.unique_key: row.job for row in rows if not row.is_new and row.job.spec.unique_key}:
        warnings = _warnings(daemon, caller, groups, {**known, **meanwhile}, now)
    old = jobs_out(
        [*known.values(), *(row.job for row in rows if not row.is_new)], daemon.store, daemon.scheduler.plan()
    )
    outs = [*old, *(_new_job_out(row.job, row.preview) for row in rows if row.is_new)]
    by_key = {out.unique_key: out for out in outs if out.unique_key}
    ordered = _in_order(specs, by_key, [out for out in outs if not out.unique_key])
    uses = (
        {row.job.id: uses_of(daemon, row.job, row.preview, before, now) for row in rows if row.is_new} if before else {}
    )
    return _warned(ordered, warnings, [uses.get(out.id, []) for out in ordered]), any(row.is_new for row in rows)


def preview_jobs(daemon: Service, caller: Viewer, stated: Sequence[JobIn]) -> tuple[list[SubmittedJobOut], bool]:
    """Return where each job would be placed, storing nothing; raise InvalidJob as `submit` does."""
    now = daemon.now()
    groups, unnamed = _specs(daemon, caller, stated)
    specs = list(chain.from_iterable(groups))
    known, _ = _known(daemon, caller, specs, None)
    _check(daemon, caller, groups, now, unnamed)
    try:
        with as_seen(daemon, caller):
            previews = daemon.scheduler.preview(specs, user=caller.name, uid=caller.uid, now=now)
    except InvalidJob as exc:
        raise _by_job(exc, daemon, caller, groups, now) from exc
    jobs = [_as_if_stored(spec, caller, now) for spec in specs]
    before = standings_of(daemon, caller, specs, now)
    uses = [uses_of(daemon, job, preview, before, now) for job, preview in zip(jobs, previews, strict=True)]
    outs = [_new_job_out(job, preview) for job, preview in zip(jobs, previews, strict=True)]
    tried = [row.model_copy(update={"id": None}) for row in outs]
    return _warned(tried, _warnings(daemon, caller, groups, known, now), uses), False


def _warnings(
    daemon: Service, caller: Viewer, groups: Sequence[Sequence[JobSpec]], known: Mapping[str, Job], now: datetime
) -> list[list[str]]:
    """Return what is likely wrong with each job; those of an array share theirs."""
    found = []
    logs = Counter(spec.log for group in groups for spec in group)
    for group in groups:
        shared: list[str] = []
        if group:
            shared += look_as(caller.uid, daemon.settings, partial(warnings_of, group[0], now))
            shared += of_shared_log(group[0], logs[group[0].log])
            shared += [*of_untold(group[0], daemon.settings.told_of), *cap_warnings(daemon, group[0])]
        found += [warnings_of_repetition(spec, known) or shared for spec in group]
    return found


def _warned(
    outs: Sequence[JobOut], warnings: Sequence[list[str]], uses: Sequence[list[BudgetUseOut]] = ()
) -> list[SubmittedJobOut]:
    return [
        SubmittedJobOut.model_construct(**dict(out), warnings=[*own, *_unpromised(out)], budgets=mine)
        for out, own, mine in zip(outs, warnings, uses or [[]] * len(outs), strict=True)
    ]


def _unpromised(out: JobOut) -> Iterator[str]:
    """Yield that nobody knows whether a job can keep its finish-by, or that it would expire before it can start."""
    if out.expire and out.planned is not None and out.max_delay_s is not None and not out.start_now:
        latest = (out.requeued_at or out.submitted_at) + timedelta(seconds=out.max_delay_s)
        if out.planned.start > latest + _GRACE:
            start, end = instant_text(out.planned.start), instant_text(latest)
            yield f"it can start at {start} at the soonest as it looks now, and expires at {end}"
    if out.finish_by is not None and out.planned is None and out.state is State.QUEUED:
        why = f": {out.reason.text}" if out.reason else ""
        yield f"whether it can end by {instant_text(out.finish_by)} is not known, as no start can be planned yet{why}"


def _known(
    daemon: Service, caller: Viewer, specs: Sequence[JobSpec], request: RequestKey | None
) -> tuple[Mapping[str, Job], list[Job] | None]:
    """Return the jobs of unique keys that are known, and the whole answer where nothing has to be added for it."""
    before = None if request is None else daemon.store.jobs.submission(caller.name, request.key)
    if before is not None and before.request != request:
        raise KeyReused(
            f"the idempotency key {before.request.key} was given to another submission, so nothing was accepted: "
            "take a new key for each, and the same one only to send the same again"
        )
    keys = {spec.unique_key for spec in specs if spec.unique_key}
    known = daemon.store.jobs.of_keys(caller.name, keys)
    _require_same_commands(specs, known)
    if before is None and not all(spec.unique_key in known for spec in specs):
        return known, None
    others = [] if before is None else [job for job in before.jobs if not job.spec.unique_key]
    return known, _in_order(specs, known, others)


def _require_same_commands(specs: Sequence[JobSpec], known: Mapping[str, Job]) -> None:
    """Raise InvalidJob when a unique key names a job of another command, stored or of the same submission."""
    commands = {key: (job.spec.command, f"job {job.id}") for key, job in known.items()}
    problems: dict[str, InputProblem] = {}
    for spec in specs:
        if spec.unique_key is None:
            continue
        before, whose = commands.setdefault(spec.unique_key, (spec.command, "a job before it in this submission"))
        if before != spec.command:
            why = f"'{spec.unique_key}' is the key of {whose}, whose command is another: {shlex.join(before)}"
            problems[spec.unique_key] = InputProblem(
                field="unique_key", message=f"{why}; take a key of its own for each"
            )
    if problems:
        raise InvalidJob("; ".join(map(str, problems.values())), list(problems.values()))


def _in_order(specs: Sequence[JobSpec], by_key: Mapping[str, Found], others: Iterable[Found]) -> list[Found]:
    """Return what belongs to each spec: by its unique key, and of those without one in their order."""
    rest = iter(others)
    return [by_key[spec.unique_key] if spec.unique_key else next(rest) for spec in specs]


def noted_as(daemon: Service, uid: int, groups: Iterable[Sequence[JobSpec]]) -> list[JobSpec]:
    """Return the jobs of all groups with their own files noted, as this user sees these; raise ExecutorError."""
    found: Noted = {}
    looks = (partial(with_noted_files, group, found) for group in groups if group)
    return [spec for look in looks for spec in look_as(uid, daemon.settings, look)]


def with_noted_files(specs: Iterable[JobSpec], found: Noted) -> list[JobSpec]:
    """Return the jobs with their own program and script noted, each command's once: it is kept in `found`."""
    jobs = []
    for spec in specs:
        key = (spec.workdir, *spec.command)
        if key not in found:
            found[key] = noted(own_files(spec.command, spec.workdir))
        jobs.append(spec if found[key] == spec.noted_files else replace(spec, noted_files=found[key]))
    return jobs


def _new_of(groups: Sequence[Sequence[JobSpec]], known: Container[str]) -> list[list[JobSpec]]:
    """Return those of each group that are to be added: not those of known unique keys, and of each key the first."""
    seen: set[str] = set()
    found: list[list[JobSpec]] = []
    for group in groups:
        found.append([])
        for spec in group:
            if spec.unique_key is None or not (spec.unique_key in known or spec.unique_key in seen):
                found[-1].append(spec)
                seen |= {spec.unique_key} if spec.unique_key else set()
    return found


def _specs(daemon: Service, caller: Viewer, stated: Sequence[JobIn]) -> tuple[list[list[JobSpec]], list[InputProblem]]:
    """Return the jobs that each statement means, one or those of its array or grid, and which names mean no job.

    The latter are no reason yet to refuse a request that was accepted before.
    """
    unnamed: list[InputProblem] = []
    specs = []
    meant: Meant = {}
    for index, job in enumerate(stated):
        after, problems = _dependencies_of(daemon, caller, job, meant)
        specs.append(to_spec(job, daemon.settings.default_duration, after))
        unnamed += _with_index(problems, index, stated)
    specs = [daemon.settings.resources.with_usual(spec) for spec in with_history(daemon, caller, specs)]
    specs = with_allowed_caps(daemon, specs)
    return [to_specs(job, spec, caller.uid) for spec, job in zip(specs, stated, strict=True)], unnamed


def _dependencies_of(
    daemon: Service, caller: Viewer, job: JobIn, meant: Meant
) -> tuple[list[Dependency], list[InputProblem]]:
    """Return the jobs that a statement names to come after, each once, and a problem for each name that means none.

    What names mean is kept in `meant`: to look one up takes reading all jobs of the caller.
    """
    found: dict[int, Dependency] = {}
    problems = []
    for row in job.after:
        if isinstance(row.job, str) and row.job not in meant:
            meant[row.job] = _meant_by(daemon, caller, row.job)
        ids = meant[row.job] if isinstance(row.job, str) else [row.job]
        if isinstance(ids, JobError):
            problems.append(InputProblem(field="after", message=str(ids)))
        else:
            found |= {job_id: Dependency(job_id=job_id, on=row.on) for job_id in ids}
    return list(found.values()), problems


def _meant_by(daemon: Service, caller: Viewer, word: str) -> Sequence[int] | JobError:
    try:
        return select_ids(daemon, caller, Selector(words=(word,)), "after")
    except JobError as exc:
        return exc


def with_history(daemon: Service, caller: Viewer, specs: Sequence[JobSpec]) -> list[JobSpec]:
    """Return the jobs with a learned duration and power where they state none and enough is known; raise StoreError."""
    known: dict[tuple[str, str], Sequence[FinishedJob]] = {}
    return [_with_history_of(daemon, caller, spec, known) for spec in specs]


def _with_history_of(
    daemon: Service, caller: Viewer, spec: JobSpec, known: dict[tuple[str, str], Sequence[FinishedJob]]
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


def _check(
    daemon: Service,
    caller: Viewer,
    groups: Sequence[Sequence[JobSpec]],
    now: datetime,
    unnamed: Sequence[InputProblem] = (),
) -> None:
    """Raise InvalidJob with the problems of all of them that show without planning; an array's jobs share theirs."""
    specs = list(chain.from_iterable(groups))
    _require_few_jobs(len(specs))
    _require_few_dependencies(sum(len(spec.after) for spec in specs))
    for project in dict.fromkeys(spec.project for spec in specs):
        daemon.settings.access.require_member(caller, project)
    states = visible_states(daemon, caller, specs)
    here: Here = {}

    def problems_with(spec: JobSpec) -> list[InputProblem]:
        return [
            *problems_of(spec, caller.name, now, here),
            *vain_dependencies(spec, states),
            *variable_problems(spec, daemon.settings.variables),
            *daemon.settings.resources.problems(spec),
            *container_problems(spec, daemon.settings.container_engine),
        ]

    found = [
        look_as(caller.uid, daemon.settings, partial(problems_with, group[0])) if group else [] for group in groups
    ]
    problems = [row for index, rows in enumerate(found) for row in _with_index(rows, index, groups)]
    problems += unnamed
    if [row.field for row in problems] == ["finish_by"]:  # a plan knows what else runs, so it has the better advice
        with as_seen(daemon, caller):
            daemon.scheduler.preview(specs, user=caller.name, uid=caller.uid, now=now)
    if problems:
        problems += _all_lacking(daemon, caller, groups, now)
        raise InvalidJob("; ".join(map(str, problems)), problems)
    require_room(daemon.store.jobs.count_queued(), len(specs), daemon.settings.max_queued)


def visible_states(daemon: Service, caller: Viewer, specs: Sequence[JobSpec]) -> Mapping[int, State]:
    """Return the states of the jobs that these wait for, without those that are hidden from the caller."""
    wanted = {row.job_id for spec in specs for row in spec.after}
    visible = visible_jobs(daemon, caller, wanted)
    return daemon.store.jobs.job_states([job_id for job_id in wanted if job_id in visible])


def _all_lacking(
    daemon: Service, caller: Viewer, groups: Sequence[Sequence[JobSpec]], now: datetime
) -> Iterator[InputProblem]:
    """Yield which GPUs this machine has not for the first job of each group; what is alike is looked for once."""
    known: dict[object, list[InputProblem]] = {}
    for index, group in enumerate(groups):
        if group:
            needs = (group[0].gpus, group[0].gpu_model, group[0].gpu_memory_gib, group[0].shared)
            if needs not in known and len(known) < _MOST_NEEDS:
                known[needs] = lacking_gpus(daemon, caller, group[0], now)
            yield from _with_index(known.get(needs, ()), index, groups)


def _by_job(
    refusal: JobError, daemon: Service, caller: Viewer, groups: Sequence[Sequence[JobSpec]], now: datetime
) -> JobError:
    """Return the refusal of a plan with every job of several that asks for GPUs which are not here, each by its place.

    A plan refuses the first one, and knows no places.
    """
    told = refusal.problems if isinstance(refusal, InvalidJob) else ()
    if len(groups) < 2 or not told or not all(row.field.startswith("gpu") for row in told):
        return refusal
    found = list(_all_lacking(daemon, caller, groups, now))
    return InvalidJob("; ".join(map(str, found)), found) if found else refusal


def lacking_gpus(daemon: Service, caller: Viewer, spec: JobSpec, now: datetime) -> list[InputProblem]:
    """Return which GPUs this machine has not; where nothing else is wrong, the plan tells it."""
    try:
        daemon.scheduler.preview([replace(spec, finish_by=None)], user=caller.name, uid=caller.uid, now=now)
    except InvalidJob as exc:
        return [row for row in exc.problems if row.field.startswith("gpu")]
    return []


def vain_dependencies(spec: JobSpec, states: Mapping[int, State]) -> Iterator[InputProblem]:
    """Yield a problem for each dependency that can no longer be fulfilled."""
    for row in spec.after:
        state = states.get(row.job_id)
        if state is None:
            why = f"there is no job {row.job_id} to wait for; `greenrun list --all` shows those that there are"
            yield InputProblem(field="after", message=why)
        elif is_in_vain(row, state):
            why = f"job {row.job_id} has {ended_text(state)}, so a job that waits for it to succeed would never start"
            yield InputProblem(field="after", message=f"{why}: leave it out, or wait for {row.job_id}:any")


def _with_index(problems: Sequence[InputProblem], index: int, groups: Sequence[object]) -> list[InputProblem]:
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


def require_room(queued: int, more: int, limit: int) -> None:
    """Raise InvalidJob unless so many more jobs may be queued."""
    if queued + more > limit:
        raise InvalidJob(
            f"{queued} jobs are queued and no more than {limit} may be, so nothing was accepted: "
            "wait until some have started, or cancel some."
        )


def _as_if_stored(spec: JobSpec, caller: Viewer, now: datetime) -> Job:
    return Job(id=0, spec=spec, user=caller.name, uid=caller.uid, state=State.QUEUED, submitted_at=now)


def _new_job_out(job: Job, preview: Preview) -> JobOut:
    return job_out(job, preview.placement, preview.reason)

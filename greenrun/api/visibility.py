"""Answers as a caller may see them: what `core/jobs/access.py` allows of each job, and no more.

What is shown of a listed job is named here, so that a field which somebody adds is hidden until it is named, too.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from greenrun.api.device_models import DeviceOut
from greenrun.api.job_models import (
    EventOut,
    ExplainOut,
    JobOut,
    OccupiedOut,
    PlacementOut,
    PlannedOut,
    PlanOut,
    ReasonOut,
    RunOut,
    WaitingOut,
    jobs_out,
)
from greenrun.api.service import Service
from greenrun.core.errors import InputProblem, InvalidJob
from greenrun.core.jobs.access import (
    Access,
    AccessRules,
    Viewer,
    is_same_user,
    jobs_named,
    name_for_others,
    reason_for_others,
    without_jobs,
)
from greenrun.core.jobs.job import Event, Job
from greenrun.core.jobs.reasons import Reason
from greenrun.core.jobs.stored_transitions import Permit
from greenrun.core.jobs.trail import EventKind
from greenrun.core.planning.model import Placement, Plan, Waiting
from greenrun.reports.rows.reader import Reader

Model = TypeVar("Model", RunOut, PlannedOut, PlacementOut)

# Of a job that is listed to others: who, which, where it stands, GPUs and times.
LISTED_JOB = frozenset({
    "id", "user", "name", "access", "project", "priority", "state", "reason", "held", "cancel_requested", "gpus",
    "gpu_model", "submitted_at", "finished_at", "requeued_at", "retry_at", "duration_s", "planned", "runs",
})  # fmt: skip
LISTED_RUN = frozenset({"id", "number", "started_at", "ended_at", "duration_s", "outcome", "devices"})
LISTED_PLANNED = frozenset({"start", "end", "pieces", "promised", "put_offs"})
LISTED_PLACEMENT = LISTED_PLANNED | {"job", "gpus", "late", "reason"}
_OF_SIGN_IN = (
    EventKind.SIGNED_IN,
    EventKind.SIGNED_OUT,
    EventKind.SESSION_REVOKED,
    EventKind.TOKEN_CREATED,
    EventKind.TOKEN_REVOKED,
    EventKind.ACCESS_REFUSED,
)
_OF_BUDGETS = (EventKind.BUDGET_NEAR, EventKind.BUDGET_SPENT)
LISTED_DETAIL = frozenset({"number", "state", "outcome", "devices", "project", "was"})


def control_of(daemon: Service, caller: Viewer) -> Permit:
    """Return what raises NotPermitted for a job that the caller may not change, JobNotFound for a hidden one."""
    return partial(daemon.settings.access.require_all, caller)


def hides_jobs(daemon: Service, caller: Viewer) -> bool:
    """Whether the jobs of others are hidden from the caller altogether."""
    return daemon.settings.access.access(caller, -2) is Access.NOTHING


def seen_jobs(daemon: Service, caller: Viewer, jobs: Sequence[Job]) -> list[JobOut]:
    """Return those of these jobs that the caller may see, as far as that; raise StoreError."""
    levels = {job.id: daemon.settings.access.access(caller, job.uid, job.user) for job in jobs}
    shown = [job for job in jobs if levels[job.id] is not Access.NOTHING]
    outs = jobs_out(shown, daemon.store, daemon.scheduler.plan())
    told = [_seen_job(job, out, levels[job.id]) for job, out in zip(shown, outs, strict=True)]
    if not hides_jobs(daemon, caller):
        return told
    is_visible = visible_among(daemon, caller, _reasons(told))
    return [_without_hidden(out, is_visible) for out in told]


def _seen_job(job: Job, out: JobOut, level: Access) -> JobOut:
    if level is not Access.LISTED:
        return _changed(out, {"access": level.name.lower()})
    hidden = dict.fromkeys(name for name in type(out).model_fields if name not in LISTED_JOB)
    reason = out.reason and reason_for_others(Reason(out.reason.code, out.reason.text))
    shown: dict[str, Any] = {"name": name_for_others(job), "access": level.name.lower()}
    shown["reason"] = reason and ReasonOut(code=reason.code, text=reason.text)
    shown["planned"] = _seen_planned(out.planned)
    shown["runs"] = [_only(run, LISTED_RUN) for run in out.runs]
    return _changed(out, {**hidden, **shown})


def _changed(out: JobOut, told: Mapping[str, Any]) -> JobOut:
    changed: JobOut = out.model_copy(update=told)
    return changed


def _seen_planned(planned: PlannedOut | None) -> PlannedOut | None:
    return None if planned is None else _only(PlannedOut.model_validate(planned), LISTED_PLANNED)


def _only(row: Model, shown: Collection[str]) -> Model:
    return row.model_copy(update=dict.fromkeys(name for name in type(row).model_fields if name not in shown))


def _reasons(outs: Iterable[JobOut]) -> list[str]:
    return [out.reason.text for out in outs if out.reason]


def _without_hidden(out: JobOut, is_visible: Callable[[int], bool]) -> JobOut:
    """Return a job whose reason names no hidden ones."""
    if out.reason is None:
        return out
    text = without_jobs(out.reason.text, is_visible)
    return _changed(out, {"reason": ReasonOut(code=out.reason.code, text=text)})


def visible_among(daemon: Service, caller: Viewer, texts: Iterable[str]) -> Callable[[int], bool]:
    """Return which of the jobs that sentences name the caller may see."""
    owners = daemon.store.jobs.owners(jobs_named(texts))
    seen = {job_id for job_id, uid in owners.items() if daemon.settings.access.access(caller, uid)}
    return seen.__contains__


def seen_sentences(daemon: Service, caller: Viewer, sentences: Sequence[str]) -> list[str]:
    """Return sentences that name no hidden job."""
    if not hides_jobs(daemon, caller):
        return list(sentences)
    is_visible = visible_among(daemon, caller, sentences)
    return [without_jobs(text, is_visible) for text in sentences]


@contextmanager
def as_seen(daemon: Service, caller: Viewer) -> Iterator[None]:
    """Let the refusal of a plan name no hidden job."""
    try:
        yield
    except InvalidJob as exc:
        raise _seen_refusal(daemon, caller, exc) from exc


def _seen_refusal(daemon: Service, caller: Viewer, refusal: InvalidJob) -> InvalidJob:
    texts = [str(refusal), *(row.message for row in refusal.problems)]
    if not hides_jobs(daemon, caller) or not jobs_named(texts):
        return refusal
    said, *messages = seen_sentences(daemon, caller, texts)
    rows = zip(refusal.problems, messages, strict=True)
    return type(refusal)(said, [InputProblem(field=row.field, message=message) for row, message in rows])


def seen_explanation(daemon: Service, caller: Viewer, job: Job, told: ExplainOut) -> ExplainOut:
    """Return as much of an explanation as the caller may read of the job."""
    access = daemon.settings.access
    level = access.access(caller, job.uid, job.user)
    if level is not Access.LISTED:
        sentences = seen_sentences(daemon, caller, told.sentences)
        is_visible = visible_among(daemon, caller, [told.reason.text] if told.reason else [])
        own = told.reason
        if own and hides_jobs(daemon, caller):
            own = ReasonOut(code=own.code, text=without_jobs(own.text, is_visible))
        return told.model_copy(update={"sentences": sentences, "reason": own})
    reason = told.reason and reason_for_others(Reason(told.reason.code, told.reason.text))
    said = [f"Job {job.id} ({name_for_others(job)}) of {job.user} {job.state.said}."]
    said += [f"{reason.text[:1].upper()}{reason.text[1:]}."] if reason else []
    said += [
        f'[sharing] others = "{access.others}" shows others its name, state, GPUs and times alone; '
        f"its owner, {access.who_may_all} may see more."
    ]
    shown = {"sentences": said, "planned": _seen_planned(told.planned), "duration_source": None}
    return told.model_copy(update={**shown, "reason": reason and ReasonOut(code=reason.code, text=reason.text)})


def seen_plan(daemon: Service, caller: Viewer, plan: Plan) -> PlanOut:
    """Return a plan with the places of the jobs that the caller may see; of hidden ones when and how many GPUs."""
    rows: list[Placement | Waiting] = [*plan.placements, *plan.waiting]
    access = daemon.settings.access
    if access.may_all(caller):
        return PlanOut.model_validate(plan)
    owners = daemon.store.jobs.owners([row.job_id for row in rows])
    levels = {job_id: access.access(caller, uid) for job_id, uid in owners.items()}
    out = PlanOut.model_validate(plan)
    hidden = {row.job_id for row in rows if not levels.get(row.job_id)}
    is_visible: Callable[[int], bool] = bool
    if hides_jobs(daemon, caller):
        is_visible = visible_among(daemon, caller, [row.reason.text for row in rows if row.job_id not in hidden])
    placements = [_seen_placement(row, levels[row.job], is_visible) for row in out.placements if row.job not in hidden]
    waiting = [_seen_waiting(row, levels[row.job], is_visible) for row in out.waiting if row.job not in hidden]
    others = [
        OccupiedOut(start=start, end=end, gpus=row.gpus)
        for row in plan.placements if row.job_id in hidden for start, end in row.pieces or ((row.start, row.end),)
    ]  # fmt: skip
    told = {"placements": placements, "waiting": waiting, "others": others}
    return out.model_copy(update={**told, "others_waiting": len(out.waiting) - len(waiting)})


def _seen_placement(row: PlacementOut, level: Access, is_visible: Callable[[int], bool]) -> PlacementOut:
    reason = _seen_reason(row.reason, level, is_visible)
    shown = row if level is not Access.LISTED else _only(row, LISTED_PLACEMENT)
    return shown.model_copy(update={"reason": reason})


def _seen_waiting(row: WaitingOut, level: Access, is_visible: Callable[[int], bool]) -> WaitingOut:
    return row.model_copy(update={"reason": _seen_reason(row.reason, level, is_visible)})


def _seen_reason(reason: ReasonOut, level: Access, is_visible: Callable[[int], bool]) -> ReasonOut:
    told = Reason(reason.code, reason.text)
    told = told if level is not Access.LISTED else reason_for_others(told) or told
    return ReasonOut(code=told.code, text=without_jobs(told.text, is_visible))


def audience(daemon: Service, caller: Viewer) -> int | None:
    """Return as whom to look for events: None for those who may see all, else only what is the caller's own or did."""
    access = daemon.settings.access
    return None if access.access(caller, -2) >= Access.READ else caller.uid


def seen_events(daemon: Service, caller: Viewer, events: Sequence[Event]) -> list[EventOut]:
    """Return those of these events that the caller may see, as far as that."""
    access = daemon.settings.access
    if access.may_all(caller):
        return [EventOut.model_validate(event) for event in events]
    events = [event for event in events if event.kind not in _OF_BUDGETS or _sees_budget(access, caller, event)]
    events = [event for event in events if event.kind not in _OF_SIGN_IN or _is_about(caller, event)]
    owners = daemon.store.jobs.owners({event.job_id for event in events if event.job_id is not None})
    found = []
    for event in events:
        uid = caller.uid if event.job_id is None else owners.get(event.job_id, -2)
        level = access.access(caller, uid)
        if level is Access.LISTED:
            detail = {key: event.detail[key] for key in LISTED_DETAIL if key in event.detail}
            event = replace(event, detail=detail, before=None, after=None)
        if level is not Access.NOTHING:
            found.append(EventOut.model_validate(event))
    return found


def _is_about(caller: Viewer, event: Event) -> bool:
    """Whether a sign-in, a session or a token was the caller's own: where others are is not told."""
    return caller.name in (event.actor, event.detail.get("user"))


def _sees_budget(access: AccessRules, caller: Viewer, event: Event) -> bool:
    """Whether the caller may see the budget that an event is about, `user ada` or `project vision`."""
    kind, _, name = str(event.detail.get("owner", "")).partition(" ")
    return access.sees_budget(caller, kind, name)


def seen_devices(daemon: Service, caller: Viewer, outs: Sequence[DeviceOut]) -> list[DeviceOut]:
    """Return devices of which it is only told that a job has them where the caller may not see that job."""
    if not hides_jobs(daemon, caller):
        return list(outs)
    holders = [out.leased_by_job for out in outs]
    runs = [f"run {row.run}" for out in outs for row in out.processes or () if row.run]
    texts = [*(row.text for out in outs for row in out.unavailable), *runs]
    visible, is_named = visible_jobs(daemon, caller, holders), visible_among(daemon, caller, texts)
    return [_seen_device(out, out.leased_by_job in visible, is_named) for out in outs]


def _seen_device(out: DeviceOut, is_visible: bool, is_named: Callable[[int], bool]) -> DeviceOut:
    told: dict[str, Any] = {} if is_visible else {"leased_by_job": None, "leased_by_run": None}
    told["unavailable"] = [ReasonOut(code=row.code, text=without_jobs(row.text, is_named)) for row in out.unavailable]
    if out.processes is not None:
        told["processes"] = [
            row if not row.run or is_named(int(row.run.partition(".")[0])) else row.model_copy(update={"run": None})
            for row in out.processes
        ]
    return out.model_copy(update=told)


def reader_of(daemon: Service, caller: Viewer) -> Reader:
    """Return what a report may tell the caller: of others' jobs as much as the site shows of them."""
    access = daemon.settings.access
    of_others = Access.ALL if access.may_all(caller) else access.access(caller, -2)
    return Reader(
        tells=lambda owner: is_same_user(caller, *owner) or of_others >= Access.READ,
        names=lambda owner: is_same_user(caller, *owner) or of_others >= Access.LISTED,
        is_told_all=of_others > Access.NOTHING,
    )


def readable_jobs(daemon: Service, caller: Viewer, job_ids: Iterable[int | None]) -> Collection[int]:
    """Return those of these jobs whose whole record the caller may see."""
    return _jobs_at(daemon, caller, job_ids, Access.READ)


def visible_jobs(daemon: Service, caller: Viewer, job_ids: Iterable[int | None]) -> Collection[int]:
    """Return those of these jobs that the caller may see at all."""
    return _jobs_at(daemon, caller, job_ids, Access.LISTED)


def _jobs_at(daemon: Service, caller: Viewer, job_ids: Iterable[int | None], least: Access) -> Collection[int]:
    wanted = {job_id for job_id in job_ids if job_id is not None}
    access = daemon.settings.access
    if access.may_all(caller):
        return wanted
    owners: Mapping[int, int] = daemon.store.jobs.owners(wanted)
    return {job_id for job_id, uid in owners.items() if access.access(caller, uid) >= least}

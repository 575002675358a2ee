"""Records of jobs, runs and events as values of the core, and back."""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from enum import EnumType
from typing import Any

from sqlalchemy import Row

from greenrun.core.jobs.declaration import field_infos
from greenrun.core.jobs.job import (
    After,
    ArrayPlace,
    Dependency,
    Event,
    Job,
    JobSpec,
    Outcome,
    Run,
    State,
)
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.core.jobs.trail import NewEvent
from greenrun.store.tables import EventRecord, JobRecord, RunRecord

_SPEC = field_infos(JobSpec)
_DURATIONS = tuple(row.name for row in _SPEC if row.kind is timedelta)  # as seconds, in columns _s
_INSTANTS = tuple(row.name for row in _SPEC if row.kind is datetime)
_ENUMS = {row.name: row.kind for row in _SPEC if isinstance(row.kind, EnumType)}
_LISTS = {row.name: row.item for row in _SPEC if row.item not in (None, Dependency)}
_MAPPINGS = tuple(row.name for row in _SPEC if row.kind is Mapping)
_PLACE = tuple(field.name for field in fields(ArrayPlace))
_PLAIN = tuple(field.name for field in fields(JobSpec) if field.name not in _DURATIONS)


def spec_columns(spec: JobSpec) -> dict[str, Any]:
    """Return what the columns of `jobs` hold of a spec."""
    values = {name: getattr(spec, name) for name in _PLAIN}
    values |= {f"{name}_s": _seconds(getattr(spec, name)) for name in _DURATIONS}
    values |= {name: list(getattr(spec, name)) for name in _LISTS}
    values |= {name: dict(getattr(spec, name)) for name in _MAPPINGS}
    after = [[row.job_id, row.on] for row in spec.after]
    place = spec.array
    return values | {"after": after, "array": {name: getattr(place, name) for name in _PLACE} if place else None}


def job_of(row: JobRecord) -> Job:
    """Return the job in a row of `jobs`."""
    return Job(
        id=row.id,
        spec=_spec_of(row),
        user=row.user,
        uid=row.uid,
        state=State(row.state),
        submitted_at=row.submitted_at,
        held=row.held,
        cancel_requested=row.cancel_requested,
        finished_at=row.finished_at,
        reason=reason_of(row.reason_code, row.reason_text),
        progress=timedelta(seconds=row.progress_s),
        deadline_missed=row.deadline_missed,
        retry_at=row.retry_at,
        requeued_at=row.requeued_at,
        counted_from=row.counted_from,
        over_budget=row.over_budget,
    )


def run_of(row: RunRecord | Row[Any]) -> Run:
    """Return the run in a row of `runs`."""
    return Run(
        id=row.id,
        job_id=row.job_id,
        number=row.number,
        token=row.token,
        devices=tuple(row.devices),
        claimed_at=row.claimed_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        ran=None if row.ran_s is None else timedelta(seconds=row.ran_s),
        outcome=Outcome(row.outcome) if row.outcome else None,
        exit_code=row.exit_code,
        log=row.log,
        image=row.image,
        work=row.work,
        work_unit=row.work_unit,
        work_at=row.work_at,
    )


def event_of(row: EventRecord) -> Event:
    """Return the event in a row of `events`."""
    return Event(
        id=row.id,
        at=row.at,
        actor=row.actor,
        kind=row.kind,
        job_id=row.job_id,
        run_id=row.run_id,
        detail=row.detail,
        uid=row.uid,
        pid=row.pid,
        address=row.address,
        before=row.before,
        after=row.after,
    )


def event_columns(event: NewEvent, job_id: int | None = None, run_id: int | None = None) -> dict[str, Any]:
    """Return what the columns of `events` hold of an event, but for its id."""
    origin = event.origin
    return {
        "at": event.at,
        "actor": event.actor,
        "kind": event.kind,
        "job_id": job_id,
        "run_id": run_id,
        "detail": dict(event.detail),
        "uid": origin.uid if origin else None,
        "pid": origin.pid if origin else None,
        "address": origin.address if origin else None,
        "before": None if event.before is None else dict(event.before),
        "after": None if event.after is None else dict(event.after),
    }


def job_columns(job: Job) -> dict[str, Any]:
    """Return what the columns of `jobs` hold of a job, but for its id."""
    return _own_columns(job) | spec_columns(job.spec)


def as_stored(job: Job, job_id: int) -> Job:
    """Return a job as it comes back from the file, with its id: instants in UTC, labels by name."""
    return replace(
        job,
        id=job_id,
        spec=_spec_as_stored(job.spec),
        submitted_at=job.submitted_at.astimezone(UTC),
        finished_at=job.finished_at and job.finished_at.astimezone(UTC),
        retry_at=job.retry_at and job.retry_at.astimezone(UTC),
        requeued_at=job.requeued_at and job.requeued_at.astimezone(UTC),
    )


def changed_columns(before: Job, job: Job) -> dict[str, Any]:
    """Return those columns of `jobs` that differ."""
    old, new = _own_columns(before), _own_columns(job)
    if job.spec is not before.spec:
        old, new = old | spec_columns(before.spec), new | spec_columns(job.spec)
    return {name: value for name, value in new.items() if value != old[name]}


def run_columns(run: Run) -> dict[str, Any]:
    """Return what the columns of `runs` hold of a run, but for its id."""
    values = {field.name: getattr(run, field.name) for field in fields(Run) if field.name not in ("id", "ran")}
    ran_s = None if run.ran is None else run.ran.total_seconds()
    return values | {"devices": list(run.devices), "ran_s": ran_s}


def reason_columns(reason: Reason | None) -> dict[str, Any]:
    """Return what the columns of `jobs` hold of a reason."""
    return {"reason_code": reason.code if reason else None, "reason_text": reason.text if reason else None}


def reason_of(code: str | None, text: str | None) -> Reason | None:
    """Return the reason in these columns."""
    return Reason(ReasonCode(code), text or "") if code else None


def _own_columns(job: Job) -> dict[str, Any]:
    """Return the columns of a job beside those of its spec."""
    return {
        "user": job.user,
        "uid": job.uid,
        "state": job.state,
        "held": job.held,
        "cancel_requested": job.cancel_requested,
        "deadline_missed": job.deadline_missed,
        "retry_at": job.retry_at,
        "requeued_at": job.requeued_at,
        "counted_from": job.counted_from,
        "over_budget": job.over_budget,
        "submitted_at": job.submitted_at,
        "finished_at": job.finished_at,
        "progress_s": job.progress.total_seconds(),
        **reason_columns(job.reason),
    }


def _spec_of(row: JobRecord) -> JobSpec:
    values: dict[str, Any] = {name: getattr(row, name) for name in _PLAIN}
    values |= {name: _duration(getattr(row, f"{name}_s")) for name in _DURATIONS}
    values |= {name: kind(values[name]) for name, kind in _ENUMS.items() if values[name] is not None}
    values |= {name: tuple(map(item, values[name])) for name, item in _LISTS.items()}
    values["after"] = tuple(Dependency(job_id=job_id, on=After(on)) for job_id, on in row.after)
    values["array"] = ArrayPlace(**row.array) if row.array else None
    return JobSpec(**values)


def _spec_as_stored(spec: JobSpec) -> JobSpec:
    changed: dict[str, Any] = {}
    for name in _INSTANTS:
        instant = getattr(spec, name)
        if instant is not None and instant.tzinfo is not UTC:
            changed[name] = instant.astimezone(UTC)
    if list(spec.labels) != sorted(spec.labels):
        changed["labels"] = dict(sorted(spec.labels.items()))
    return replace(spec, **changed) if changed else spec


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)

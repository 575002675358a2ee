"""The audit trail of jobs: what happened, who did it, and what a job's fields were before and after it.

Values of environment variables may be secret, so only the names of those that changed are told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from greenrun.core.formatting import iso_text
from greenrun.core.jobs.declaration import FieldInfo, field_infos
from greenrun.core.jobs.job import FINISHED, ArrayPlace, Dependency, Job, JobSpec, Origin

MOST_CHARACTERS = 1000  # of a text that is told; more of it is cut off
MOST_ENTRIES = 100  # of a list or a mapping

Facts = Mapping[str, Any]

SCHEDULER = "scheduler"  # the actor of what the daemon does by itself

_STANDING = (
    "state",
    "held",
    "cancel_requested",
    "deadline_missed",
    "retry_at",
    "over_budget",
)  # of a job, beside its spec


class EventKind(StrEnum):
    """What an event is about."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    STARTED = "started"
    REQUEUED = "requeued"
    FINISHED = "finished"
    EDITED = "edited"
    HELD = "held"
    RELEASED = "released"
    CANCEL_REQUESTED = "cancel_requested"
    START_NOW_REQUESTED = "start_now_requested"
    REASON_CHANGED = "reason_changed"
    ANOMALY = "anomaly"
    WORK_IGNORED = "work_ignored"
    DAEMON_STARTED = "daemon_started"
    DAEMON_STOPPED = "daemon_stopped"
    DRAINED = "drained"
    RESUMED = "resumed"
    RESERVED = "reserved"
    RESERVATION_ENDED = "reservation_ended"
    LIMIT_MISSED = "limit_missed"
    PAUSE_ENDED = "pause_ended"
    RUN_END_REQUESTED = "run_end_requested"
    HISTORY_CHANGED = "history_changed"
    SETTINGS_CHANGED = "settings_changed"
    DEVICES_CHANGED = "devices_changed"
    EVENTS_DELETED = "events_deleted"
    LIMIT_AT_RISK = "limit_at_risk"
    BUDGET_NEAR = "budget_near"
    BUDGET_SPENT = "budget_spent"
    BUDGET_APPROVED = "budget_approved"
    SOURCE_LOST = "source_lost"
    SOURCE_BACK = "source_back"
    CONDITION_BEGAN = "condition_began"
    CONDITION_OVER = "condition_over"
    POWER_LIMIT_SET = "power_limit_set"
    POWER_LIMIT_ENDED = "power_limit_ended"
    NOTIFICATION_FAILED = "notification_failed"
    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"
    SESSION_REVOKED = "session_revoked"
    TOKEN_CREATED = "token_created"
    TOKEN_REVOKED = "token_revoked"
    ACCESS_REFUSED = "access_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event of the job and run of a change; `detail` holds short facts, never secrets.

    `origin` is where what a user did came from. `before` and `after` are the fields that changed, as they were and are.
    """

    kind: EventKind
    at: datetime
    actor: str = SCHEDULER
    detail: Mapping[str, object] = field(default_factory=dict)
    origin: Origin | None = None
    before: Facts | None = None
    after: Facts | None = None


def changed_fields(before: Job, after: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a job that differ, as values of JSON: as they were, and as they are.

    Of its environment these are the names whose values were taken away, and those that were given. That the values are
    deleted when a job ends is no change of its user's.
    """
    old, new = _standing(before), _standing(after)
    was = {name: value for name, value in old.items() if value != new[name]}
    now = {name: new[name] for name in was}
    if before.spec is not after.spec:
        for row in field_infos(JobSpec):
            _compare(row, before, after, was, now)
    return was, now


def told(value: Any) -> Any:
    """Return a value as JSON has it, cut short where it is very long."""
    if isinstance(value, str):
        return str(value) if len(value) <= MOST_CHARACTERS else f"{value[:MOST_CHARACTERS]}…"
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return iso_text(value)
    if isinstance(value, Dependency):
        return [value.job_id, value.on.value]
    if isinstance(value, ArrayPlace):
        return value.index
    if isinstance(value, Mapping):
        return {str(key): told(one) for key, one in list(value.items())[:MOST_ENTRIES]}
    if isinstance(value, Sequence):
        return [told(one) for one in value[:MOST_ENTRIES]]
    return value


def _standing(job: Job) -> dict[str, Any]:
    values = {name: told(getattr(job, name)) for name in _STANDING}
    return values | {"progress_s": told(job.progress)}


def _compare(row: FieldInfo, before: Job, after: Job, was: dict[str, Any], now: dict[str, Any]) -> None:
    """Add a field of the spec to what differs, if it does."""
    old, new = getattr(before.spec, row.name), getattr(after.spec, row.name)
    if old == new:
        return
    if row.name == "env":
        if after.state not in FINISHED:
            was["env"] = told(sorted(name for name in old if old[name] != new.get(name)))
            now["env"] = told(sorted(name for name in new if new[name] != old.get(name)))
        return
    was[row.json_name], now[row.json_name] = told(old), told(new)

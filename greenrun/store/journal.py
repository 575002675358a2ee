"""What every change of a job leaves behind in its transaction: the move itself, an event, and the counters."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from greenrun.core.errors import InvalidTransition
from greenrun.core.jobs.job import FINISHED, TRANSITIONS, State
from greenrun.store.records import job_of
from greenrun.store.tables import COUNTERS, EVENTS, JOBS, RUNS

SCHEDULER = "scheduler"  # the actor of what the daemon does by itself
NOTHING: Mapping[str, object] = MappingProxyType({})

CounterKey = tuple[str, tuple[tuple[str, str], ...]]

SUBMITTED = "greenrun_jobs_submitted_total"
FINISHED_JOBS = "greenrun_jobs_finished_total"
DEADLINES_MISSED = "greenrun_deadlines_missed_total"
ANOMALIES = "greenrun_anomalies_total"


class Change(StrEnum):
    """The kinds of events."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    STARTED = "started"
    REQUEUED = "requeued"
    FINISHED = "finished"
    HELD = "held"
    RELEASED = "released"
    CANCEL_REQUESTED = "cancel_requested"
    START_NOW_REQUESTED = "start_now_requested"
    REASON_CHANGED = "reason_changed"
    ANOMALY = "anomaly"
    WORK_IGNORED = "work_ignored"


def record(
    connection: Connection,
    change: Change,
    *,
    at: datetime,
    actor: str = SCHEDULER,
    job_id: int | None = None,
    run_id: int | None = None,
    detail: Mapping[str, object] = NOTHING,
) -> None:
    """Add an event; `detail` holds short facts."""
    connection.execute(
        insert(EVENTS).values(at=at, actor=actor, kind=change, job_id=job_id, run_id=run_id, detail=dict(detail))
    )


def key(name: str, **labels: str) -> CounterKey:
    """Return a counter's key, its labels sorted."""
    return name, tuple(sorted(labels.items()))


def count(connection: Connection, amounts: Mapping[CounterKey, float]) -> None:
    """Add these amounts (never negative) to the persisted counters."""
    rows = [{"name": name, "labels": dict(labels), "value": amount} for (name, labels), amount in amounts.items()]
    if not rows:
        return
    statement = upsert(COUNTERS)
    added = statement.on_conflict_do_update(
        index_elements=[COUNTERS.c.name, COUNTERS.c.labels],
        set_={"value": COUNTERS.c.value + statement.excluded.value},
    )
    connection.execute(added, rows)


def move_job(connection: Connection, job_id: int, old: State, new: State, **values: Any) -> bool:
    """Compare-and-set a job's state, with other columns; raise InvalidTransition for an unlisted move."""
    if (old, new) not in TRANSITIONS:
        raise InvalidTransition(f"job {job_id} cannot go from {old} to {new}; nothing was changed")
    if new in FINISHED:
        env = connection.scalar(select(JOBS.c.env).where(JOBS.c.id == job_id)) or {}
        values["env"] = dict.fromkeys(env, "")  # values may be secrets, and nobody needs them any more
    moved = connection.execute(update(JOBS).where(JOBS.c.id == job_id, JOBS.c.state == old).values(state=new, **values))
    return moved.rowcount == 1


def count_missed_limit(connection: Connection, job_id: int, at: datetime) -> None:
    """Count, once per job, that at this instant (its start or end) it has missed a limit of its user's."""
    row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).one()
    first_start = connection.scalar(select(func.min(RUNS.c.started_at)).where(RUNS.c.job_id == job_id))
    if row.deadline_missed or not job_of(row).misses_limit(first_start or row.submitted_at, at):
        return
    connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(deadline_missed=True))
    count(connection, {key(DEADLINES_MISSED): 1})

"""What is wrong with the daemon or its machine at present: a code for programs, sentences for people, and since when.

Health checks, readiness, `greenrun doctor` and the log all tell these, and nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

STALLED_AFTER = timedelta(seconds=60)  # without a tick, or a reading of a meter


class ConditionCode(StrEnum):
    """Stable codes."""

    RECOVERING = "recovering"
    STOPPING = "stopping"
    TICKS_STALLED = "ticks_stalled"
    METER_SILENT = "meter_silent"
    DISK_FULL = "disk_full"
    DATABASE_LOST = "database_lost"
    DATABASE_DAMAGED = "database_damaged"
    DATABASE_UNUSABLE = "database_unusable"
    RUNS_FOLDER_LOST = "runs_folder_lost"
    SOCKET_LOST = "socket_lost"
    LOCK_LOST = "lock_lost"
    STARTS_PAUSED = "starts_paused"
    FEW_DESCRIPTORS = "few_descriptors"
    STRAY_RUNS = "stray_runs"
    GPU_LOST = "gpu_lost"
    POWER_ABOVE_CAP = "power_above_cap"


class Effect(StrEnum):
    """What a condition means: the daemon does not do its work, starts nothing for now, or should be looked at."""

    FAILING = "failing"
    NOT_READY = "not_ready"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that is wrong: what happened and what greenrun does now (`text`), and what a person can do."""

    code: ConditionCode
    effect: Effect
    text: str
    remedy: str
    since: datetime


def first_seen(found: Iterable[Condition], known: Iterable[Condition]) -> tuple[Condition, ...]:
    """Return what was found, each since when it was first seen without a break; `known` is what there was before."""
    since = {row.code: row.since for row in known}
    return tuple(replace(row, since=min(since.get(row.code, row.since), row.since)) for row in found)


def of_liveness(
    *,
    now: datetime,
    started_at: datetime,
    last_tick_at: datetime | None,
    last_sample_at: datetime | None,
    has_meter: bool,
    is_stopping: bool,
    limit: timedelta = STALLED_AFTER,
) -> list[Condition]:
    """Return what stands still, and that the daemon has yet to begin its work, or ends it."""
    found = standing_still(
        now=now, started_at=started_at, last_tick_at=last_tick_at, last_sample_at=last_sample_at,
        has_meter=has_meter, limit=limit,
    )  # fmt: skip
    if last_tick_at is None:
        found.append(
            Condition(
                code=ConditionCode.RECOVERING, effect=Effect.NOT_READY, text="has not finished its first tick yet",
                remedy="wait; if it lasts, the log says what fails", since=started_at,
            )
        )  # fmt: skip
    if is_stopping:
        found.append(
            Condition(
                code=ConditionCode.STOPPING, effect=Effect.NOT_READY, text="is stopping and starts nothing new",
                remedy="start greenrun again; jobs that run go on meanwhile", since=now,
            )
        )  # fmt: skip
    return found


def standing_still(
    *,
    now: datetime,
    started_at: datetime,
    last_tick_at: datetime | None,
    last_sample_at: datetime | None,
    has_meter: bool,
    limit: timedelta,
) -> list[Condition]:
    """Return what has not happened for longer than the limit; an instant ahead of now means that the clock was set."""
    seconds = f"{limit.total_seconds():g} s"
    found = []
    if abs(now - (last_tick_at or started_at)) > limit:
        found.append(
            Condition(
                code=ConditionCode.TICKS_STALLED, effect=Effect.FAILING, since=last_tick_at or started_at,
                text=f"the last tick is older than {seconds}",
                remedy="the log says why ticks fail; if it says nothing, restart greenrun: running jobs go on",
            )
        )  # fmt: skip
    if has_meter and abs(now - (last_sample_at or started_at)) > limit:
        found.append(
            Condition(
                code=ConditionCode.METER_SILENT, effect=Effect.FAILING, since=last_sample_at or started_at,
                text=f"the last meter sample is older than {seconds}",
                remedy="the log says what the meter says; look at the driver (nvidia-smi, amd-smi)",
            )
        )  # fmt: skip
    return found

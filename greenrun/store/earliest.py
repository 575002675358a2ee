"""Where runs would have been, each started as soon as it could: kept as they end, or at once for an older database."""

import json
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, String, func, insert, or_, select, type_coerce

from greenrun.core.energy.baseline import BaselineInterval, EndedRun, baseline_interval
from greenrun.core.jobs.job import Job, Outcome, Run
from greenrun.store.columns import among
from greenrun.store.records import job_of, run_of
from greenrun.store.tables import BASELINES, JOBS, RUNS


class _Before(NamedTuple):
    """A run that may keep another one waiting: whose it was, how it ended, and when it would have."""

    job_id: int
    outcome: Outcome
    ends: datetime


def keep_place(connection: Connection, run: Run) -> None:
    """Keep where a run that has ended would have been; every run that started before it on its GPUs has its place."""
    if run.started_at is None or run.ended_at is None:
        return
    job = job_of(connection.execute(select(JOBS).where(JOBS.c.id == run.job_id)).one())
    found = _place(job, run, _before(connection, job), partial(_held, connection, run))
    _insert(connection, [(run, found)])


def keep_missing_places(connection: Connection) -> None:
    """Give the runs of a database that is older than baselines their places: thousands, so all of it in memory."""
    ended = RUNS.c.started_at.is_not(None) & RUNS.c.ended_at.is_not(None) & RUNS.c.outcome.is_not(None)
    without = select(RUNS.c.job_id).outerjoin(BASELINES).where(ended, BASELINES.c.run_id.is_(None))
    lacking = connection.scalars(without).all()
    if not lacking:
        return
    jobs = {row.id: job_of(row) for row in connection.execute(select(JOBS).where(among(JOBS.c.id, lacking)))}
    query = select(RUNS, BASELINES.c.started_at.label("place_starts"), BASELINES.c.ended_at.label("place_ends"))
    in_turn = query.outerjoin(BASELINES).where(ended).order_by(RUNS.c.started_at, RUNS.c.id)
    before: defaultdict[int, list[_Before]] = defaultdict(list)
    held: defaultdict[str, list[tuple[datetime, datetime]]] = defaultdict(list)  # by device: (end, start), in order
    new = []
    for row in connection.execute(in_turn).all():
        run = run_of(row)
        if row.place_starts is None:
            job = jobs[run.job_id]
            waits = [each for key in _waits_for(job) for each in before[key]]
            found = _place(job, run, waits, partial(_later, held, run.devices))
            new.append((run, found))
        else:
            found = BaselineInterval(start=row.place_starts, end=row.place_ends)
        before[run.job_id].append(_Before(run.job_id, Outcome(row.outcome), found.end))
        for device in run.devices:
            insort(held[device], (found.end, found.start))
    _insert(connection, new)


def _place(
    job: Job, run: Run, before: Sequence[_Before], held: Callable[[datetime], Iterable[BaselineInterval]]
) -> BaselineInterval:
    """Return where a run would have been; `held` tells which places on its GPUs end after an instant."""
    if run.started_at is None or run.ended_at is None:
        raise ValueError(f"run {run.id} has not ended, so it has no place yet")
    is_resumed = any(each.job_id == job.id and each.outcome is Outcome.CHECKPOINTED for each in before)
    loads = job.spec.restart_cost if is_resumed else timedelta(0)
    stint = EndedRun(start=min(run.started_at, run.ended_at), end=run.ended_at, loads=loads)  # the clock may go back
    ready = max([job.earliest_start, *(each.ends for each in before)])
    return baseline_interval(stint, ready, held(ready))


def _waits_for(job: Job) -> list[int]:
    """Return the jobs whose runs must have ended: its own come one after the other."""
    return [job.id, *(row.job_id for row in job.spec.after)]


def _before(connection: Connection, job: Job) -> list[_Before]:
    query = select(RUNS.c.job_id, RUNS.c.outcome, BASELINES.c.ended_at).join(BASELINES, BASELINES.c.run_id == RUNS.c.id)
    rows = connection.execute(query.where(among(RUNS.c.job_id, _waits_for(job))))
    return [_Before(job_id, Outcome(outcome), ends) for job_id, outcome, ends in rows]


def _held(connection: Connection, run: Run, after: datetime) -> list[BaselineInterval]:
    """Return the places on a run's GPUs that end after an instant; a device is told apart by its JSON text."""
    if not run.devices:
        return []
    devices = type_coerce(RUNS.c.devices, String)
    mine = or_(*(func.instr(devices, json.dumps(device)) > 0 for device in run.devices))
    query = select(BASELINES.c.started_at, BASELINES.c.ended_at).join(RUNS, RUNS.c.id == BASELINES.c.run_id)
    rows = connection.execute(query.where(BASELINES.c.ended_at > after, mine)).all()
    return [BaselineInterval(start=start, end=end) for start, end in rows]


def _later(
    held: defaultdict[str, list[tuple[datetime, datetime]]], devices: Iterable[str], after: datetime
) -> list[BaselineInterval]:
    """Return what `_held` does, of places in memory."""
    rows = [held[device][bisect_right(held[device], after, key=lambda row: row[0]) :] for device in devices]
    return [BaselineInterval(start=start, end=end) for own in rows for end, start in own]


def _insert(connection: Connection, found: Sequence[tuple[Run, BaselineInterval]]) -> None:
    rows: list[dict[str, Any]] = [
        {"run_id": run.id, "started_at": interval.start, "ended_at": interval.end} for run, interval in found
    ]
    connection.execute(insert(BASELINES), rows)

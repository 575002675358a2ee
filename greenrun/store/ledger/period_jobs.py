"""Read the jobs and runs of a period as columns, and what rows tell of single jobs."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Select, String, or_, select, type_coerce
from sqlalchemy.orm import Session

from greenrun.core.accounting.grouping import Codes, Numbering
from greenrun.core.accounting.parts import Integers
from greenrun.core.accounting.period import NEVER, NO_OUTCOME, OUTCOMES, STATES, JobDetails, JobTable, RunTable
from greenrun.core.accounting.usage import Owner
from greenrun.core.carbon.intensity import Floats
from greenrun.core.jobs.spec import title_of
from greenrun.store.columns import among
from greenrun.store.tables import BASELINES, JOBS, RUNS

AT_ONCE = 2000  # rows of the database that are there as such at one time
NOT_ENDED = "a run has not ended"
NOT_SETTLED = "not all of it is settled yet"

_OUTCOME: dict[str | None, int] = {outcome.value: at for at, outcome in enumerate(OUTCOMES)} | {None: NO_OUTCOME}
_STATE = {state.value: at for at, state in enumerate(STATES)}


def jobs_and_runs(
    session: Session, start: datetime, end: datetime, booked: Collection[int], peaks_w: Floats
) -> tuple[JobTable, RunTable]:
    """Return the jobs that held something then, or have slices of it (`booked`), with all of their runs, each by id."""
    overlaps = (RUNS.c.started_at < end) & or_(RUNS.c.ended_at.is_(None), RUNS.c.ended_at >= start)
    query = select(RUNS.c.id, RUNS.c.job_id)
    held = _pairs(session, query.where(overlaps))
    others = np.setdiff1d(np.array(booked, dtype=np.int64), held[0]).tolist()
    wanted = np.unique(np.concatenate([held[1], _pairs(session, query.where(among(RUNS.c.id, others)))[1]])).tolist()
    jobs = _jobs(session, wanted)
    return jobs, _runs(session, wanted, jobs.id, peaks_w)


def _pairs(session: Session, query: Select[Any]) -> Integers:
    none = np.zeros((2, 0), dtype=np.int64)
    return np.concatenate([none, *(np.array(some, dtype=np.int64) for some in _chunks(session, query))], axis=1)


def _jobs(session: Session, job_ids: Sequence[int]) -> JobTable:
    query = select(JOBS.c.id, JOBS.c.project, JOBS.c.uid, JOBS.c.user, JOBS.c.state)
    projects, owners = Numbering(), Numbering()
    columns: list[list[Codes]] = [[], [], [], []]
    for ids, names, uids, users, states in _chunks(session, query.where(_are(JOBS.c.id, job_ids)).order_by(JOBS.c.id)):
        whose = owners.codes(zip(uids, users, strict=True))
        some = np.array(ids, dtype=np.int64), projects.codes(names), whose, _codes(_STATE, states)
        for column, values in zip(columns, some, strict=True):
            column.append(values)
    job_id, project, owner, state = (np.concatenate([np.zeros(0, dtype=np.int64), *column]) for column in columns)
    return JobTable(
        id=job_id,
        projects=list(projects),
        project=project,
        owners=[Owner(*each) for each in owners],
        owner=owner,
        state=state,
    )


def _runs(session: Session, job_ids: Sequence[int], known: Integers, peaks_w: Floats) -> RunTable:
    text = [type_coerce(column, String) for column in (RUNS.c.devices, RUNS.c.started_at, RUNS.c.ended_at)]
    baseline = type_coerce(BASELINES.c.at, String), BASELINES.c.run_id, BASELINES.c.why
    query = (
        select(
            RUNS.c.id,
            RUNS.c.job_id,
            *text,
            RUNS.c.outcome,
            RUNS.c.exit_code,
            RUNS.c.ran_s,
            RUNS.c.work,
            RUNS.c.work_unit,
            *baseline,
        )
        .outerjoin(BASELINES, BASELINES.c.run_id == RUNS.c.id)
        .where(_are(RUNS.c.job_id, job_ids))
        .order_by(RUNS.c.id)
    )
    whys, holdings = Numbering(), Numbering()
    found = [_some_runs(columns, known, whys, holdings) for columns in _chunks(session, query)]
    lists: dict[str, Any] = {
        name: [each for some in found for each in some[name]] for name in ("exit_code", "work_unit")
    }
    arrays: dict[str, Any] = {
        name: np.concatenate([np.zeros(0, dtype=kind), *(some[name] for some in found)])
        for name, kind in _NUMBERS.items()
    }
    peak_w = peaks_w[np.minimum(arrays["id"], len(peaks_w) - 1)]  # the last is of runs since
    held = [tuple(json.loads(each)) for each in holdings]
    return RunTable(**lists, **arrays, whys=list(whys), holdings=held, peak_w=peak_w)


_NUMBERS = {
    "id": np.int64, "job": np.int64, "started": np.int64, "ended": np.int64, "outcome": np.int64, "why": np.int64,
    "holding": np.int64, "ran_s": np.float64, "work": np.float64,
}  # fmt: skip


def _some_runs(
    columns: Sequence[Sequence[Any]], known: Integers, whys: Numbering, holdings: Numbering
) -> dict[str, Any]:
    ids, jobs, devices, started, ended, outcomes, codes, ran_s, work, units, at, has_place, causes = columns
    return {
        "id": np.array(ids, dtype=np.int64),
        "job": np.searchsorted(known, np.array(jobs, dtype=np.int64)),
        "started": _instants(started),
        "ended": _instants(ended),
        "outcome": _codes(_OUTCOME, outcomes),
        "ran_s": np.array(ran_s, dtype=np.float64),
        "exit_code": codes,
        "holding": holdings.codes(devices),
        "work": np.array(work, dtype=np.float64),
        "work_unit": units,
        "why": whys.codes(
            NOT_ENDED if place is None else NOT_SETTLED if compared is None else cause
            for compared, place, cause in zip(at, has_place, causes, strict=True)
        ),
    }


def _codes(numbers: Mapping[Any, int], keys: Sequence[Any]) -> Codes:
    return np.array(list(map(numbers.__getitem__, keys)), dtype=np.int64)


def _instants(texts: Sequence[str | None]) -> Integers:
    """Return instants in microseconds, NEVER where there is none."""
    if texts and texts[0] is None and texts.count(None) == len(texts):  # what few jobs have
        return np.full(len(texts), NEVER)
    read = np.array([text and text[:-1] for text in texts], dtype="datetime64[us]")
    return np.where(np.isnat(read), NEVER, read.astype(np.int64))


def job_details(session: Session, job_ids: Sequence[int]) -> JobDetails:
    """Return what rows tell of these jobs, by id."""
    texts = (type_coerce(column, String) for column in (JOBS.c.command, JOBS.c.array, JOBS.c.labels, *_INSTANTS))
    query = select(JOBS.c.name, JOBS.c.git_commit, JOBS.c.gpus, *texts).where(_are(JOBS.c.id, job_ids))
    names, commits, gpus, commands, arrays, labels, *instants = _columns(session, query.order_by(JOBS.c.id))
    submitted, requeued, start_after, retry_at, finish_by, finished = map(_instants, instants)
    since = np.where(requeued == NEVER, submitted, requeued)
    return JobDetails(
        name=[
            title if array is None else f"{title}[{json.loads(array)['index']}]"
            for title, array in zip(_titles(names, commands), arrays, strict=True)
        ],
        labels=_read_once(labels),
        git_commit=commits,
        gpus=gpus,
        submitted=submitted,
        earliest_start=np.maximum(since, np.maximum(start_after, retry_at)),  # NEVER is before every other
        finish_by=finish_by,
        finished=finished,
    )


_INSTANTS = (
    JOBS.c.submitted_at, JOBS.c.requeued_at, JOBS.c.start_after, JOBS.c.retry_at, JOBS.c.finish_by, JOBS.c.finished_at
)  # fmt: skip


def _titles(names: Sequence[str], commands: Sequence[str]) -> Iterator[str]:
    """Yield what jobs are called, by their commands where they have no name."""
    read = iter(json.loads(f"[{','.join(text for name, text in zip(names, commands, strict=True) if not name)}]"))
    return (name or title_of(name, next(read)) for name in names)


def _read_once(texts: Sequence[str]) -> list[Any]:
    """Return what these JSON texts say, the same object for the same text."""
    known = {text: json.loads(text) for text in set(texts)}
    return list(map(known.__getitem__, texts))


def _are(column: ColumnElement[Any], ids: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition that a column is one of these ids, which are in order: often, all between two."""
    is_dense = len(ids) > 0 and ids[-1] - ids[0] == len(ids) - 1
    return column.between(ids[0], ids[-1]) if is_dense else among(column, ids)


def _chunks(session: Session, query: Select[Any]) -> Iterator[list[Sequence[Any]]]:
    """Yield the columns of some rows at a time: as texts, instants take much room."""
    cursor = session.connection().execute(query).cursor
    while cursor is not None and (rows := cursor.fetchmany(AT_ONCE)):
        yield list(zip(*rows, strict=True))


def _columns(session: Session, query: Select[Any]) -> list[Sequence[Any]]:
    """Return what SQLite gives, column by column; rows that know their columns would take twice as long."""
    cursor = session.connection().execute(query).cursor
    rows = [] if cursor is None else cursor.fetchall()
    return list(zip(*rows, strict=True)) if rows else [()] * len(query.selected_columns)

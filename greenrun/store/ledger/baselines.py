"""Where runs would have been, kept as each ends, and what that would have emitted, booked once when all is settled."""

import json
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import String, bindparam, func, insert, or_, select, type_coerce, update
from sqlalchemy.orm import Session

from greenrun.core.carbon.intensity import SeriesId
from greenrun.core.energy.baseline import (
    BaselineInterval,
    Comparable,
    Compared,
    EndedRun,
    Interval,
    SettledSlices,
    baseline_interval,
)
from greenrun.core.energy.gpu_parts import board_of, excludes, is_part
from greenrun.core.energy.ledger import Priced, Stage
from greenrun.core.energy.model import Quality
from greenrun.core.errors import StoreDamaged
from greenrun.core.jobs.job import Job, Outcome, Run
from greenrun.store.columns import among, epoch_s
from greenrun.store.database import Database
from greenrun.store.devices.drains import drained_intervals
from greenrun.store.gpus.capping_effects import full_power_ratios
from greenrun.store.grid import series_ids
from greenrun.store.ledger import counters
from greenrun.store.ledger.counters import count
from greenrun.store.ledger.slice_prices import BASELINE, SETTLED, price_values
from greenrun.store.ledger.totals import totals_of
from greenrun.store.records import job_of, run_of
from greenrun.store.tables import (
    BASELINES,
    JOBS,
    MARKS,
    RUNS,
    SLICES,
    UNSETTLED,
    BaselineRecord,
    JobRecord,
    RunRecord,
)

GIVEN_UP_AFTER = timedelta(days=7)  # a device that was not read for so long keeps no run waiting any more

_Ended = tuple[Any, BaselineRecord]  # the record of a run that has ended, and where it would have been


class BaselineRepository:
    """Keeps where runs would have been, and what that would have emitted; a database without gets it when opened."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with self._database.write() as session:
            keep_missing_places(session)

    def uncompared(self, before: datetime, *, after: int = 0, limit: int = 500) -> Sequence[int]:
        """Return the runs with an id above `after` that ended by `before` and wait to be compared, by id."""
        waiting = (BASELINES.c.at.is_(None), BASELINES.c.run_id > after, RUNS.c.ended_at <= before)
        query = select(BASELINES.c.run_id).join(RUNS).where(*waiting).order_by(BASELINES.c.run_id).limit(limit)
        with self._database.read() as session:
            return session.scalars(query).all()

    def comparable(self, run_ids: Sequence[int], now: datetime, *, most_slices: int = 5000) -> Sequence[Comparable]:
        """Return the first of these runs of which all is booked and settled, with their slices.

        The rest comes in its turn where all would have more than `most_slices` together.
        """
        with self._database.read() as session:
            marks = {row.device: row.at for row in session.execute(select(MARKS.c.device, MARKS.c.at))}
            rows = session.execute(_settled_runs(run_ids)).all()
            booked = [(run, place) for run, place in rows if _is_booked(run_of(run), marks, now)]
            ready = _first(session, booked, most_slices)
            ids = [run.id for run, _ in ready]
            slices, totals = _slices(session, ids), totals_of(session, ids)
            ratios = full_power_ratios(session, {run_id: own.ids.tolist() for run_id, own in slices.items()})
            return [
                Comparable(
                    run_id=run.id,
                    resumes=run.ended_at - (place.ended_at - place.started_at),
                    interval=BaselineInterval(start=place.started_at, end=place.ended_at),
                    slices=slices[run.id],
                    is_whole=totals[run.id].quality is not Quality.UNKNOWN,
                    full_power=ratios.get(run.id),
                )
                for run, place in ready
            ]

    def book_baselines(self, compared: Sequence[Compared], *, now: datetime) -> int:
        """Book what the slices of these runs would have emitted, or why that is not told, once; return how many."""
        with self._database.write() as session:
            waits = (among(BASELINES.c.run_id, [row.run_id for row in compared]), BASELINES.c.at.is_(None))
            waiting = set(session.scalars(select(BASELINES.c.run_id).where(*waits)))
            new = [row for row in compared if row.run_id in waiting]
            if not new:
                return 0
            keys = {series_id: key for key, series_id in series_ids(session).items()}
            rows = [columns for row in new for columns in _baseline_columns(row, keys, now)]
            if rows:
                session.connection().execute(update(SLICES).where(SLICES.c.id == bindparam("key")), rows)
            kept = (
                update(BASELINES).where(BASELINES.c.run_id == bindparam("run")).values(at=now, why=bindparam("cause"))
            )
            session.execute(kept, [{"run": row.run_id, "cause": row.why} for row in new])
            count(session, counters.compared(new, _projects(session, waiting)))
        return len(new)


def compared_g(session: Session, run_ids: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Return what each of these runs that is compared would have emitted, and how much it avoided, in grams."""
    told = select(BASELINES.c.run_id).where(BASELINES.c.at.is_not(None), BASELINES.c.why.is_(None))
    query = (
        select(SLICES.c.run_id, func.sum(BASELINE.emissions_g), func.sum(SETTLED.emissions_g))
        .where(SLICES.c.run_id.in_(told.where(among(BASELINES.c.run_id, run_ids))))
        .where(BASELINE.at.is_not(None), SETTLED.at.is_not(None))
        .group_by(SLICES.c.run_id)
    )
    return {run_id: (earlier, earlier - was) for run_id, earlier, was in session.execute(query)}


def _settled_runs(run_ids: Sequence[int]) -> Any:
    """Return the query for those of these runs that have no slice left that waits for its settled price."""
    waiting = select(UNSETTLED.c.slice_id).where(UNSETTLED.c.slice_id == SLICES.c.id).exists()  # IN would try them all
    unsettled = select(SLICES.c.id).where(SLICES.c.run_id == RUNS.c.id, waiting).exists()
    query = select(RunRecord, BaselineRecord).join(BaselineRecord, BASELINES.c.run_id == RUNS.c.id)
    return query.where(among(RUNS.c.id, run_ids), ~unsettled).order_by(RUNS.c.id)


def _is_booked(run: Run, marks: Mapping[str, datetime], now: datetime) -> bool:
    """Whether the devices that tell of a run are booked up to its end; without GPUs of its own that may be any."""
    if run.ended_at is None or now - run.ended_at > GIVEN_UP_AFTER:
        return True
    boards = set(map(board_of, run.devices))  # which the parts that it held are booked with
    return all(marks[device] >= run.ended_at for device in boards or marks if device in marks)


def _first(session: Session, runs: Sequence[_Ended], most_slices: int) -> list[_Ended]:
    """Return the first runs that have so many slices together, and one at least."""
    query = select(SLICES.c.run_id, func.count()).where(among(SLICES.c.run_id, [run.id for run, _ in runs]))
    counts: dict[int | None, int] = dict(map(tuple, session.execute(query.group_by(SLICES.c.run_id))))
    sums = accumulate(counts.get(run.id, 0) for run, _ in runs)
    return [run for at, (run, total) in enumerate(zip(runs, sums, strict=True)) if not at or total <= most_slices]


def _slices(session: Session, run_ids: Sequence[int]) -> dict[int, SettledSlices]:
    """Return the slices of each run as numbers: there may be hundreds of thousands."""
    query = (
        select(
            SLICES.c.run_id,
            SLICES.c.id,
            epoch_s(SLICES.c.started_at),
            epoch_s(SLICES.c.ended_at),
            SLICES.c.energy_j * SLICES.c.pue / 3.6e6,
            SETTLED.emissions_g,
            func.coalesce(SETTLED.series_id, -1),
        )
        .where(among(SLICES.c.run_id, run_ids))
        .order_by(SLICES.c.run_id, SLICES.c.started_at, SLICES.c.id)
    )
    cursor = session.connection().execute(query).cursor
    columns = np.array([] if cursor is None else cursor.fetchall(), dtype=np.float64).reshape(-1, 7).T
    series = series_ids(session)
    places = np.full(max(series, default=0) + 2, -1, dtype=np.int64)  # the last one is for what has no series
    places[list(series)] = range(len(series))
    whose = columns[0].astype(np.int64)
    found = {}
    for run_id in run_ids:
        first, last = np.searchsorted(whose, [run_id, run_id + 1])
        own = columns[:, first:last]
        found[run_id] = SettledSlices(
            ids=own[1].astype(np.int64),
            starts_s=own[2],
            ends_s=own[3],
            facility_kwh=own[4],
            settled_g=own[5],
            series_index=places[own[6].astype(np.int64)],
            series=tuple(series.values()),
        )
    return found


def _baseline_columns(compared: Compared, keys: Mapping[SeriesId, int], now: datetime) -> list[dict[str, Any]]:
    if compared.grams is None or compared.intensities is None:
        return []
    slices = compared.slices
    figures = (slices.ids.tolist(), compared.grams.tolist(), compared.intensities.tolist())
    return [
        {"key": slice_id}
        | price_values(
            Stage.BASELINE,
            now,
            Priced(
                intensity_g_per_kwh=intensity if kind is not None else None,
                emissions_g=grams,
                kind=kind,
            ),
            keys[slices.series[at]],
        )
        for slice_id, grams, intensity, kind, at in zip(*figures, compared.kinds, slices.series_index, strict=True)
    ]


def _projects(session: Session, run_ids: set[int]) -> dict[int, str]:
    query = select(RUNS.c.id, JOBS.c.project).join(JOBS).where(among(RUNS.c.id, list(run_ids)))
    return dict(map(tuple, session.execute(query)))


class _Before(NamedTuple):
    """A run that may keep another one waiting: whose it was, how it ended, and when it would have."""

    job_id: int
    outcome: Outcome
    ends: datetime


def keep_place(session: Session, job: Job, run: Run) -> None:
    """Keep where a run that has ended would have been; every run that started before it on its GPUs has its place."""
    if run.started_at is None or run.ended_at is None:
        return
    found = _place(
        job, run, _before(session, job), partial(_held, session, run), partial(drained_intervals, session, run.devices)
    )
    _insert(session, [(run, found)])


def keep_missing_places(session: Session) -> None:
    """Give the runs of a database that is older than baselines their places: thousands, so all of it in memory."""
    ended = RUNS.c.started_at.is_not(None) & RUNS.c.ended_at.is_not(None) & RUNS.c.outcome.is_not(None)
    without = select(RUNS.c.job_id).outerjoin(BASELINES).where(ended, BASELINES.c.run_id.is_(None))
    lacking = session.scalars(without).all()
    if not lacking:
        return
    jobs = {row.id: job_of(row) for row in session.scalars(select(JobRecord).where(among(JOBS.c.id, lacking)))}
    query = select(RunRecord, BaselineRecord).outerjoin(BaselineRecord, BASELINES.c.run_id == RUNS.c.id)
    in_turn = query.where(ended).order_by(RUNS.c.started_at, RUNS.c.id)
    before: defaultdict[int, list[_Before]] = defaultdict(list)
    held: defaultdict[str, list[tuple[datetime, datetime]]] = defaultdict(list)  # by device: (end, start), in order
    new: list[tuple[Run, BaselineInterval]] = []
    for run, place in ((run_of(record), place) for record, place in session.execute(in_turn).all()):
        if place is None:
            if (job := jobs.get(run.job_id)) is None:
                raise StoreDamaged(
                    f"the database is damaged (it has a run of job {run.job_id}, and no such job); greenrun leaves it "
                    "as it is: move it away, or put a backup in its place"
                )
            waits = [each for key in _waits_for(job) for each in before[key]]
            drained = partial(drained_intervals, session, run.devices)
            found = _place(job, run, waits, partial(_later, held, run.devices), drained)
            new.append((run, found))
        else:
            found = BaselineInterval(start=place.started_at, end=place.ended_at)
        if run.outcome is not None:
            before[run.job_id].append(_Before(run.job_id, run.outcome, found.end))
        for device in run.devices:
            insort(held[device], (found.end, found.start))
    _insert(session, new)


def _place(
    job: Job,
    run: Run,
    before: Sequence[_Before],
    held: Callable[[datetime], Iterable[BaselineInterval]],
    drained: Callable[[], Sequence[Interval]],
) -> BaselineInterval:
    """Return where a run would have been; `held` tells which places on its GPUs end after an instant.

    `drained`, which is only asked where a run waited, tells when nothing was to be started on them.
    """
    if run.started_at is None or run.ended_at is None:
        raise ValueError(f"run {run.id} has not ended, so it has no place yet")
    is_resumed = any(each.job_id == job.id and each.outcome is Outcome.CHECKPOINTED for each in before)
    loads = job.spec.restart_cost if is_resumed else timedelta(0)
    stint = EndedRun(start=min(run.started_at, run.ended_at), end=run.ended_at, loads=loads)  # the clock may go back
    ready = max([job.asked_start, *(each.ends for each in before)])
    return baseline_interval(stint, ready, held(ready), drained() if ready < stint.start else ())


def _waits_for(job: Job) -> list[int]:
    """Return the jobs whose runs must have ended: its own come one after the other."""
    return [job.id, *(row.job_id for row in job.spec.after)]


def _before(session: Session, job: Job) -> list[_Before]:
    query = select(RUNS.c.job_id, RUNS.c.outcome, BASELINES.c.ended_at).join(BASELINES, BASELINES.c.run_id == RUNS.c.id)
    rows = session.execute(query.where(among(RUNS.c.job_id, _waits_for(job))))
    return [_Before(job_id, Outcome(outcome), ends) for job_id, outcome, ends in rows]


def _held(session: Session, run: Run, after: datetime) -> list[BaselineInterval]:
    """Return the places that kept a run's GPUs from it and end after an instant: of the same, or of board and part.

    A device is told apart by its JSON text.
    """
    if not run.devices:
        return []
    devices = type_coerce(RUNS.c.devices, String)
    texts = {text for device in run.devices for text in (json.dumps(device), _excluding(device))}
    mine = or_(*(func.instr(devices, text) > 0 for text in texts))
    query = select(BASELINES.c.started_at, BASELINES.c.ended_at).join(RUNS, RUNS.c.id == BASELINES.c.run_id)
    rows = session.execute(query.where(BASELINES.c.ended_at > after, mine)).all()
    return [BaselineInterval(start=start, end=end) for start, end in rows]


def _excluding(device: str) -> str:
    """Return what the JSON text has of what cannot be held beside a device: of a part its board, else its parts."""
    return json.dumps(board_of(device)) if is_part(device) else json.dumps(f"{device}/")[:-1]


def _later(
    held: defaultdict[str, list[tuple[datetime, datetime]]], devices: Iterable[str], after: datetime
) -> list[BaselineInterval]:
    """Return what `_held` does, of places in memory."""
    names = [name for device in devices for name in held if excludes(device, name)]
    rows = [held[name][bisect_right(held[name], after, key=lambda row: row[0]) :] for name in names]
    return [BaselineInterval(start=start, end=end) for own in rows for end, start in own]


def _insert(session: Session, found: Sequence[tuple[Run, BaselineInterval]]) -> None:
    rows: list[dict[str, Any]] = [
        {"run_id": run.id, "started_at": interval.start, "ended_at": interval.end} for run, interval in found
    ]
    session.execute(insert(BASELINES), rows)

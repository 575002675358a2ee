"""Where runs would have been, kept as each ends, and what that would have emitted, booked once when all is settled."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, func, insert, select, update

from greenrun.core.carbon.intensity import SeriesId
from greenrun.core.energy.baseline import BaselineInterval, Comparable, Compared, SettledSlices
from greenrun.core.energy.ledger import Stage
from greenrun.core.jobs.job import Run
from greenrun.store import tallies
from greenrun.store.columns import among, epoch_s
from greenrun.store.database import Database
from greenrun.store.earliest import keep_missing_places
from greenrun.store.grid import series_ids
from greenrun.store.journal import count
from greenrun.store.records import run_of
from greenrun.store.tables import BASELINES, JOBS, LEDGER, MARKS, RUNS, SLICES, UNSETTLED
from greenrun.store.totals import totals_of

GIVEN_UP_AFTER = timedelta(days=7)  # a device that was not read for so long keeps no run waiting any more


class Baselines(Database):
    """The part of the store that `greenrun.engine.ports.Store` lists under baselines."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._write() as connection:
            keep_missing_places(connection)

    def uncompared(self, before: datetime, *, after: int = 0, limit: int = 500) -> Sequence[int]:
        """Return the runs with an id above `after` that ended by `before` and wait to be compared, by id."""
        waiting = (BASELINES.c.at.is_(None), BASELINES.c.run_id > after, RUNS.c.ended_at <= before)
        query = select(BASELINES.c.run_id).join(RUNS).where(*waiting).order_by(BASELINES.c.run_id).limit(limit)
        with self._read() as connection:
            return connection.scalars(query).all()

    def comparable(self, run_ids: Sequence[int], now: datetime, *, most_slices: int = 5000) -> Sequence[Comparable]:
        """Return the first of these runs of which all is booked and settled, with their slices.

        The rest comes in its turn where all would have more than `most_slices` together.
        """
        with self._read() as connection:
            marks = {row.device: row.at for row in connection.execute(select(MARKS.c.device, MARKS.c.at))}
            rows = connection.execute(_settled_runs(run_ids)).all()
            booked = [row for row in rows if _is_booked(run_of(row), marks, now)]
            ready = _first(connection, booked, most_slices)
            slices = _slices(connection, [row.id for row in ready])
            totals = totals_of(connection, [row.id for row in ready])
            return [
                Comparable(
                    run_id=row.id,
                    resumes=row.ended_at - (row.place_ends - row.place_starts),
                    interval=BaselineInterval(start=row.place_starts, end=row.place_ends),
                    slices=slices[row.id],
                    is_whole=totals[row.id].settled_g is not None,
                )
                for row in ready
            ]

    def book_baselines(self, compared: Sequence[Compared], *, now: datetime) -> int:
        """Book what the slices of these runs would have emitted, or why that is not told, once; return how many."""
        with self._write() as connection:
            waits = (among(BASELINES.c.run_id, [row.run_id for row in compared]), BASELINES.c.at.is_(None))
            waiting = set(connection.scalars(select(BASELINES.c.run_id).where(*waits)))
            new = [row for row in compared if row.run_id in waiting]
            if not new:
                return 0
            keys = {series_id: key for key, series_id in series_ids(connection).items()}
            rows = [columns for row in new for columns in _ledger_columns(row, keys, now)]
            if rows:
                connection.execute(insert(LEDGER), rows)
            kept = (
                update(BASELINES).where(BASELINES.c.run_id == bindparam("run")).values(at=now, why=bindparam("cause"))
            )
            connection.execute(kept, [{"run": row.run_id, "cause": row.why} for row in new])
            count(connection, tallies.compared(new, _projects(connection, waiting)))
        return len(new)


def compared_g(connection: Connection, run_ids: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Return what each of these runs that is compared would have emitted, and how much it avoided, in grams."""
    baseline, settled = LEDGER.alias("baseline"), LEDGER.alias("settled")
    told = select(BASELINES.c.run_id).where(BASELINES.c.at.is_not(None), BASELINES.c.why.is_(None))
    query = (
        select(SLICES.c.run_id, func.sum(baseline.c.emissions_g), func.sum(settled.c.emissions_g))
        .join(baseline, (baseline.c.slice_id == SLICES.c.id) & (baseline.c.stage == Stage.BASELINE.value))
        .join(settled, (settled.c.slice_id == SLICES.c.id) & (settled.c.stage == Stage.SETTLED.value))
        .where(SLICES.c.run_id.in_(told.where(among(BASELINES.c.run_id, run_ids))))
        .group_by(SLICES.c.run_id)
    )
    return {run_id: (earlier, earlier - was) for run_id, earlier, was in connection.execute(query)}


def _settled_runs(run_ids: Sequence[int]) -> Any:
    """Return the query for those of these runs that have no slice left that waits for its settled price."""
    waiting = select(UNSETTLED.c.slice_id).where(UNSETTLED.c.slice_id == SLICES.c.id).exists()  # IN would try them all
    unsettled = select(SLICES.c.id).where(SLICES.c.run_id == RUNS.c.id, waiting).exists()
    places = (BASELINES.c.started_at.label("place_starts"), BASELINES.c.ended_at.label("place_ends"))
    query = select(RUNS, *places).join(BASELINES, BASELINES.c.run_id == RUNS.c.id)
    return query.where(among(RUNS.c.id, run_ids), ~unsettled).order_by(RUNS.c.id)


def _is_booked(run: Run, marks: Mapping[str, datetime], now: datetime) -> bool:
    """Whether the devices that tell of a run are booked up to its end; without GPUs of its own that may be any."""
    if run.ended_at is None or now - run.ended_at > GIVEN_UP_AFTER:
        return True
    return all(marks[device] >= run.ended_at for device in run.devices or marks if device in marks)


def _first(connection: Connection, runs: Sequence[Any], most_slices: int) -> list[Any]:
    """Return the first runs that have so many slices together, and one at least."""
    query = select(SLICES.c.run_id, func.count()).where(among(SLICES.c.run_id, [run.id for run in runs]))
    counts: dict[int | None, int] = dict(map(tuple, connection.execute(query.group_by(SLICES.c.run_id))))
    sums = accumulate(counts.get(run.id, 0) for run in runs)
    return [run for at, (run, total) in enumerate(zip(runs, sums, strict=True)) if not at or total <= most_slices]


def _slices(connection: Connection, run_ids: Sequence[int]) -> dict[int, SettledSlices]:
    """Return the slices of each run as numbers: there may be hundreds of thousands."""
    settled = LEDGER.alias("settled")
    query = (
        select(
            SLICES.c.run_id,
            SLICES.c.id,
            epoch_s(SLICES.c.started_at),
            epoch_s(SLICES.c.ended_at),
            SLICES.c.energy_j * SLICES.c.pue / 3.6e6,
            settled.c.emissions_g,
            func.coalesce(settled.c.series_id, -1),
        )
        .outerjoin(settled, (settled.c.slice_id == SLICES.c.id) & (settled.c.stage == Stage.SETTLED.value))
        .where(among(SLICES.c.run_id, run_ids))
        .order_by(SLICES.c.run_id, SLICES.c.started_at, SLICES.c.id)
    )
    cursor = connection.execute(query).cursor
    columns = np.array([] if cursor is None else cursor.fetchall(), dtype=np.float64).reshape(-1, 7).T
    series = series_ids(connection)
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


def _ledger_columns(compared: Compared, keys: Mapping[SeriesId, int], now: datetime) -> list[dict[str, Any]]:
    if compared.grams is None or compared.intensities is None:
        return []
    slices = compared.slices
    figures = (slices.ids.tolist(), compared.grams.tolist(), compared.intensities.tolist())
    return [
        {
            "slice_id": slice_id,
            "stage": Stage.BASELINE.value,
            "at": now,
            "intensity_g_per_kwh": intensity if kind is not None else None,
            "emissions_g": grams,
            "intensity_kind": kind,
            "series_id": keys[slices.series[at]],
        }
        for slice_id, grams, intensity, kind, at in zip(*figures, compared.kinds, slices.series_index, strict=True)
    ]


def _projects(connection: Connection, run_ids: set[int]) -> dict[int, str]:
    query = select(RUNS.c.id, JOBS.c.project).join(JOBS).where(among(RUNS.c.id, list(run_ids)))
    return dict(map(tuple, connection.execute(query)))

"""What reports are made of: the slices of a period summed by the hour in SQL, and the runs that they belong to."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import REAL, Connection, Integer, Select, String, case, cast, func, or_, select, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from greenrun.core.baseline import UNSETTLED, Profile
from greenrun.core.energy import Component, Quality
from greenrun.core.intensity import Kind, SeriesId
from greenrun.core.job import Job, Run
from greenrun.core.period import Part, Period, Price
from greenrun.store.books import BOOKED, SETTLED
from greenrun.store.columns import among, days
from greenrun.store.database import Database
from greenrun.store.grid import series_ids
from greenrun.store.records import job_of, run_of
from greenrun.store.tables import JOBS, LEDGER, RUNS, SLICES

_HOUR = func.substr(type_coerce(SLICES.c.started_at, String), 1, 13)  # 2026-11-23T03


class Periods(Database):
    """The part of the store that reports read."""

    def period(self, start: datetime, end: datetime, *, before: timedelta) -> Period:
        """Return what the books hold of `[start, end)`, as one consistent view.

        Runs that ended up to `before` earlier, and jobs submitted before its end, tell when others could have started.
        """
        with self._read() as connection:
            parts = _parts(connection, start, end)
            jobs, runs = _jobs_and_runs(connection, start - before, end, {part.run_id for part in parts})
            return Period(
                start=start,
                end=end,
                parts=parts,
                profile=_profile(connection, start, end),
                jobs=jobs,
                runs=runs,
            )


def _jobs_and_runs(
    connection: Connection, since: datetime, end: datetime, booked: set[int | None]
) -> tuple[list[Job], list[Run]]:
    lately = RUNS.c.started_at.is_not(None) & or_(RUNS.c.ended_at.is_(None), RUNS.c.ended_at >= since)
    wanted = or_(lately & (JOBS.c.submitted_at < end), among(RUNS.c.id, [key for key in booked if key is not None]))
    runs = sorted(map(run_of, connection.execute(select(RUNS).join(JOBS).where(wanted))), key=lambda run: run.id)
    chosen = among(JOBS.c.id, list({run.job_id for run in runs}))
    return [job_of(row) for row in connection.execute(select(JOBS).where(chosen).order_by(JOBS.c.id))], runs


def _parts(connection: Connection, start: datetime, end: datetime) -> list[Part]:
    booked, settled = LEDGER.alias(BOOKED), LEDGER.alias(SETTLED)
    keys = (
        SLICES.c.run_id,
        SLICES.c.device,
        type_coerce(SLICES.c.component, String),
        type_coerce(SLICES.c.quality, String),
        _HOUR,
        SLICES.c.pue,
        *_keys(booked),
        *_keys(settled),
    )
    query = (
        select(
            *keys,
            86_400 * func.sum(days(SLICES.c.ended_at) - days(SLICES.c.started_at)),
            func.sum(SLICES.c.energy_j),
            *_sums(booked),
            *_sums(settled),
        )
        .outerjoin(booked, (booked.c.slice_id == SLICES.c.id) & (booked.c.stage == BOOKED))
        .outerjoin(settled, (settled.c.slice_id == SLICES.c.id) & (settled.c.stage == SETTLED))
        .where(SLICES.c.started_at >= start, SLICES.c.started_at < end)
        .group_by(*keys)
    )
    series = series_ids(connection)
    return [_part(row, series) for row in _plain(connection, query)]


def _plain(connection: Connection, query: Select[Any]) -> list[tuple[Any, ...]]:
    """Return rows as SQLite gives them, which takes half the time of rows that know their columns."""
    cursor = connection.execute(query).cursor
    return [] if cursor is None else list(cursor.fetchall())


def _keys(stage: Any) -> tuple[ColumnElement[Any], ...]:
    return stage.c.series_id, stage.c.intensity_kind


def _sums(stage: Any) -> tuple[ColumnElement[Any], ...]:
    intensity = stage.c.intensity_g_per_kwh
    return func.sum(stage.c.emissions_g), func.min(intensity), func.max(intensity)


def _part(row: tuple[Any, ...], series: Mapping[int, SeriesId]) -> Part:
    run_id, device, component, quality, hour, pue, *rest = row
    booked_keys, settled_keys, (seconds, energy_j), booked, settled = (
        rest[:2], rest[2:4], rest[4:6], rest[6:9], rest[9:12],
    )  # fmt: skip
    return Part(
        run_id=run_id,
        device=device,
        component=Component(component),
        quality=Quality(quality),
        hour=datetime.fromisoformat(f"{hour}:00+00:00"),
        seconds=seconds,
        energy_j=energy_j,
        pue=pue,
        booked=_price((*booked_keys, *booked), series),
        settled=_price((*settled_keys, *settled), series),
    )


def _price(columns: tuple[Any, ...], series: Mapping[int, SeriesId]) -> Price | None:
    key, kind, grams, lowest, highest = columns
    if key is None or kind is None:
        return None
    return Price(
        series=series[key], kind=Kind(kind), emissions_g=grams, lowest_g_per_kwh=lowest, highest_g_per_kwh=highest
    )


def _profile(connection: Connection, start: datetime, end: datetime) -> Profile:
    """Return the slices that runs held, as numbers: there may be hundreds of thousands."""
    settled = LEDGER.alias(SETTLED)
    query = (
        select(
            SLICES.c.run_id,
            _epoch_s(SLICES.c.started_at),
            _epoch_s(SLICES.c.ended_at),
            SLICES.c.energy_j * SLICES.c.pue / 3.6e6,
            settled.c.emissions_g,
            case((settled.c.series_id.is_(None), UNSETTLED), else_=settled.c.series_id),
        )
        .outerjoin(settled, (settled.c.slice_id == SLICES.c.id) & (settled.c.stage == SETTLED))
        .where(SLICES.c.started_at >= start, SLICES.c.started_at < end, SLICES.c.run_id.is_not(None))
    )
    series = series_ids(connection)
    columns = np.array(_plain(connection, query), dtype=np.float64).reshape(-1, 6).T
    index = np.full(max(series, default=0) + 2, UNSETTLED, dtype=np.int64)  # the last one is for what is not settled
    index[list(series)] = range(len(series))
    return Profile(
        run_ids=columns[0].astype(np.int64),
        starts_s=columns[1],
        ends_s=columns[2],
        facility_kwh=columns[3],
        settled_g=columns[4],
        series_index=index[columns[5].astype(np.int64)],
        series=tuple(series.values()),
    )


def _epoch_s(instant: ColumnElement[datetime]) -> ColumnElement[Any]:
    """Return an instant as epoch seconds, to the microsecond, which SQLite's own days would lose."""
    text = type_coerce(instant, String)
    whole = cast(func.strftime("%s", text), Integer)
    return whole + cast(func.substr(text, 21, 6), REAL) / 1e6

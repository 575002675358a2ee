"""What reports are made of: the slices of a period summed by the hour in SQL, and the runs that they belong to."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, String, case, func, or_, select, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from greenrun.core.accounting.period import Part, Period, Price
from greenrun.core.carbon.intensity import Kind, SeriesId
from greenrun.core.energy.ledger import Stage
from greenrun.core.energy.model import Component, Quality
from greenrun.core.jobs.job import Job, Run
from greenrun.core.units import J_PER_KWH
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.grid import series_ids
from greenrun.store.records import job_of, run_of
from greenrun.store.tables import BASELINES, JOBS, LEDGER, RUNS, SLICES
from greenrun.store.totals import DEVICE_DAYS, TOLD_DAYS

NOT_ENDED = "a run has not ended"
NOT_SETTLED = "not all of it is settled yet"

_HOUR = func.substr(type_coerce(SLICES.c.started_at, String), 1, 13)  # 2026-11-23T03


class Periods(Database):
    """The part of the store that reports read."""

    def period(self, start: datetime, end: datetime) -> Period:
        """Return what the books hold of `[start, end)`, as one consistent view."""
        with self._read() as connection:
            parts = _parts(connection, start, end)
            booked = {part.run_id for part in parts if part.run_id is not None}
            jobs, runs = _jobs_and_runs(connection, start, end, booked)
            return Period(
                start=start,
                end=end,
                parts=parts,
                jobs=jobs,
                runs=runs,
                compared=_compared(connection, runs),
            )

    def hourly_kwh(self, run_ids: Collection[int]) -> dict[datetime, float]:
        """Return the known facility energy of these runs together, by the hour (UTC) in which it was used."""
        kwh = func.sum(SLICES.c.energy_j * SLICES.c.pue / J_PER_KWH)
        known = among(SLICES.c.run_id, run_ids) & SLICES.c.energy_j.is_not(None)
        with self._read() as connection:
            rows = _plain(connection, select(_HOUR, kwh).where(known).group_by(_HOUR))
        return {datetime.fromisoformat(f"{hour}:00+00:00"): used for hour, used in rows}


def _jobs_and_runs(
    connection: Connection, start: datetime, end: datetime, booked: set[int]
) -> tuple[list[Job], list[Run]]:
    """Return the jobs that held something then, or have slices of it, with all of their runs, each by id."""
    overlaps = (RUNS.c.started_at < end) & or_(RUNS.c.ended_at.is_(None), RUNS.c.ended_at >= start)
    wanted = set(connection.scalars(select(RUNS.c.job_id).where(or_(overlaps, among(RUNS.c.id, booked)))))
    jobs = connection.execute(select(JOBS).where(among(JOBS.c.id, wanted)).order_by(JOBS.c.id))
    runs = connection.execute(select(RUNS).where(among(RUNS.c.job_id, wanted)).order_by(RUNS.c.id))
    return [job_of(row) for row in jobs], [run_of(row) for row in runs]


def _compared(connection: Connection, runs: Sequence[Run]) -> dict[int, str | None]:
    """Return why each run that started is not compared with an earlier start; None for one that is."""
    query = select(BASELINES.c.run_id, BASELINES.c.at, BASELINES.c.why)
    told = connection.execute(query.where(among(BASELINES.c.run_id, [run.id for run in runs])))
    ended = {run_id: why if at is not None else NOT_SETTLED for run_id, at, why in told}
    return {run.id: ended.get(run.id, NOT_ENDED) for run in runs if run.started_at is not None}


def _parts(connection: Connection, start: datetime, end: datetime) -> list[Part]:
    booked, settled, marginal, baseline = (LEDGER.alias(stage.value) for stage in Stage)
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
            86_400 * func.sum(DEVICE_DAYS),
            func.sum(SLICES.c.energy_j),
            func.total(SLICES.c.busy_s),
            86_400 * func.sum(TOLD_DAYS),
            *_sums(booked),
            *_sums(settled),
            func.sum(marginal.c.emissions_g),
            func.sum(case((marginal.c.emissions_g.is_not(None), SLICES.c.energy_j))),
            func.sum(baseline.c.emissions_g),
            func.sum(case((baseline.c.id.is_not(None), settled.c.emissions_g))),
        )
        .outerjoin(booked, _is(booked, Stage.BOOKED))
        .outerjoin(settled, _is(settled, Stage.SETTLED))
        .outerjoin(marginal, _is(marginal, Stage.MARGINAL))
        .outerjoin(baseline, _is(baseline, Stage.BASELINE))
        .where(SLICES.c.started_at >= start, SLICES.c.started_at < end)
        .group_by(*keys)
    )
    series = series_ids(connection)
    return [_part(row, series) for row in _plain(connection, query)]


def _plain(connection: Connection, query: Select[Any]) -> list[tuple[Any, ...]]:
    """Return rows as SQLite gives them, which takes half the time of rows that know their columns."""
    cursor = connection.execute(query).cursor
    return [] if cursor is None else list(cursor.fetchall())


def _is(price: Any, stage: Stage) -> ColumnElement[bool]:
    matches: ColumnElement[bool] = (price.c.slice_id == SLICES.c.id) & (price.c.stage == stage.value)
    return matches


def _keys(stage: Any) -> tuple[ColumnElement[Any], ...]:
    return stage.c.series_id, stage.c.intensity_kind


def _sums(stage: Any) -> tuple[ColumnElement[Any], ...]:
    intensity = stage.c.intensity_g_per_kwh
    return func.sum(stage.c.emissions_g), func.min(intensity), func.max(intensity)


def _part(row: tuple[Any, ...], series: Mapping[int, SeriesId]) -> Part:
    run_id, device, component, quality, hour, pue, *rest = row
    booked_keys, settled_keys, sums, booked, settled, (marginal_g, marginal_j, baseline_g, compared_g) = (
        rest[:2], rest[2:4], rest[4:8], rest[8:11], rest[11:14], rest[14:],
    )  # fmt: skip
    seconds, energy_j, busy_s, busy_known_s = sums
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
        marginal_g=marginal_g,
        marginal_j=marginal_j,
        baseline_g=baseline_g,
        compared_g=compared_g,
        busy_s=busy_s,
        busy_known_s=busy_known_s,
    )


def _price(columns: tuple[Any, ...], series: Mapping[int, SeriesId]) -> Price | None:
    key, kind, grams, lowest, highest = columns
    if key is None or kind is None:
        return None
    return Price(
        series=series[key], kind=Kind(kind), emissions_g=grams, lowest_g_per_kwh=lowest, highest_g_per_kwh=highest
    )

"""What reports are made of: the slices of a period summed by the hour in SQL, and the runs that they belong to."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Select, String, case, cast, func, or_, select, type_coerce
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from greenrun.core.accounting.period import Part, Period, Price
from greenrun.core.accounting.usage import Usage
from greenrun.core.accounting.watched import BookedTime
from greenrun.core.carbon.intensity import Kind, Series, SeriesId
from greenrun.core.energy.merging import PEAK_S
from greenrun.core.energy.model import Component, Quality
from greenrun.core.jobs.job import FINISHED, Job, Outcome, Run
from greenrun.core.units import J_PER_KWH
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.grid import GridRepository, series_ids
from greenrun.store.ledger import booked_time
from greenrun.store.ledger.past_usage import usage
from greenrun.store.ledger.slice_prices import BASELINE, BOOKED, MARGINAL, SETTLED, PriceColumns
from greenrun.store.ledger.totals import DEVICE_S, LENGTH_S, TOLD_S
from greenrun.store.records import job_of, run_of
from greenrun.store.tables import BASELINES, JOBS, RUNS, SLICES, UNSETTLED, JobRecord, RunRecord

NOT_ENDED = "a run has not ended"
NOT_SETTLED = "not all of it is settled yet"

MINUTE_S = 55.0  # a slice this long is a minute, or more
FEWEST = 10  # minutes, so that one odd one does not tell
_STEP_W = 0.1  # powers are told apart by this much

_MINUTES = func.max(1, cast(func.round(LENGTH_S / 60), Integer))
_HOUR = func.substr(type_coerce(SLICES.c.started_at, String), 1, 13)  # 2026-11-23T03


class Archive:
    """What reports read of the store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._grid = GridRepository(database)

    def period(self, start: datetime, end: datetime) -> Period:
        """Return what the books hold of `[start, end)`, as one consistent view."""
        with self._database.read() as session:
            parts = _parts(session, start, end)
            booked = {part.run_id for part in parts if part.run_id is not None}
            jobs, runs = _jobs_and_runs(session, start, end, booked)
            return Period(
                start=start,
                end=end,
                parts=parts,
                jobs=jobs,
                runs=runs,
                compared=_compared(session, runs),
                booked=booked_time.booked(session, start, end),
                pending=booked_time.pending(session, start, end),
            )

    def usage(self, start: datetime, end: datetime) -> tuple[list[Usage], list[BookedTime]]:
        """Return what projects and users used in `[start, end)`, and for how much of it devices are in the books."""
        with self._database.read() as session:
            return usage(session, start, end), booked_time.booked(session, start, end)

    def measured(self, series: SeriesId, start: datetime, end: datetime) -> Series:
        """Return the measured intensities of a series that touch `[start, end)`, each as told last."""
        return self._grid.intensities(series, start, end)

    def hourly_kwh(self, run_ids: Collection[int]) -> dict[datetime, float]:
        """Return the known facility energy of these runs together, by the hour (UTC) in which it was used."""
        kwh = func.sum(SLICES.c.energy_j * SLICES.c.pue / J_PER_KWH)
        known = among(SLICES.c.run_id, run_ids) & SLICES.c.energy_j.is_not(None)
        with self._database.read() as session:
            rows = _plain(session, select(_HOUR, kwh).where(known).group_by(_HOUR))
        return {datetime.fromisoformat(f"{hour}:00+00:00"): used for hour, used in rows}

    def idle_powers_w(self, since: datetime, until: datetime) -> Mapping[str, float]:
        """Return the median power of each GPU over the minutes in `[since, until)` that nobody held it.

        Only minutes that a counter or power samples tell of count; a GPU with fewer than FEWEST is left out. Minutes
        that were merged count with their mean power.
        """
        watts = func.round(SLICES.c.energy_j / LENGTH_S / _STEP_W)
        query = (
            select(SLICES.c.device, watts, func.sum(_MINUTES))
            .where(
                SLICES.c.started_at >= since,
                SLICES.c.started_at < until,
                SLICES.c.run_id.is_(None),
                SLICES.c.share == 1.0,
                SLICES.c.component == Component.GPU,
                SLICES.c.quality.in_([Quality.MEASURED, Quality.INTEGRATED, Quality.EMULATED]),
                LENGTH_S >= MINUTE_S,
            )
            .group_by(SLICES.c.device, watts)
            .order_by(SLICES.c.device, watts)
        )
        counts: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
        with self._database.read() as session:
            for device, step, count in session.execute(query):
                counts[device].append((step * _STEP_W, count))
        known = {device: rows for device, rows in counts.items() if sum(count for _, count in rows) >= FEWEST}
        return {device: _median(rows) for device, rows in known.items()}

    def peak_powers_w(self, start: datetime, end: datetime) -> Mapping[int, float]:
        """Return the highest mean power of a slice of each run in `[start, end)`, of one GPU."""
        query = (
            select(SLICES.c.run_id, func.max(func.coalesce(SLICES.c.peak_w, SLICES.c.energy_j / LENGTH_S)))
            .where(
                SLICES.c.started_at >= start,
                SLICES.c.started_at < end,
                SLICES.c.run_id.is_not(None),
                SLICES.c.component == Component.GPU,
                SLICES.c.energy_j.is_not(None),
                SLICES.c.quality != Quality.BRIDGED,
                LENGTH_S >= PEAK_S,
            )
            .group_by(SLICES.c.run_id)
        )
        with self._database.read() as session:
            return {run_id: peak for run_id, peak in session.execute(query) if run_id is not None}

    def waits(self, start: datetime, end: datetime, *, settles: bool) -> bool:
        """Whether figures can still change: a run that began before the end goes on, or (`settles`) a slice waits.

        So does what was checkpointed then until its job has ended: whether the work was of use is not known before.
        """
        unpriced = (
            select(UNSETTLED.c.slice_id)
            .join(SLICES, SLICES.c.id == UNSETTLED.c.slice_id)
            .where(SLICES.c.started_at >= start, SLICES.c.started_at < end)
            .where(UNSETTLED.c.ended_at > start)  # few wait, and these are found by their end
        )
        going_on = select(RUNS.c.id).where(RUNS.c.started_at < end, RUNS.c.ended_at.is_(None))
        saved = (
            select(RUNS.c.id)
            .join(JOBS, JOBS.c.id == RUNS.c.job_id)
            .where(RUNS.c.outcome == Outcome.CHECKPOINTED, RUNS.c.started_at < end, RUNS.c.ended_at > start)
            .where(JOBS.c.state.not_in(FINISHED))
        )
        with self._database.read() as session:
            asked = (unpriced, going_on, saved) if settles else (going_on, saved)
            return any(session.execute(query.limit(1)).first() for query in asked)


def _jobs_and_runs(session: Session, start: datetime, end: datetime, booked: set[int]) -> tuple[list[Job], list[Run]]:
    """Return the jobs that held something then, or have slices of it, with all of their runs, each by id."""
    overlaps = (RUNS.c.started_at < end) & or_(RUNS.c.ended_at.is_(None), RUNS.c.ended_at >= start)
    wanted = set(session.scalars(select(RUNS.c.job_id).where(or_(overlaps, among(RUNS.c.id, booked)))))
    jobs = session.scalars(select(JobRecord).where(among(JOBS.c.id, wanted)).order_by(JOBS.c.id))
    runs = session.scalars(select(RunRecord).where(among(RUNS.c.job_id, wanted)).order_by(RUNS.c.id))
    return [*map(job_of, jobs)], [*map(run_of, runs)]


def _compared(session: Session, runs: Sequence[Run]) -> dict[int, str | None]:
    """Return why each run that started is not compared with an earlier start; None for one that is."""
    query = select(BASELINES.c.run_id, BASELINES.c.at, BASELINES.c.why)
    told = session.execute(query.where(among(BASELINES.c.run_id, [run.id for run in runs])))
    ended = {run_id: why if at is not None else NOT_SETTLED for run_id, at, why in told}
    return {run.id: ended.get(run.id, NOT_ENDED) for run in runs if run.started_at is not None}


def _parts(session: Session, start: datetime, end: datetime) -> list[Part]:
    keys = (
        SLICES.c.run_id,
        SLICES.c.device,
        type_coerce(SLICES.c.component, String),
        type_coerce(SLICES.c.quality, String),
        _HOUR,
        SLICES.c.pue,
        *_keys(BOOKED),
        *_keys(SETTLED),
    )
    query = (
        select(
            *keys,
            func.sum(DEVICE_S),
            func.sum(SLICES.c.energy_j),
            func.total(SLICES.c.busy_s),
            func.sum(TOLD_S),
            func.sum(SLICES.c.split_j),
            *_sums(BOOKED),
            *_sums(SETTLED),
            func.sum(MARGINAL.emissions_g),
            func.sum(case((MARGINAL.emissions_g.is_not(None), SLICES.c.energy_j))),
            func.sum(BASELINE.emissions_g),
            func.sum(case((BASELINE.at.is_not(None), SETTLED.emissions_g))),
        )
        .where(SLICES.c.started_at >= start, SLICES.c.started_at < end)
        .group_by(*keys)
    )
    series = series_ids(session)
    return [_part(row, series) for row in _plain(session, query)]


def _plain(session: Session, query: Select[Any]) -> list[tuple[Any, ...]]:
    """Return rows as SQLite gives them, which takes half the time of rows that know their columns."""
    cursor = session.connection().execute(query).cursor
    return [] if cursor is None else list(cursor.fetchall())


def _keys(price: PriceColumns) -> tuple[ColumnElement[Any], ...]:
    return price.series_id, price.intensity_kind


def _sums(price: PriceColumns) -> tuple[ColumnElement[Any], ...]:
    intensity = price.intensity_g_per_kwh
    return func.sum(price.emissions_g), func.min(intensity), func.max(intensity)


def _part(row: tuple[Any, ...], series: Mapping[int, SeriesId]) -> Part:
    run_id, device, component, quality, hour, pue, *rest = row
    booked_keys, settled_keys, sums, booked, settled, (marginal_g, marginal_j, baseline_g, compared_g) = (
        rest[:2], rest[2:4], rest[4:9], rest[9:12], rest[12:15], rest[15:],
    )  # fmt: skip
    seconds, energy_j, busy_s, busy_known_s, split_j = sums
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
        split_j=split_j,
    )


def _price(columns: tuple[Any, ...], series: Mapping[int, SeriesId]) -> Price | None:
    key, kind, grams, lowest, highest = columns
    if key is None or kind is None:
        return None
    return Price(
        series=series[key], kind=Kind(kind), emissions_g=grams, lowest_g_per_kwh=lowest, highest_g_per_kwh=highest
    )


def _median(rows: list[tuple[float, int]]) -> float:
    """Return the lower median of values, each with how often it came, in their order."""
    left = (sum(count for _, count in rows) + 1) // 2
    for value, count in rows:
        left -= count
        if left <= 0:
            return value
    raise ValueError("there is no median of nothing")

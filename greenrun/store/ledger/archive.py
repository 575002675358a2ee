"""What reports are made of: the slices of a period, and the jobs and runs that they belong to."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Integer, Select, String, cast, func, select, type_coerce
from sqlalchemy.orm import Session

from greenrun.core.accounting.period import JobDetails, Period
from greenrun.core.accounting.usage import Usage
from greenrun.core.accounting.watched import BookedTime
from greenrun.core.carbon.intensity import Series, SeriesId
from greenrun.core.energy.capping_effect import CappingEffect
from greenrun.core.energy.model import Component, Quality
from greenrun.core.jobs.job import FINISHED, Outcome
from greenrun.core.units import J_PER_KWH
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.gpus.capping_effects import effects_of, ended_between
from greenrun.store.grid import GridRepository
from greenrun.store.ledger import booked_time
from greenrun.store.ledger.past_usage import usage
from greenrun.store.ledger.period_jobs import job_details, jobs_and_runs
from greenrun.store.ledger.period_parts import read_parts
from greenrun.store.ledger.totals import LENGTH_S
from greenrun.store.tables import JOBS, RUNS, SLICES, UNSETTLED

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
            found = read_parts(session, start, end)
            booked = np.unique(found.parts.run_id[found.parts.is_held]).tolist()
            jobs, runs = jobs_and_runs(session, start, end, booked, found.peaks_w)
            return Period(
                start=start,
                end=end,
                parts=found.parts,
                jobs=jobs,
                runs=runs,
                booked=found.booked,
                pending=booked_time.pending(session, start, end),
            )

    def job_details(self, job_ids: Sequence[int]) -> JobDetails:
        """Return what rows tell of these jobs, by id."""
        with self._database.read() as session:
            return job_details(session, job_ids)

    def effects_between(self, start: datetime, end: datetime) -> Sequence[CappingEffect]:
        """Return what lowered power limits did in the runs that ended in `[start, end)`."""
        with self._database.read() as session:
            found = effects_of(session, ended_between(session, start, end))
        return [effect for effect, _ in found.values()]

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


def _plain(session: Session, query: Select[Any]) -> list[tuple[Any, ...]]:
    """Return rows as SQLite gives them, which takes half the time of rows that know their columns."""
    cursor = session.connection().execute(query).cursor
    return [] if cursor is None else list(cursor.fetchall())


def _median(rows: list[tuple[float, int]]) -> float:
    """Return the lower median of values, each with how often it came, in their order."""
    left = (sum(count for _, count in rows) + 1) // 2
    for value, count in rows:
        left -= count
        if left <= 0:
            return value
    raise ValueError("there is no median of nothing")

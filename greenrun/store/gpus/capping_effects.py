"""What lowered power limits did, of runs that have ended, read from the books."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from greenrun.core.carbon.intensity import Floats
from greenrun.core.energy.capping_effect import CappingEffect, RunPart, UsedSlice, capping_effect, lowered_share
from greenrun.core.energy.model import Component
from greenrun.core.energy.power_limit import LimitPeriod, parse_power_cap
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.gpus.power_limits import periods_of
from greenrun.store.ledger.slice_prices import BOOKED, SETTLED
from greenrun.store.records import run_of
from greenrun.store.tables import JOBS, POWER_LIMITS, RUNS, SLICES, RunRecord


class CappingEffectRepository:
    """Tells what lowered power limits did."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def effects(self, run_ids: Sequence[int]) -> Mapping[int, CappingEffect]:
        """Return what lowered power limits did in those of these runs that have ended and had one."""
        with self._database.read() as session:
            return {run_id: effect for run_id, (effect, _) in effects_of(session, run_ids).items()}


def effects_of(session: Session, run_ids: Sequence[int]) -> dict[int, tuple[CappingEffect, Sequence[LimitPeriod]]]:
    """Return the effect of the lowered limits of those of these runs that have ended, with when they were lowered."""
    periods = periods_of(session, run_ids)
    if not periods:
        return {}
    records = session.scalars(select(RunRecord).where(among(RUNS.c.id, list(periods)), RUNS.c.ended_at.is_not(None)))
    runs = {run.id: run for run in map(run_of, records) if run.started_at is not None}
    slices = _slices(session, list(runs))
    stated = _stated(session, [run.job_id for run in runs.values()])
    found = {}
    for run_id, run in runs.items():
        assert run.started_at is not None
        assert run.ended_at is not None
        part = RunPart(start=run.started_at, end=run.ended_at, work=run.work, counts_from_zero=run.number == 1)
        effect = capping_effect(part, slices[run_id], periods[run_id], stated.get(run.job_id))
        if effect is not None:
            found[run_id] = effect, periods[run_id]
    return found


def full_power_ratios(session: Session, slice_ids: Mapping[int, Sequence[int]]) -> dict[int, Floats]:
    """Return what each of these slices, by run, would have used at full power, as a ratio of what it did.

    A run whose power limit was never lowered is absent; NaN where the power limit was lowered and nobody knows.
    """
    found = {}
    for run_id, (effect, periods) in effects_of(session, list(slice_ids)).items():
        ids = slice_ids[run_id]
        query = select(SLICES.c.id, SLICES.c.device, SLICES.c.started_at, SLICES.c.ended_at)
        shares = {
            row.id: lowered_share(row.device, row.started_at, row.ended_at, periods, row.ended_at)
            for row in session.execute(query.where(among(SLICES.c.id, list(ids))))
        }
        lowered = np.array([shares.get(slice_id, 0.0) for slice_id in ids], dtype=np.float64)
        ratio = np.nan if effect.full_power_ratio is None else effect.full_power_ratio
        found[run_id] = np.where(lowered > 0, 1 - lowered + lowered * ratio, 1.0)
    return found


def ended_between(session: Session, start: datetime, end: datetime) -> Sequence[int]:
    """Return the runs that ended in `[start, end)` and had a power limit lowered."""
    lowered = select(POWER_LIMITS.c.run_id).where(POWER_LIMITS.c.kept_at.is_not(None))
    query = select(RUNS.c.id).where(RUNS.c.ended_at >= start, RUNS.c.ended_at < end, RUNS.c.id.in_(lowered))
    return session.scalars(query.order_by(RUNS.c.id)).all()


def _slices(session: Session, run_ids: Sequence[int]) -> Mapping[int, list[UsedSlice]]:
    query = (
        select(
            SLICES.c.run_id,
            SLICES.c.device,
            SLICES.c.started_at,
            SLICES.c.ended_at,
            (SLICES.c.energy_j * SLICES.c.pue / 3.6e6).label("kwh"),
            func.coalesce(SETTLED.emissions_g, BOOKED.emissions_g).label("grams"),
        )
        .where(among(SLICES.c.run_id, run_ids), SLICES.c.component == Component.GPU)
        .order_by(SLICES.c.id)
    )
    found: defaultdict[int, list[UsedSlice]] = defaultdict(list)
    for row in session.execute(query):
        found[row.run_id].append(
            UsedSlice(device=row.device, start=row.started_at, end=row.ended_at, kwh=row.kwh, grams=row.grams)
        )
    return found


def _stated(session: Session, job_ids: Sequence[int]) -> dict[int, float]:
    """Return the slowdown that the users of these jobs stated themselves."""
    query = select(JOBS.c.id, JOBS.c.power_cap).where(
        among(JOBS.c.id, job_ids), JOBS.c.power_cap.is_not(None), JOBS.c.power_cap_note.is_(None)
    )
    caps = {row.id: parse_power_cap(row.power_cap) for row in session.execute(query)}
    return {job_id: cap.slowdown for job_id, cap in caps.items() if cap.slowdown is not None}

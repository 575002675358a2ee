"""What runs have used and emitted so far, as SQL sums it and the core's rules complete it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, case, func, select

from greenrun.core.energy.ledger import Stage, Total, busy_ratio, complete, sum_of_known
from greenrun.core.energy.model import Component, Quality, worst
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.occupancy import expected_seconds
from greenrun.store.columns import among, days
from greenrun.store.records import run_of
from greenrun.store.tables import LEDGER, RUNS, SLICES

DEVICE_DAYS = (days(SLICES.c.ended_at) - days(SLICES.c.started_at)) * SLICES.c.share
TOLD_DAYS = case((SLICES.c.busy_s.is_not(None), DEVICE_DAYS), else_=0.0)  # ... for which it is told how busy it was


def totals_of(connection: Connection, run_ids: Sequence[int]) -> dict[int, Total]:
    """Return what `Books.run_totals` does, as this connection sees it."""
    return summed(connection, run_ids, connection.execute(sums(run_ids)))


def summed(connection: Connection, run_ids: Sequence[int], rows: Iterable[Any]) -> dict[int, Total]:
    """Return the total of each run, made of such rows as `sums` asks for."""
    parts: dict[int, list[Any]] = {run_id: [] for run_id in run_ids}
    for row in rows:
        parts[row.run_id].append(row)
    runs = {row.id: run_of(row) for row in connection.execute(select(RUNS).where(among(RUNS.c.id, run_ids)))}
    return {run_id: _total(runs[run_id], own) if own else Total() for run_id, own in parts.items()}


def sums(run_ids: Sequence[int], after: int = 0) -> Any:
    """Return the query for one row per run, device and grade: sums, and how many of its slices have each price.

    Slices up to the one with the id `after` are left out.
    """
    booked, settled = LEDGER.alias(Stage.BOOKED), LEDGER.alias(Stage.SETTLED)
    return (
        select(
            SLICES.c.run_id,
            SLICES.c.device,
            SLICES.c.component,
            SLICES.c.quality,
            func.max(SLICES.c.ended_at).label("ended_at"),
            func.sum(DEVICE_DAYS).label("days"),
            func.count().label("slices"),
            func.sum(SLICES.c.energy_j).label("energy_j"),
            func.total(SLICES.c.busy_s).label("busy_s"),
            func.sum(TOLD_DAYS).label("told_days"),
            func.count(booked.c.emissions_g).label("priced"),
            func.sum(booked.c.emissions_g).label("emissions_g"),
            func.count(settled.c.emissions_g).label("settled"),
            func.sum(settled.c.emissions_g).label("settled_g"),
        )
        .outerjoin(booked, (booked.c.slice_id == SLICES.c.id) & (booked.c.stage == Stage.BOOKED.value))
        .outerjoin(settled, (settled.c.slice_id == SLICES.c.id) & (settled.c.stage == Stage.SETTLED.value))
        .where(among(SLICES.c.run_id, run_ids), SLICES.c.id > after)
        .group_by(SLICES.c.run_id, SLICES.c.device, SLICES.c.component, SLICES.c.quality)
    )


def _total(run: Run, parts: Sequence[Any]) -> Total:
    """Sum a run's parts as `greenrun.core.energy.ledger.total` sums its entries."""
    booked_s: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        booked_s[part.device] += part.days * 86_400
    on_gpus = [part for part in parts if part.component == Component.GPU]
    told_days, gpu_days = sum(part.told_days for part in on_gpus), sum(part.days for part in on_gpus)
    utilization, coverage = busy_ratio(sum(part.busy_s for part in on_gpus), 86_400 * told_days, 86_400 * gpu_days)
    booked = Total(
        energy_j=sum_of_known(part.energy_j for part in parts),
        gpu_energy_j=sum_of_known(part.energy_j for part in on_gpus),
        utilization=utilization,
        utilization_coverage=coverage,
        quality=worst(Quality(part.quality) for part in parts),
        emissions_g=_complete_sum((part.slices, part.priced, part.emissions_g) for part in parts),
        settled_g=_complete_sum((part.slices, part.settled, part.settled_g) for part in parts),
    )
    until = max((part.ended_at for part in parts if part.device in run.devices), default=None)
    return complete(booked, booked_s, expected_seconds(run, until))


def _complete_sum(parts: Iterable[tuple[int, int, float | None]]) -> float | None:
    """Sum `(slices, slices with a price, their sum)`; None when a slice has no price, or for none at all."""
    rows = list(parts)
    if not rows or any(priced < slices for slices, priced, _ in rows):
        return None
    return sum(grams for _, _, grams in rows if grams is not None)

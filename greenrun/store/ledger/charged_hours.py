"""What each account's slices add up to by the hour, as budgets are charged: in one query, a run's slices at a time."""

from datetime import UTC, datetime

from sqlalchemy import String, case, func, select, type_coerce
from sqlalchemy.orm import Session

from greenrun.core.budgets.charges import ChargedAccount, ChargedHour
from greenrun.core.carbon.intensity import Signal
from greenrun.core.energy.model import Component
from greenrun.store.grid import series_ids
from greenrun.store.ledger.slice_prices import BOOKED, SETTLED
from greenrun.store.ledger.totals import DEVICE_S
from greenrun.store.tables import JOBS, RUNS, SLICES


def charged_hours(session: Session, start: datetime, end: datetime) -> list[ChargedHour]:
    """Return the sums of the slices of runs that began in `[start, end)`: by hour (UTC), account and PUE."""
    series = func.coalesce(SETTLED.series_id, BOOKED.series_id)
    grams = func.coalesce(SETTLED.emissions_g, BOOKED.emissions_g)
    others = [key for key, each in series_ids(session).items() if each.signal is not Signal.AVERAGE]
    average_g = case((series.in_(others), None), else_=grams) if others else grams
    hour = func.substr(type_coerce(SLICES.c.started_at, String), 1, 13)
    unknown_s = case((SLICES.c.energy_j.is_(None), DEVICE_S), else_=0.0)
    is_gpu = SLICES.c.component == Component.GPU
    of_runs = (
        select(
            SLICES.c.run_id,
            hour.label("hour"),
            SLICES.c.pue,
            func.total(SLICES.c.energy_j).label("energy_j"),
            func.total(average_g).label("grams"),
            func.total(case((average_g.is_(None), SLICES.c.energy_j))).label("unpriced_j"),
            func.total(case((is_gpu, unknown_s))).label("unknown_gpu_s"),
            func.total(case((is_gpu, 0.0), else_=unknown_s)).label("unknown_cpu_s"),
        )
        .where(SLICES.c.started_at >= start, SLICES.c.started_at < end, SLICES.c.run_id.is_not(None))
        .group_by(SLICES.c.run_id, hour, SLICES.c.pue)
        .subquery()
    )
    figures = ("energy_j", "grams", "unpriced_j", "unknown_gpu_s", "unknown_cpu_s")
    keys = (of_runs.c.hour, JOBS.c.user, JOBS.c.project, of_runs.c.pue)
    query = (
        select(*keys, *(func.total(of_runs.c[name]) for name in figures))
        .join(RUNS, RUNS.c.id == of_runs.c.run_id)
        .join(JOBS, JOBS.c.id == RUNS.c.job_id)
        .group_by(*keys)
    )
    rows = [(_hour(told), rest) for told, *rest in session.execute(query)]
    return [
        ChargedHour(
            hour=hour,
            start=max(hour, start),
            account=ChargedAccount(user, project),
            pue=pue,
            **dict(zip(figures, sums, strict=True)),
        )
        for hour, (user, project, pue, *sums) in rows
    ]


def _hour(told: str) -> datetime:
    return datetime.fromisoformat(f"{told}:00").replace(tzinfo=UTC)

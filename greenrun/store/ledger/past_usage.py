"""What projects and users used in a period, for comparison with a later one: sums of SQL, without the hours."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from greenrun.core.accounting.usage import Usage
from greenrun.core.energy.ledger import Stage
from greenrun.store.grid import series_ids
from greenrun.store.tables import JOBS, LEDGER, RUNS, SLICES


def usage(session: Session, start: datetime, end: datetime) -> list[Usage]:
    """Return the energy and the best known grams of `[start, end)` by project, user and series of intensity."""
    booked, settled = (LEDGER.alias(stage.value) for stage in (Stage.BOOKED, Stage.SETTLED))
    series_id = func.coalesce(settled.c.series_id, booked.c.series_id)
    keys = (JOBS.c.project, JOBS.c.user, series_id)
    query = (
        select(*keys, func.sum(SLICES.c.energy_j), func.sum(func.coalesce(settled.c.emissions_g, booked.c.emissions_g)))
        .select_from(SLICES)
        .outerjoin(RUNS, RUNS.c.id == SLICES.c.run_id)
        .outerjoin(JOBS, JOBS.c.id == RUNS.c.job_id)
        .outerjoin(booked, (booked.c.slice_id == SLICES.c.id) & (booked.c.stage == Stage.BOOKED.value))
        .outerjoin(settled, (settled.c.slice_id == SLICES.c.id) & (settled.c.stage == Stage.SETTLED.value))
        .where(SLICES.c.started_at >= start, SLICES.c.started_at < end)
        .group_by(*keys)
    )
    series = series_ids(session)
    return [
        Usage(project=project, user=user, series=series.get(key) if key else None, energy_j=energy_j, emissions_g=grams)
        for project, user, key, energy_j, grams in session.execute(query)
    ]

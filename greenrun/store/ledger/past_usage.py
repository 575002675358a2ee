"""What projects and users used in a period, for comparison with a later one: sums of SQL, without the hours."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from greenrun.core.accounting.usage import Owner, Usage
from greenrun.store.grid import series_ids
from greenrun.store.ledger.slice_prices import BOOKED, SETTLED
from greenrun.store.tables import JOBS, RUNS, SLICES


def usage(session: Session, start: datetime, end: datetime) -> list[Usage]:
    """Return the energy and the best known grams of `[start, end)` by project, owner and series of intensity."""
    series_id = func.coalesce(SETTLED.series_id, BOOKED.series_id)
    keys = (JOBS.c.project, JOBS.c.uid, JOBS.c.user, series_id)
    query = (
        select(*keys, func.sum(SLICES.c.energy_j), func.sum(func.coalesce(SETTLED.emissions_g, BOOKED.emissions_g)))
        .select_from(SLICES)
        .outerjoin(RUNS, RUNS.c.id == SLICES.c.run_id)
        .outerjoin(JOBS, JOBS.c.id == RUNS.c.job_id)
        .where(SLICES.c.started_at >= start, SLICES.c.started_at < end)
        .group_by(*keys)
    )
    series = series_ids(session)
    return [
        Usage(
            project=project,
            owner=None if uid is None else Owner(uid, user),
            series=series.get(key) if key else None,
            energy_j=energy_j,
            emissions_g=grams,
        )
        for project, uid, user, key, energy_j, grams in session.execute(query)
    ]

"""What a run's start and end add to the histograms and to the forced starts, in the transaction of the change."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, exists, select

from greenrun.core.energy.model import Quality
from greenrun.core.histogram import JOB_DEFERRAL, RUN_DURATION, RUN_EMISSIONS, RUN_ENERGY, added
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.reasons import FORCED
from greenrun.store.journal import count, key
from greenrun.store.records import job_of
from greenrun.store.tables import JOBS, RUNS
from greenrun.store.totals import totals_of

FORCED_STARTS = "greenrun_forced_starts_total"

Values = Mapping[str, float]


def observe_start(connection: Connection, run: Run, started_at: datetime) -> Values:
    """Count a start, whose run is stored, that had no choice; and how long after it could have the job first started.

    Return the values observed, by histogram.
    """
    job = job_of(connection.execute(select(JOBS).where(JOBS.c.id == run.job_id)).one())
    if job.reason is not None and job.reason.code in FORCED:
        count(connection, {key(FORCED_STARTS, reason=job.reason.code.value): 1})
    another = exists().where(RUNS.c.job_id == run.job_id, RUNS.c.id != run.id, RUNS.c.started_at.is_not(None))
    if connection.scalar(select(another)):
        return {}
    return _observe(connection, {JOB_DEFERRAL: (started_at - job.earliest_start).total_seconds()})


def observe_end(connection: Connection, run: Run) -> Values:
    """Count how long an ended run took and, where they are wholly known, its joules and grams; return them."""
    if run.started_at is None or run.ended_at is None:
        return {}
    total = totals_of(connection, [run.id])[run.id]
    known = {
        RUN_DURATION: (run.ended_at - run.started_at).total_seconds(),
        RUN_ENERGY: total.energy_j if total.quality is not Quality.UNKNOWN else None,
        RUN_EMISSIONS: total.emissions_g,
    }
    return _observe(connection, {name: value for name, value in known.items() if value is not None})


def _observe(connection: Connection, values: Values) -> Values:
    # A clock that was set back between two instants must not take anything from a sum.
    sound = {name: max(0.0, value) for name, value in values.items()}
    count(connection, added(sound))
    return sound

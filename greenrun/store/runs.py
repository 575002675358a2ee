"""The runs: who holds which device, since when, and how it ended; and the anomalies that were noticed in them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from greenrun.core.energy.gpu_parts import weight_of
from greenrun.core.jobs.history import GpuTime
from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.anomalies import AnomalyEpisode, episodes_of
from greenrun.core.jobs.stored_transitions import RunTransitions
from greenrun.core.jobs.transitions import EventKind
from greenrun.store.columns import among
from greenrun.store.database import Database
from greenrun.store.records import event_of, run_of
from greenrun.store.tables import EVENTS, JOBS, RUNS, EventRecord
from greenrun.store.transaction import JobTransaction

_LIVE = select(RUNS).where(RUNS.c.outcome.is_(None))  # made once: it is asked several times a tick


class RunRepository(RunTransitions):
    """Keeps the runs, who holds which device meanwhile, and what is watched in them."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    @contextmanager
    def _transaction(self) -> Iterator[JobTransaction]:
        with self._database.write() as session:
            yield JobTransaction(session, self._database.live.current())

    def _new_token(self) -> str:
        return uuid4().hex

    def live_runs(self) -> Sequence[Run]:
        """Return the runs without an outcome, by id."""
        with self._database.read() as session:
            return runs_of(session, _LIVE)

    def of_jobs(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[Run]]:
        """Return the runs of these jobs in order; a job without runs has an empty entry."""
        found: dict[int, list[Run]] = {job_id: [] for job_id in job_ids}
        with self._database.read() as session:
            for run in runs_of(session, select(RUNS).where(among(RUNS.c.job_id, job_ids))):
                found[run.job_id].append(run)
        return found

    def gpu_time(self, *, after: int, among: Collection[int], since: datetime) -> Sequence[GpuTime]:
        """Return for how long ended runs held GPUs: ids above `after`, or among these, that ended from `since` on.

        Runs without GPUs are left out.
        """
        columns = select(RUNS, JOBS.c.user, JOBS.c.project).join(JOBS).where(RUNS.c.ended_at >= since)
        later = columns.where(RUNS.c.id > after)  # apart from the others: of both at once SQLite reads every run
        named = [columns.where(RUNS.c.id <= after, RUNS.c.id.in_(among))] if among else []
        with self._database.read() as session:
            rows = [row for query in (*named, later) for row in session.execute(query.order_by(RUNS.c.id))]
        return [
            GpuTime(
                run_id=row.id,
                user=row.user,
                project=row.project,
                gpus=weight_of(row.devices),
                start=row.started_at or row.claimed_at,
                end=row.ended_at,
            )
            for row in rows
            if row.devices
        ]

    def anomalies(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[AnomalyEpisode]]:
        """Return the anomalies of each run of these jobs by its id, in order; a run without any is absent."""
        query = select(EventRecord).where(among(EVENTS.c.job_id, job_ids), EVENTS.c.kind == EventKind.ANOMALY)
        with self._database.read() as session:
            events = sorted(map(event_of, session.scalars(query)), key=lambda event: event.id)
        return episodes_of(events)


def runs_of(session: Session, query: Select[Any], asked: Mapping[str, Any] | None = None) -> list[Run]:
    """Return the runs of a query by id.

    They are sorted here, because for an ORDER BY id SQLite would read every run there ever was, and read as plain
    rows: records, which could be changed and written, take twice as long to make.
    """
    return sorted(map(run_of, session.execute(query, asked)), key=lambda run: run.id)

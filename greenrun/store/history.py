"""What jobs took that have succeeded, so that the next one like them need not be guessed."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, func, select
from sqlalchemy.orm import Session

from greenrun.core.energy.ledger import Total, complete
from greenrun.core.energy.model import Component, Quality, worst
from greenrun.core.jobs.history import FinishedJob
from greenrun.core.jobs.job import Job, Outcome, Run, State
from greenrun.core.jobs.runs.occupancy import expected_seconds
from greenrun.core.jobs.runs.retries import since_requeue
from greenrun.store.columns import among, days
from greenrun.store.database import Database
from greenrun.store.records import job_of, run_of
from greenrun.store.tables import JOBS, RUNS, SLICES, JobRecord, RunRecord

LATEST = 100  # jobs of a name, and of a project, that are looked at
METERED = 20  # of these, how many are asked for their energy, which takes reading all their slices
REMEMBERED = 10_000  # runs whose energy is kept in memory

_COUNTED = (Outcome.SUCCEEDED, Outcome.CHECKPOINTED)
_TRUSTED = frozenset({Quality.MEASURED, Quality.INTEGRATED, Quality.EMULATED})

_Finished = tuple[int, datetime | None]  # a job by its id, as it ended then: it may be requeued, and succeed again
_Latest = tuple[Sequence[_Finished], Sequence[_Finished]]  # of a name, and of a project


class FinishedJobRepository:
    """What is read of finished jobs to learn from them, each once: a job stays as it ended until it is requeued."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read: dict[_Finished, tuple[FinishedJob, tuple[Run, ...]]] = {}  # without the energy
        self._energies_j: dict[int, float | None] = {}  # of ended runs, wholly booked: they stay as they are
        self._latest: dict[tuple[str, str, str], tuple[int | None, _Latest]] = {}  # as of so many endings of jobs

    def finished_jobs(self, user: str, *, name: str, project: str) -> Sequence[FinishedJob]:
        """Return the user's latest succeeded jobs of this stated name ("": those without one) or project, newest first.

        Only the newest of each tell their energy.
        """
        named, grouped = self._alike(user, name, project)
        if not (named or grouped):
            return ()
        with self._database.read() as session:
            keys = sorted({*named, *grouped}, reverse=True)
            read = self._known(session, keys)
            newest_first = [key for key in keys if key in read]  # one that was requeued meanwhile is not
            metered = {*named[:METERED], *grouped[:METERED]}.intersection(newest_first)
            energies_j = self._meter(session, [run for key in metered for run in read[key][1]])
        rows = ((job, runs) for job, runs in map(read.__getitem__, newest_first) if runs)
        return [replace(job, energy_j=_energy_j(runs, energies_j)) for job, runs in rows]

    def _alike(self, user: str, name: str, project: str) -> _Latest:
        """Return the latest jobs of a name, and of a project; they are asked for again once a job has ended."""
        self._database.require_in_place()
        endings = self._database.live.endings()  # before the reading: what ends meanwhile makes another number
        asked = (user, name, project)
        known = self._latest if len(self._latest) <= LATEST else {}
        found = known.get(asked)
        if found is None or endings is None or found[0] != endings:
            with self._database.read() as session:
                named = _latest(session, user, JOBS.c.name == name)
                found = endings, (named, _latest(session, user, JOBS.c.project == project))
            known[asked] = found
        self._latest = known
        return found[1]

    def _known(
        self, session: Session, keys: Sequence[_Finished]
    ) -> Mapping[_Finished, tuple[FinishedJob, tuple[Run, ...]]]:
        """Return these jobs with the runs that count for each."""
        read = self._read if len(self._read) <= REMEMBERED else {}  # other threads may keep theirs, or forget it
        missing = [job_id for job_id, at in keys if (job_id, at) not in read]
        if missing:
            runs = _runs(session, missing)
            jobs = map(job_of, session.scalars(select(JobRecord).where(among(JOBS.c.id, missing))))
            counted = ((job, since_requeue(job, runs[job.id])) for job in jobs)
            read |= {(job.id, job.finished_at): (_finished(job, own), tuple(own)) for job, own in counted}
        self._read = read
        return read

    def _meter(self, session: Session, runs: Sequence[Run]) -> Mapping[int, float | None]:
        """Return what GPUs used in each of these runs that is wholly booked."""
        known = self._energies_j if len(self._energies_j) <= REMEMBERED else {}
        if unknown := [run for run in runs if run.id not in known]:
            known |= _energies_j(session, unknown)
        self._energies_j = known
        return known


def _latest(session: Session, user: str, alike: ColumnElement[bool]) -> list[_Finished]:
    query = select(JOBS.c.id, JOBS.c.finished_at).where(JOBS.c.user == user, alike, JOBS.c.state == State.SUCCEEDED)
    return [(row.id, row.finished_at) for row in session.execute(query.order_by(JOBS.c.id.desc()).limit(LATEST))]


def _runs(session: Session, job_ids: Iterable[int]) -> defaultdict[int, list[Run]]:
    """Return the runs that count for each job: failed ones tell nothing of how long it takes."""
    query = (
        select(RunRecord).where(among(RUNS.c.job_id, list(job_ids)), RUNS.c.outcome.in_(_COUNTED)).order_by(RUNS.c.id)
    )
    found: defaultdict[int, list[Run]] = defaultdict(list)
    for run in map(run_of, session.scalars(query)):
        found[run.job_id].append(run)
    return found


def _finished(job: Job, runs: Sequence[Run]) -> FinishedJob:
    times = [run.length for run in runs]
    return FinishedJob(
        job_id=job.id,
        finished_at=job.finished_at or job.submitted_at,
        name=job.spec.title,
        project=job.spec.project,
        gpus=job.spec.gpus,
        duration=sum(times, timedelta(0)),
        energy_j=None,
    )


def _energy_j(runs: Sequence[Run], energies_j: Mapping[int, float | None]) -> float | None:
    """Return what all of a job's runs used; None when it is not known of each."""
    known = [energy_j for run in runs if (energy_j := energies_j.get(run.id)) is not None]
    return sum(known) if len(known) == len(runs) else None


def _energies_j(session: Session, runs: Sequence[Run]) -> dict[int, float | None]:
    """Return what GPUs used in each run that is wholly booked; None where not all was measured or integrated.

    GPUs alone: whether CPUs are read may change, and the next job's power must be of the same things as the last one's.
    """
    query = (
        select(
            SLICES.c.run_id,
            SLICES.c.device,
            SLICES.c.quality,
            func.sum((days(SLICES.c.ended_at) - days(SLICES.c.started_at)) * SLICES.c.share).label("days"),
            func.sum(SLICES.c.energy_j).label("energy_j"),
        )
        .where(among(SLICES.c.run_id, [run.id for run in runs]), SLICES.c.component == Component.GPU)
        .group_by(SLICES.c.run_id, SLICES.c.device, SLICES.c.quality)
    )
    parts: defaultdict[int, list[Row[Any]]] = defaultdict(list)
    for row in session.execute(query):
        parts[row.run_id].append(row)
    totals = {run.id: _total(run, parts[run.id]) for run in runs if parts[run.id]}
    booked = {key: found for key, found in totals.items() if found.quality is not Quality.UNKNOWN}
    return {key: found.energy_j if found.quality in _TRUSTED else None for key, found in booked.items()}


def _total(run: Run, parts: Sequence[Row[Any]]) -> Total:
    booked_s: defaultdict[str, float] = defaultdict(float)
    for part in parts:
        booked_s[part.device] += part.days * 86_400
    booked = Total(
        energy_j=sum(part.energy_j for part in parts if part.energy_j is not None),
        quality=worst(Quality(part.quality) for part in parts),
    )
    return complete(booked, booked_s, expected_seconds(run, run.ended_at))

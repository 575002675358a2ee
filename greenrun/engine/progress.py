"""What runs say of the work they have done: believed where it can be true, and kept a little at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from greenrun.core.jobs.job import Run
from greenrun.core.jobs.runs.anomalies import Progress
from greenrun.core.jobs.runs.occupancy import Observed
from greenrun.core.jobs.runs.status import Phase, RunStatus
from greenrun.engine.ports import WorkStore

log = structlog.get_logger("greenrun.engine.progress")

KEEP_EVERY = timedelta(seconds=30)  # so often at the most what a live run says is stored, so that ticks stay cheap


@dataclass(slots=True, kw_only=True)
class _Told:
    """What a run said last, what of it is stored, and whether it was told that something was ignored."""

    unit: str | None
    progress: Progress | None = None
    said_at: datetime | None = None
    stored: float | None
    stored_at: datetime | None = None
    has_fault: bool = False


class WorkDone:
    """Follows the work that live runs report. After a restart of the daemon, evidence starts over."""

    def __init__(self, runs: WorkStore) -> None:
        self._runs = runs
        self._told: dict[int, _Told] = {}

    @property
    def progress(self) -> Mapping[int, Progress]:
        """What is known of the work of each live run that reports any."""
        return {run_id: told.progress for run_id, told in self._told.items() if told.progress is not None}

    def take(self, observed: Sequence[Observed], now: datetime) -> None:
        """Take in what was just said; what a run that has ended said last is stored at once."""
        live = {row.run.id for row in observed}
        self._told = {run_id: told for run_id, told in self._told.items() if run_id in live}
        for row in observed:
            if row.status.work_fault:
                self._ignore(row.run, row.status.work_fault, now)
            if row.status.work is not None:
                self._take(row.run, row.status, row.status.work, now)

    def _take(self, run: Run, status: RunStatus, work: float, now: datetime) -> None:
        told = self._told.setdefault(run.id, _Told(unit=run.work_unit, stored=run.work))
        least = told.progress.work if told.progress else run.work
        if told.unit not in (None, status.work_unit):
            return self._ignore(run, f"it counted {told.unit} before, and now {status.work_unit}", now)
        if least is not None and work < least:
            return self._ignore(run, f"it went back from {least:g} to {work:g}", now)
        told.unit, told.said_at = status.work_unit, status.work_at or now
        if told.progress is None:  # what it had grown by before it was watched tells no interval
            told.progress = Progress(work=work, at=now, grew=run.work is not None and work > run.work)
        elif now < told.progress.at:  # the clock was set back: waiting starts over
            told.progress, told.stored_at = replace(told.progress, work=work, at=now), None
        elif work > told.progress.work:
            told.progress = told.progress.grown(work, now)
        if told.stored_at is None or not now < told.stored_at + KEEP_EVERY or status.phase is not Phase.RUNNING:
            self.keep(run, now)
        return None

    def keep(self, run: Run, now: datetime) -> None:
        """Store what a run said last, if that is not stored yet."""
        told = self._told.get(run.id)
        if told is None or told.progress is None or told.unit is None or told.progress.work == told.stored:
            return
        self._runs.keep_work(run.id, work=told.progress.work, unit=told.unit, at=told.said_at or now)
        told.stored, told.stored_at = told.progress.work, now

    def _ignore(self, run: Run, why: str, now: datetime) -> None:
        """Say once for each run that something it said is not believed; its last good word stands."""
        told = self._told.setdefault(run.id, _Told(unit=run.work_unit, stored=run.work))
        if not told.has_fault and self._runs.note_ignored_work(run.id, why, now=now):
            log.warning("work ignored", job=run.job_id, run=run.label, why=why)
        told.has_fault = True

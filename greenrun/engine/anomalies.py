"""Detect anomalies of runs: record when one begins and ends, and stop jobs whose users asked for that."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from greenrun.core.energy.model import Component, Slice
from greenrun.core.jobs.history import LearnedPower, learn_power
from greenrun.core.jobs.job import Anomaly, Run
from greenrun.core.jobs.runs.anomalies import Limits, Progress, RuleResult, gpu_idle, power_off, stuck
from greenrun.core.jobs.runs.occupancy import Observed
from greenrun.core.jobs.runs.status import Phase
from greenrun.engine.ports import AnomalyNotes, FinishedJobStore, JobReader
from greenrun.engine.progress import WorkDone

log = structlog.get_logger("greenrun.engine.anomalies")


@dataclass(slots=True, kw_only=True)
class _Watched:
    """A run with the latest of its slices, what its name's jobs drew, and the anomalies that go on."""

    run: Run
    ongoing: set[Anomaly]
    pieces: list[Slice] = field(default_factory=list)
    learned: LearnedPower | None = None
    has_asked: bool = False

    def add(self, more: Sequence[Slice], window: timedelta) -> None:
        """Take in slices that were just booked, and forget what lies further back than `window`.

        What a device had after these began is of a time before the clock was set back, and forgotten too.
        """
        starts: dict[str, datetime] = {}
        for piece in more:
            starts[piece.device] = min(piece.start, starts.get(piece.device, piece.start))
        known = [piece for piece in self.pieces if piece.end <= starts.get(piece.device, piece.end)]
        last = max(piece.end for piece in more)
        self.pieces = [piece for piece in (*known, *more) if piece.end > last - window]


class Booked(Protocol):
    """What was booked last (`greenrun.engine.bookkeeping.Bookkeeping`): slices, and watts of each device when free."""

    latest: Sequence[Slice]
    idle_w: Mapping[str, float]


class AnomalyStore(Protocol):
    """What runs said and did before, what is known of their jobs, and where their anomalies are noted."""

    @property
    def jobs(self) -> JobReader: ...

    @property
    def runs(self) -> AnomalyNotes: ...

    @property
    def history(self) -> FinishedJobStore: ...


class AnomalyDetector:
    """Applies the rules of `greenrun.core.jobs.runs.anomalies` to the live runs; it never changes a plan.

    Evidence is lost when the daemon restarts. Ongoing anomalies are in the store, so none is counted twice.
    """

    def __init__(self, store: AnomalyStore, booked: Booked, limits: Limits) -> None:
        self._store = store
        self._booked = booked
        self._limits = limits
        self._work = WorkDone(store.runs)
        self._watched: dict[int, _Watched] = {}
        self._has_recalled = False

    @property
    def ongoing(self) -> Mapping[Anomaly, int]:
        """How many runs have each anomaly now."""
        return Counter(anomaly for watched in list(self._watched.values()) for anomaly in list(watched.ongoing))

    def check(self, observed: Sequence[Observed], now: datetime) -> None:
        """Store the progress that runs report, and judge each running one by it and by the slices just booked."""
        self._work.take(observed, now)
        running = {row.run.id: row.run for row in observed if row.status.phase is Phase.RUNNING}
        self._watched = {run_id: watched for run_id, watched in self._watched.items() if run_id in running}
        self._recall(running)
        new: dict[int, list[Slice]] = {}
        for piece in self._booked.latest:
            if piece.run_id in running and piece.component is Component.GPU:
                new.setdefault(piece.run_id, []).append(piece)
        progress = self._work.progress
        for run_id in (*new, *progress):
            if run_id in running and run_id not in self._watched:
                self._watched[run_id] = self._first_seen(running[run_id])
        for run_id, watched in self._watched.items():
            if run_id in new:
                watched.add(new[run_id], self._limits.window)
            for anomaly, result in self._results(watched, run_id in new, progress.get(run_id), now):
                self._judge(watched, anomaly, result, now)

    def _recall(self, running: Mapping[int, Run]) -> None:
        """Load, at the first check, which runs have an anomaly that began under an earlier daemon."""
        if not self._has_recalled:
            seen = [self._first_seen(run) for run in running.values()]
            self._watched |= {watched.run.id: watched for watched in seen if watched.ongoing}
        self._has_recalled = True

    def _first_seen(self, run: Run) -> _Watched:
        episodes = self._store.runs.anomalies([run.job_id]).get(run.id, ())
        return _Watched(run=run, ongoing={episode.anomaly for episode in episodes if episode.until is None})

    def _results(
        self, watched: _Watched, has_news: bool, progress: Progress | None, now: datetime
    ) -> Iterator[tuple[Anomaly, RuleResult]]:
        found = {Anomaly.STUCK: stuck(progress, now, self._limits)}
        if has_news:
            found[Anomaly.GPU_IDLE] = gpu_idle(watched.pieces, self._booked.idle_w, self._limits)
            learned = self._learned(watched)
            found[Anomaly.POWER_OFF] = power_off(watched.pieces, watched.run.devices, learned, self._limits)
        yield from ((anomaly, result) for anomaly, result in found.items() if result is not None)

    def _learned(self, watched: _Watched) -> LearnedPower | None:
        """What finished jobs of its name on as many GPUs drew, looked up once, when there is a window to compare."""
        window = self._limits.power_off
        if window is None or watched.pieces[-1].end - watched.pieces[0].start < window * 0.99:
            return None
        if not watched.has_asked:
            job = self._store.jobs.job(watched.run.job_id)
            spec = job.spec
            past = self._store.history.finished_jobs(job.user, name=spec.name, project=spec.project)
            found = learn_power(past, name=spec.title, project=spec.project, gpus=spec.gpus)
            is_its_own = found is not None and found.scope.name is not None and found.scope.gpus is not None
            watched.learned, watched.has_asked = found if is_its_own else None, True
        return watched.learned

    def _judge(self, watched: _Watched, anomaly: Anomaly, result: RuleResult, now: datetime) -> None:
        """Record a change. Power evidence is cleared when an anomaly ends, so that it does not flap by the minute."""
        run = watched.run
        if result.is_anomalous == (anomaly in watched.ongoing):
            return
        if anomaly is Anomaly.STUCK:
            self._work.keep(run, now)  # so that a restarted daemon takes none of it for new
        stop = result.is_anomalous and anomaly in self._store.jobs.job(run.job_id).spec.stop_on
        if not self._store.runs.note_anomaly(run.id, result, anomaly, stop=stop, now=now):
            return
        if result.is_anomalous:
            watched.ongoing.add(anomaly)
            log.warning("anomaly", job=run.job_id, run=run.label, rule=anomaly.value, why=result.text, stops=stop)
            return
        watched.ongoing.discard(anomaly)
        if anomaly is Anomaly.POWER_OFF:
            watched.pieces.clear()
        log.info("anomaly over", job=run.job_id, run=run.label, rule=anomaly.value, why=result.text)

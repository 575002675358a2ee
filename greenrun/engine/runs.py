"""Control every run from claim to verdict: start, confirm, stop and close it, or undo a claim that never spawned."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Protocol

import structlog

from greenrun.core.energy.gpu_parts import is_part
from greenrun.core.errors import ExecutorError, HostShort, StartPostponed
from greenrun.core.formatting import instant_text
from greenrun.core.jobs.job import Job, Outcome, Run, State
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.jobs.runs.occupancy import Observed
from greenrun.core.jobs.runs.resource_limits import ADDED_UP, lacking
from greenrun.core.jobs.runs.retries import after_pause
from greenrun.core.jobs.runs.status import EndedBy, Phase, RunStatus
from greenrun.core.planning.decisions import Start, Suspend, verdict
from greenrun.engine.ports import Executor, JobReader, ReasonStore, RunLifecycle
from greenrun.engine.start_pause import StartPause

log = structlog.get_logger("greenrun.engine.runs")

MAX_LAUNCHES = 3  # claims of one job that were proved never to have spawned, before it is given up
OTHER_CLOCK = timedelta(seconds=2)  # a start so long before its claim, or ahead of now, is by another clock
RELAUNCH_AFTER = timedelta(seconds=2)  # and twice as long after each of them


class RunJobs(JobReader, ReasonStore, Protocol):
    """The jobs of runs, and why each is where it is."""


class RunController:
    """Drives the executor for the engine; every decision it records is one compare-and-set in the store."""

    def __init__(
        self,
        jobs: RunJobs,
        runs: RunLifecycle,
        executor: Executor,
        *,
        launch_timeout: timedelta,
        resources: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._jobs = jobs
        self._runs = runs
        self._executor = executor
        self._launch_timeout = launch_timeout
        self._resources = resources
        self._launched: dict[int, datetime] = {}  # by this process: a claim that is not here was left by a crash
        self._postponed: dict[int, Reason] = {}  # by the run that this machine could not start
        self._own_pauses: dict[int, StartPause] = {}  # of jobs, where what one lacks is not lacking for others
        self._failed_launches: Counter[int] = Counter()
        self._put_off: dict[int, tuple[datetime, datetime]] = {}  # of jobs: since when, and until when
        self._undated: set[int] = set()  # the live runs that were dated by another clock than this one
        self.pause = StartPause()
        self.suspending: frozenset[int] = frozenset()  # the runs that were asked to checkpoint, by whichever daemon
        self.failures: Counter[str] = Counter()

    def observe(self, now: datetime) -> list[Observed]:
        """Poll every live run; an unreachable run counts as live, not as ended."""
        live = self._runs.live_runs()
        self._undated &= {run.id for run in live}
        observed = [Observed(run=run, status=self._dated(run, self._poll(run), now)) for run in live]
        self.suspending = frozenset(row.run.id for row in observed if self._is_suspending(row))
        return observed

    def reap(self, observed: Sequence[Observed], now: datetime) -> None:
        """Confirm runs that have started, close those that have ended, and requeue those that never spawned."""
        for row in observed:
            job = self._jobs.job(row.run.job_id)
            match row.status.phase:
                case Phase.RUNNING:
                    self._confirm(row, job, now)
                case Phase.EXITED | Phase.LOST | Phase.INTERRUPTED:
                    self._close(row, job, now)
                case Phase.ABSENT | Phase.FENCED:
                    self._take_back(row, now)
                case Phase.UNKNOWN if job.reason is None or job.reason.code is not ReasonCode.ANOMALOUS:
                    self._jobs.set_reason({job.id: because(ReasonCode.UNREACHABLE, why=row.status.detail)}, now=now)

    def start(self, start: Start, now: datetime) -> Reason | None:
        """Claim the job, durably, and only then spawn its run, unless its last launch failed a moment ago.

        Return why it was not claimed, where this machine lacks something for it.
        """
        job_id = start.placement.job_id
        if self.pause.is_on(now) or self._is_put_off(job_id, now):
            return self.why_paused(job_id, now)
        if (lack := self._lacking(job_id)) is not None:
            return lack
        try:
            with self._executor.room(len(start.devices) + sum(map(is_part, start.devices))):
                self._claim_and_spawn(start, now)
        except HostShort as exc:  # nothing was claimed
            self.failures["start"] += 1
            log.warning("starts pause", error=str(exc))
            self._wait_for_room(start, exc.what, now)
            return self.why_paused(job_id, now)
        return None

    def why_paused(self, job_id: int, now: datetime) -> Reason | None:
        """Return what this machine lacks for a job, or for all, while their starts pause; None where they do not."""
        own = self._own_pauses.get(job_id)
        paused = self.pause if self.pause.is_on(now) or own is None else own
        return paused.reason if paused.is_on(now) else None

    def _lacking(self, job_id: int) -> Reason | None:
        """Return what a job has to wait for that those which run were given; None for one that is not limited."""
        spec = self._jobs.job(job_id).spec if self._resources else None
        if spec is None or all(getattr(spec, name) is None for name in ADDED_UP):
            return None
        running = [self._jobs.job(run.job_id).spec for run in self._runs.live_runs()]
        return lacking(spec, running, self._resources)

    def _claim_and_spawn(self, start: Start, now: datetime) -> None:
        placement = start.placement
        run = self._runs.claim(placement.job_id, start.devices, reason=after_pause(placement.reason), now=now)
        if run is None:
            return  # cancelled, held or claimed meanwhile
        self._launched[run.id] = now
        try:
            self._executor.start(run, self._jobs.job(placement.job_id))
        except ExecutorError as exc:
            self.failures["start"] += 1
            log.warning("start failed", job=run.job_id, run=run.label, error=str(exc))
            if isinstance(exc, HostShort):
                self.pause.extend(exc.what, now)
                self._postponed[run.id] = self.pause.reason
            if self._is_fenced(run):
                launches = self._failed_launch(run, now, counts=not isinstance(exc, StartPostponed))
                self._unclaim(run, str(exc), launches, now)
            return
        log.info(
            "starting", job=run.job_id, run=run.label, reason=placement.reason.code.value,
            g_per_kwh=placement.intensity_g_per_kwh, devices=run.devices,
        )  # fmt: skip

    def _wait_for_room(self, start: Start, what: str, now: datetime) -> None:
        """Pause all starts, or only this one where what is lacking for its GPUs is not lacking for others."""
        if not start.devices or not self._can_start_others():
            self.pause.extend(what, now)
            return
        self._pause_alone(start.placement.job_id, what, now)

    def _pause_alone(self, job_id: int, what: str, now: datetime) -> StartPause:
        """Put one job off, because this machine lacks something for it that it does not lack for others."""
        pause = self._own_pauses.setdefault(job_id, StartPause())
        pause.extend(what, now)
        self._put_off[job_id] = (now, pause.until or now)
        return pause

    def suspend(self, asked: Suspend, now: datetime) -> None:
        """Ask a running job to checkpoint; its GPUs stay its own until its run has ended."""
        for run in self._runs.live_runs():
            if run.job_id == asked.job_id and self._checkpoint(run):
                self.suspending |= {run.id}
                self._jobs.set_reason({run.job_id: asked.reason}, now=now)
                log.info("suspending", job=run.job_id, run=run.label, why=asked.reason.text)

    def held_elsewhere(self, devices: Sequence[str]) -> dict[str, str]:
        """Return those free devices that somebody outside this store holds, with who."""
        try:
            return dict(self._executor.held_elsewhere(devices))
        except ExecutorError as exc:
            self.failures["held_elsewhere"] += 1
            log.warning("cannot tell who holds the GPUs, so none is leased", error=str(exc))
            return dict.fromkeys(devices, f"unknown: {exc}")

    def _poll(self, run: Run) -> RunStatus:
        try:
            return self._executor.poll(run)
        except ExecutorError as exc:
            self.failures["poll"] += 1
            return RunStatus(phase=Phase.UNKNOWN, detail=str(exc))

    def _dated(self, run: Run, status: RunStatus, now: datetime) -> RunStatus:
        """Have a run that was dated by another clock begin when it was claimed, and end when that is seen."""
        at = status.started_at
        if run.started_at is None and at is not None and not run.claimed_at - OTHER_CLOCK <= at <= now + OTHER_CLOCK:
            if run.id not in self._undated:
                log.warning(
                    "a run's supervisor has another clock, so its energy is not known",
                    job=run.job_id, run=run.label, claimed_at=run.claimed_at.isoformat(), started_at=at.isoformat(),
                )  # fmt: skip
            self._undated.add(run.id)
        if run.id not in self._undated or at is None:
            return status
        ended_at = now if status.ended_at is not None else None
        return replace(status, started_at=min(run.claimed_at, now), ended_at=ended_at, is_undated=True)

    def _is_suspending(self, row: Observed) -> bool:
        unheard = row.status.phase is Phase.UNKNOWN and row.run.id in self.suspending
        return row.status.is_checkpointing or unheard

    def _confirm(self, row: Observed, job: Job, now: datetime) -> None:
        if job.state is State.STARTING and row.status.started_at is not None:
            self._runs.confirm(row.run.id, started_at=row.status.started_at, log=row.status.log, now=now)
            self._launched.pop(row.run.id, None)
            self._note_started(job)
            log.info("started", job=job.id, run=row.run.label, devices=row.run.devices)
        elif job.reason is not None and job.reason.code is ReasonCode.UNREACHABLE:
            self._jobs.set_reason({job.id: _runs_on(row)}, now=now)
        if job.cancel_requested:
            self._stop(row.run)
        elif row.status.is_checkpointing:
            self._checkpoint(row.run)  # once more: a crash may have come between the note of it and the signal

    def _note_started(self, job: Job) -> None:
        """Begin anew to count what keeps the job, and others, from starting."""
        self.pause.end()
        self._forget(job.id)

    def _forget(self, job_id: int) -> None:
        """Forget the launches of a job that failed: it has started, or ended and may be requeued."""
        self._own_pauses.pop(job_id, None)
        self._failed_launches.pop(job_id, None)
        self._put_off.pop(job_id, None)

    def _is_put_off(self, job_id: int, now: datetime) -> bool:
        """Whether a job's next launch is to wait; not so once the clock was set back to before the last one."""
        since, until = self._put_off.get(job_id, (now, now))
        return since <= now < until

    def _stop(self, run: Run) -> None:
        try:
            self._executor.stop(run, by="cancel")
        except ExecutorError as exc:
            self.failures["stop"] += 1
            log.warning("stop failed, will be tried again", run=run.label, error=str(exc))

    def _checkpoint(self, run: Run) -> bool:
        try:
            self._executor.checkpoint(run, by="the plan")
        except ExecutorError as exc:
            self.failures["checkpoint"] += 1
            log.warning("checkpoint not asked for, the run goes on", run=run.label, error=str(exc))
            return False
        return True

    def _close(self, row: Observed, job: Job, now: datetime) -> None:
        if row.status.shortage and row.status.ended_by is EndedBy.NOT_STARTED:
            self._postpone(row, now)
            return
        if row.status.started_at is not None:
            self._note_started(job)
        judged = verdict(row.status, job, self._runs.of_jobs([job.id])[job.id], row.run, now)
        closed = self._runs.close_run(
            row.run.id,
            outcome=judged.outcome,
            exit_code=row.status.exit_code,
            started_at=row.status.started_at,
            ended_at=row.status.ended_at or now,
            ran=row.status.ran,
            log=row.status.log,
            job_state=judged.job_state,
            reason=judged.reason,
            progress=judged.progress,
            retry_at=judged.retry_at,
            image=row.status.image,
            now=now,
        )
        self._launched.pop(row.run.id, None)
        if judged.job_state is not State.QUEUED:
            self._forget(job.id)
        if closed:
            log.info("ended", job=job.id, run=row.run.label, outcome=judged.outcome.value, code=row.status.exit_code)

    def _postpone(self, row: Observed, now: datetime) -> None:
        """Requeue a job whose command this machine could not start; it costs no attempt."""
        what, job_id = row.status.shortage, row.run.job_id
        if row.status.phase is Phase.EXITED and self._can_start_others():
            pause = self._pause_alone(job_id, what, now)
        else:
            pause = self.pause
            pause.extend(what, now)
        self._postponed[row.run.id] = pause.reason
        self._unclaim(row.run, row.status.detail, 0, now)

    def _can_start_others(self) -> bool:
        """Whether what one job lacked, such as room where its log is to be, is not lacking everywhere."""
        try:
            with self._executor.room():
                return True
        except HostShort:
            return False

    def _take_back(self, row: Observed, now: datetime) -> None:
        """Requeue a job whose claim never spawned, once it is certain that it never will."""
        run, spawned = row.run, self._launched.get(row.run.id)
        if row.status.shortage and self._is_fenced(run):
            self._postpone(row, now)
            return
        if spawned is not None and abs(now - spawned) < self._launch_timeout:
            return
        if self._is_fenced(run):  # a claim that a crash left is no failed launch: its job may start again at once
            is_fault = spawned is not None and run.id not in self._postponed
            launches = self._failed_launch(run, now) if is_fault else 0
            self._unclaim(run, "its supervisor did not come up", launches, now)

    def _is_fenced(self, run: Run) -> bool:
        """Make sure that the run can never start; False when it has started, or that cannot be told."""
        try:
            return self._executor.fence(run)
        except ExecutorError as exc:
            self.failures["bar"] += 1
            log.warning("cannot tell whether it started, so it is not started again", run=run.label, error=str(exc))
            return False

    def _failed_launch(self, run: Run, now: datetime, *, counts: bool = True) -> int:
        """Put the job's next launch off; return how many of its launches failed, not counting busy GPUs."""
        self._failed_launches[run.job_id] += counts
        launches = self._failed_launches[run.job_id]
        self._put_off[run.job_id] = (now, now + RELAUNCH_AFTER * 2**launches)
        return launches

    def _unclaim(self, run: Run, why: str, launches: int, now: datetime) -> None:
        """Close a run that never spawned and requeue its job; after MAX_LAUNCHES failed ones, fail it."""
        self._launched.pop(run.id, None)
        job = self._jobs.job(run.job_id)
        postponed = None if job.cancel_requested else self._postponed.get(run.id)
        self._postponed.pop(run.id, None)
        state = _state_after_unclaim(job, launches)
        if state is not State.QUEUED:
            self._forget(job.id)
        self._runs.close_run(
            run.id,
            outcome=Outcome.FAILED_TO_START,
            exit_code=None,
            started_at=None,
            ended_at=now,
            log=None,
            job_state=state,
            reason=postponed or because(ReasonCode.FAILED_TO_START, why=why),
            now=now,
        )
        log.warning("not started", job=run.job_id, run=run.label, why=why)


def _runs_on(row: Observed) -> Reason:
    at = instant_text(row.status.started_at or row.run.claimed_at)
    return because(ReasonCode.RUNNING, at=at, devices=", ".join(row.run.devices), why="its executor answers again")


def _state_after_unclaim(job: Job, launches: int) -> State:
    if job.cancel_requested:
        return State.CANCELLED
    return State.QUEUED if launches < MAX_LAUNCHES else State.FAILED

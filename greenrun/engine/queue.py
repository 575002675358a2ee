"""The unfinished jobs, with what is derived from them kept for as long as they stay as they are."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import structlog

from greenrun.core.formatting import instant_text
from greenrun.core.jobs.dependencies import hopeless
from greenrun.core.jobs.job import LIMIT_SLACK, Job, JobSpec, State
from greenrun.core.jobs.reasons import Reason, ReasonCode, because
from greenrun.core.jobs.runs.retries import TOO_LONG
from greenrun.core.jobs.transitions import SCHEDULER
from greenrun.core.planning.model import Options
from greenrun.engine.ports import QueueStore

log = structlog.get_logger("greenrun.engine.queue")


class Queue:
    """The unfinished jobs as the store has them.

    `jobs` are all of them by id, `queued` those that wait to start, `states` the states of the jobs that these wait
    for. None of them is ever changed: after news there are new ones.
    """

    def __init__(self, store: QueueStore, options: Options) -> None:
        self._store, self._options = store, options
        self.jobs: Mapping[int, Job] = {}
        self.queued: tuple[Job, ...] = ()
        self.states: Mapping[int, State] = {}
        self._last_id: int | None = None  # not known yet
        self._first_expiry: datetime | None = None
        self._last_retry: datetime | None = None
        self._first_limit: datetime | None = None
        self._is_checked = True

    def refresh(self) -> None:
        """Read the jobs again if any has changed."""
        jobs = self._store.unfinished()
        if jobs is self.jobs:
            return
        queued = tuple(job for job in jobs.values() if job.state is State.QUEUED)
        states = self.awaited(job.spec for job in queued)
        self.jobs, self.queued = jobs, queued
        self._last_retry = max((job.retry_at for job in queued if job.retry_at), default=None)
        limits = (job.limit_passes_at for job in jobs.values() if not job.deadline_missed)
        self._first_limit = min((at for at in limits if at is not None), default=None)
        if self._last_id is not None:
            self._last_id = max(self._last_id, max(jobs, default=0))
        self.states = self.states if states == self.states else states
        self._is_checked = False

    def next_id(self) -> int:
        """Return the id that the next job is given; a lower one where the last ended before anybody looked."""
        before = self._store.last_id() if self._last_id is None else self._last_id
        self._last_id = max(before, max(self._store.unfinished(), default=0))
        return self._last_id + 1

    def awaited(self, specs: Iterable[JobSpec]) -> Mapping[int, State]:
        """Return the states of the jobs that these wait for."""
        return self._store.job_states({row.job_id for spec in specs for row in spec.after})

    def end_wrong_pauses(self, now: datetime) -> None:
        """Have no job wait after a failure for as long as the clock was set back since."""
        self.refresh()
        if self._last_retry is not None and self._last_retry > now + TOO_LONG:
            wrong = [job.id for job in self.queued if job.retry_at and job.retry_at > now + TOO_LONG]
            self._store.end_pauses(wrong, now=now)
            log.warning("pauses after failures end, since the clock was set back", jobs=wrong[:10], count=len(wrong))
            self.refresh()

    def count_missed_limits(self, now: datetime) -> None:
        """Count jobs that wait or run past a limit of their user's: one that never starts has missed it, too."""
        self.refresh()
        if self._first_limit is None or now <= self._first_limit:
            return
        missed = [job.id for job in self.jobs.values() if not job.deadline_missed and job.has_missed_limit(now)]
        if missed:
            self._store.miss_limits(missed, now=now)
            self.refresh()

    @property
    def next_limit(self) -> datetime | None:
        """When to count again, at the first limit of a job's that is not missed yet; None without one."""
        return None if self._first_limit is None else self._first_limit + LIMIT_SLACK + timedelta(microseconds=1)

    def end_unstartable_jobs(self, now: datetime) -> None:
        """Cancel queued jobs on request and those that can never start; expire those that asked not to start late."""
        self.refresh()
        if self._is_checked and (self._first_expiry is None or now <= self._first_expiry):
            return
        states, ends = dict(self.states), dict[int, tuple[State, Reason]]()
        for job in self.queued:  # by id, so that those which a job waits for come before it
            if why := self._verdict(job, states, now):
                ends[job.id] = why
                states[job.id] = why[0]
        if ends:
            if not self._store.change_states(State.QUEUED, ends, actor=SCHEDULER, now=now):
                return  # the next tick looks again
            for job_id, (state, _) in ends.items():
                log.info("ended", job=job_id, outcome=state.value)
            self.refresh()
        self._first_expiry = min(filter(None, map(self._expiry, self.queued)), default=None)
        self._is_checked = True

    def _verdict(self, job: Job, states: Mapping[int, State], now: datetime) -> tuple[State, Reason] | None:
        if job.cancel_requested:
            return State.CANCELLED, because(ReasonCode.CANCELLED)
        if why := hopeless(job, states):
            return State.CANCELLED, why
        expiry = self._expiry(job)
        if expiry is not None and now > expiry:
            latest = job.latest_start(self._options.default_max_delay)
            return State.EXPIRED, because(ReasonCode.EXPIRED, latest=instant_text(latest))
        return None

    def _expiry(self, job: Job) -> datetime | None:
        """Return when a job expires if it has not begun by then; None for one that does not."""
        if not job.expires:
            return None
        return job.latest_start(self._options.default_max_delay) + self._options.due_grace

"""The loop: greenrun's own engine in virtual time, which leaps from one event to the next and never looks ahead."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import groupby

import structlog

from greenrun.core.carbon.calibration import MEMORY
from greenrun.core.energy.power_limit import parse_power_cap
from greenrun.core.errors import InvalidInput, InvalidJob
from greenrun.core.jobs.job import Job, JobSpec, State
from greenrun.core.planning.arrivals.learning import PastJob, learn_arrivals
from greenrun.core.planning.model import Arrivals, Options
from greenrun.core.planning.power_capping.slowdown import with_slowdown
from greenrun.engine.bookkeeping import OUTAGE_SLICE_STEP
from greenrun.engine.engine import Engine, EngineSettings
from greenrun.simulation.case import SHORTEST_RUN, Case
from greenrun.simulation.foresight import (
    ZONE,
    Foresight,
    SimulatedForecastProvider,
    SimulatedHistoryProvider,
    earlier_forecasts,
)
from greenrun.simulation.machine import Machine, instant
from greenrun.simulation.memory import MemoryStore
from greenrun.simulation.memory_books import MemoryBooks
from greenrun.simulation.policies import Arrival
from greenrun.simulation.schedule import Schedule

LEARNED_FROM = timedelta(days=90)  # how much of what lies before the start counts as measured and foretold history
CLIMATOLOGY_DAYS = 28
FURTHEST = timedelta(days=14)  # how far ahead is planned at most, however long jobs take and may wait
_AT_ONE_INSTANT = 10  # ticks at one instant: a run that checkpoints frees its GPUs for others at once
_LONG = timedelta(days=1)  # the engine's regular tick, which events come before
_USER = "simulation"

Told = Callable[[int], None]  # how many jobs have ended


def play(case: Case, *, told: Told | None = None) -> Schedule:
    """Run the case's jobs with greenrun's engine and return when each of them ran."""
    with _unlogged():
        return World(case).play(told)


def forecast_view(case: Case) -> Foresight:
    """Return what can be known of the case's grid at each instant."""
    until = case.measured.end if case.site.may_wait_for_ever else None
    return Foresight(case.issues, case.reach, case.start, until or case.latest_end)


class World:
    """One simulation: the engine with its five ports in memory, and the clock in its hand."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._order = sorted(range(len(case.jobs)), key=lambda row: (case.jobs[row].submitted_s, row))
        self._rows: list[int] = []  # the row in the case of each job, by its id in the store less one
        self._told = 0  # how many jobs of `_order` have come
        self._refused: dict[int, str] = {}  # by row
        self._view = forecast_view(case)
        self._store = MemoryStore()
        if case.site.is_metered:
            self._store.books = MemoryBooks(self._store.jobs)
        self.machine = Machine(case.site.devices(case.most_gpus), case.start, is_metered=case.site.is_metered)
        history = SimulatedHistoryProvider(case.measured)
        self._remember_the_past(history)
        self.engine = Engine(
            store=self._store,
            executor=self.machine,
            meter=self.machine,
            forecasts=[SimulatedForecastProvider(self._view)],
            histories=[history],
            power_limits=self.machine,
            settings=_settings(case),
        )

    @property
    def store(self) -> MemoryStore:
        """What the engine has kept."""
        return self._store

    def play(self, told: Told | None = None) -> Schedule:
        """Let everything happen in its order; raise InvalidInput when a job is never started.

        Where jobs may wait for ever, none is started once the intensities end.
        """
        arrivals, news = self._arrivals(), self._news()
        arrival, change, due = next(arrivals, None), next(news, None), self._case.start
        until = self._case.measured.end if self._case.site.may_wait_for_ever else None
        while arrival or self._is_busy():
            now = min(moment for moment in (arrival, change, due if self._is_busy() else None) if moment is not None)
            if until is not None and now >= until:
                self.engine.draining = True
                if not arrival and not self._store.runs.live_runs():
                    break
            self.machine.now = now
            if change is not None and change <= now:
                self.engine.refresh(now)
                change = next(news, None)
            if arrival == now:
                self._reveal(now)
                arrival = next(arrivals, None)
            if self._is_busy():
                due = self._tick(now)
                if told is not None:
                    told(self._told - self._busy())
            if until is None:
                self._check_progress(arrival, change, due, now)
        self._check_ends()
        return self._schedule()

    def _remember_the_past(self, history: SimulatedHistoryProvider) -> None:
        """Store what a daemon that has run for months would have stored by now."""
        start = self._case.start
        first = start - LEARNED_FROM
        self._store.grid.save_intensities(history.history(ZONE, first, start, start), fetched_at=start)
        for foretold in earlier_forecasts(self._case.issues, self._case.reach, start - MEMORY, start):
            self._store.grid.save_forecast(foretold)

    def _tick(self, now: datetime) -> datetime:
        """Tick until nothing more happens at this instant; return when to tick next."""
        for _ in range(_AT_ONE_INSTANT):
            self.machine.ended_early = False
            due = self.engine.tick(now)
            if not self.machine.ended_early:
                break
        return min(filter(None, (due, self.machine.next_end)))

    def _arrivals(self) -> Iterator[datetime]:
        """The instants at which jobs are submitted, each once."""
        last = None
        for row in self._order:
            at = self._told_at(row)
            if at != last:
                yield at
            last = at

    def _told_at(self, row: int) -> datetime:
        """When a job becomes known."""
        submitted = instant(self._case.jobs[row].submitted_s)
        return max(submitted - self._case.notice, min(submitted, self._case.start))

    def _news(self) -> Iterator[datetime]:
        return (instant(float(at_s)) for at_s in self._view.news_s)

    def _reveal(self, now: datetime) -> None:
        """Submit the jobs whose instant has come: until now nothing has known of them."""
        new = []
        for row in self._order[self._told :]:
            if self._told_at(row) != now:
                break
            new.append(row)
        self._told += len(new)
        for user, rows in groupby(new, key=lambda row: self._case.jobs[row].user or _USER):
            specs = {row: _spec(self._case, row, now) for row in rows}
            if self._case.site.budgets.budgets:
                specs = {row: spec for row, spec in specs.items() if self._is_accepted(row, spec, user, now)}
            else:
                self._store.jobs.add_jobs(list(specs.values()), user=user, uid=0, now=now)
            self._rows += specs

    def _is_accepted(self, row: int, spec: JobSpec, user: str, now: datetime) -> bool:
        """Submit a job if its budgets let it be, as the daemon does."""
        try:
            self.engine.check_budgets([spec], user=user, uid=0, now=now)
        except InvalidJob as exc:
            self._refused[row] = f"was refused: {exc}"
            return False
        job, _ = self._store.jobs.add_job(spec, user=user, uid=0, now=now)
        self.engine.budgets.take([job], now)
        return True

    def _is_busy(self) -> bool:
        return self._busy() > 0

    def _busy(self) -> int:
        counts = self._store.jobs.job_counts()
        return sum(counts.get(state, 0) for state in (State.QUEUED, State.STARTING, State.RUNNING))

    def _check_progress(self, arrival: datetime | None, change: datetime | None, due: datetime, now: datetime) -> None:
        stuck = self._is_busy() and not self._store.runs.live_runs() and arrival is None and change is None
        if stuck and due - now >= _LONG:
            job = next(iter(self._store.jobs.jobs([State.QUEUED])))
            reason = self.engine.plan.reason(job.id)
            why = reason.text if reason else "no reason was given"
            raise InvalidInput(f"the simulation stopped: the job in row {self._rows[job.id - 1]} never starts: {why}")

    def _check_ends(self) -> None:
        """Refuse to tell figures of which a job is missing."""
        for job in self._store.jobs.jobs([State.FAILED, State.CANCELLED, State.EXPIRED])[:1]:
            why = job.reason.text if job.reason else "no reason was given"
            raise InvalidInput(f"the simulation stopped: the job in row {self._rows[job.id - 1]} {job.state}: {why}")

    def _schedule(self) -> Schedule:
        pieces: list[tuple[tuple[float, float], ...]] = [()] * len(self._case.jobs)
        powers_w: dict[int, tuple[float, ...]] = {}
        for job_id, spans in self.machine.pieces.items():
            row, drawn = self._rows[job_id - 1], self.machine.powers_w[job_id]
            ran = [(start, end, power_w) for (start, end), power_w in zip(spans, drawn, strict=True) if end > start]
            pieces[row] = tuple((start.timestamp(), end.timestamp()) for start, end, _ in ran)
            if len(set(drawn)) > 1:
                powers_w[row] = tuple(power_w for *_, power_w in ran)
        waiting = self._store.jobs.jobs([State.QUEUED])
        undone = self._refused | {
            self._rows[job.id - 1]: f"has not run when the intensities end: {self._why(job)}" for job in waiting
        }
        return Schedule(pieces=tuple(pieces), powers_w=powers_w, undone=undone)

    def _why(self, job: Job) -> str:
        reason = self.engine.plan.reason(job.id) or job.reason
        return reason.text if reason else "no reason was given"


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep the engine from logging virtual events as if they happened now."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def _settings(case: Case) -> EngineSettings:
    longest_s = max(job.max_delay_s + job.duration_s for job in case.jobs)
    horizon = max(case.reach, min(FURTHEST, case.notice + timedelta(seconds=longest_s)))
    return EngineSettings(
        zone=ZONE,
        tick=_LONG,
        horizon=horizon,
        climatology_days=CLIMATOLOGY_DAYS,
        cpu_slots=0,
        options=Options(shares=case.shares, pue=case.site.pue),
        site_power=case.site_power,
        reserved=case.site.reserved,
        budgets=case.site.budgets,
        power_limits=case.site.power_limits,
        slice_step=OUTAGE_SLICE_STEP,  # what jobs draw changes when the engine ticks, and never between
        is_power_measured=False,
        is_watched=False,
        arrivals=_usual(case),
    )


def _usual(case: Case) -> Arrivals:
    """Learn what usually arrives from the case's earlier jobs."""
    past = [
        PastJob(
            submitted_s=job.submitted_s,
            length_s=job.duration_s,
            gpus=job.gpus,
            watts=job.power_w,
            wait_s=job.max_delay_s,
        )
        for job in case.earlier
    ]
    first_s = min((job.submitted_s for job in case.earlier), default=0.0)
    return learn_arrivals(past, case.start.timestamp() - first_s) if past else ()


def _spec(case: Case, row: int, told_at: datetime) -> JobSpec:
    job = case.jobs[row]
    submitted = instant(job.submitted_s)
    limit, note = _power_limit(job)
    return JobSpec(
        command=("true",),
        workdir="/",
        name=f"row {row}",
        project=job.project,
        power_cap=limit,
        power_cap_note=note,
        gpus=job.gpus,
        duration=timedelta(seconds=job.duration_s),
        power_w=job.power_w,
        start_after=submitted if submitted > told_at else None,
        max_delay=submitted - told_at + timedelta(seconds=job.max_delay_s),
        interruptible=job.interruptible,
        min_run=SHORTEST_RUN,
        restart_cost=case.restart_cost,
    )


def _power_limit(job: Arrival) -> tuple[str | None, str | None]:
    """Return what power limit a job allows, with the slowdown to plan with, and where that comes from."""
    if not job.power_limit:
        return None, None
    cap = parse_power_cap(job.power_limit)
    share = cap.share if cap.watts is None else min(1.0, cap.watts * job.gpus / job.power_w)
    planned, note = with_slowdown(cap, share, None)
    return str(planned), note

"""The loop: one tick observes, accounts, reaps, plans and carries out; the clock that calls it is somebody else's.

Every step is a short transaction with a compare-and-set, so a crash between any two of them is mended by the next tick.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from greenrun.clock import stopwatch
from greenrun.core.carbon.fallback import StalenessRules
from greenrun.core.carbon.intensity import Forecast
from greenrun.core.energy.model import gpus
from greenrun.core.errors import MeterError
from greenrun.core.histogram import PLAN_DURATION, Histogram
from greenrun.core.jobs.anomalies import Limits
from greenrun.core.jobs.dependencies import blocked
from greenrun.core.jobs.job import LIVE, Job, JobSpec, Run, State
from greenrun.core.jobs.occupancy import Observed
from greenrun.core.planning.admission import admit_each
from greenrun.core.planning.arrivals.learning import MEMORY, MOST, expected_arrivals
from greenrun.core.planning.capacity import kind_of, pools_of
from greenrun.core.planning.decisions import decide, expected_end, suspensions
from greenrun.core.planning.model import Arrivals, DeviceKind, Options, Placement, Plan, Running, Situation, Waiting
from greenrun.core.planning.planner import plan
from greenrun.core.planning.stability import has_run_since, needs_replanning
from greenrun.engine.anomalies import AnomalyDetector
from greenrun.engine.bookkeeping import Bookkeeping
from greenrun.engine.polling import RequestCounts
from greenrun.engine.ports import EngineStore, Executor, ForecastProvider, HistoryProvider, Meter
from greenrun.engine.queue import awaited, end_unstartable_jobs
from greenrun.engine.runs import RunController
from greenrun.engine.zone import GridZone, ZoneSettings, ZoneUpdate

log = structlog.get_logger("greenrun.engine.engine")

ELSEWHERE_FOR = timedelta(seconds=30)  # how long a GPU that somebody else holds is planned around before looking again


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the engine needs of the settings. `zone` None: no place is known, so energy is booked without emissions.

    `also` are further zones to watch, `marginal_zone` is what the source of marginal values calls this zone.
    `horizon` is how far ahead of now the grid is planned with; the normal of each hour is learned from the last
    `climatology_days` days measured, and 0 plans with the provider's forecast as it is. `arrivals` are the jobs that
    usually come.
    """

    zone: str | None = None
    also: tuple[str, ...] = ()
    marginal_zone: str | None = None
    staleness: StalenessRules = field(default_factory=StalenessRules)
    tick: timedelta = timedelta(seconds=5)
    horizon: timedelta = timedelta(hours=48)
    climatology_days: int = 0
    cpu_slots: int = 2
    launch_timeout: timedelta = timedelta(seconds=10)
    options: Options = field(default_factory=Options)
    is_watched: bool = True
    anomalies: Limits = field(default_factory=Limits)
    arrivals: Arrivals = ()


class Engine:
    """Drives the world through the five ports. One call at a time, but for `fetch`: its caller sees to that."""

    def __init__(
        self,
        *,
        store: EngineStore,
        executor: Executor,
        meter: Meter,
        forecasts: Sequence[ForecastProvider] = (),
        histories: Sequence[HistoryProvider] = (),
        marginal: Sequence[HistoryProvider] = (),
        settings: EngineSettings | None = None,
    ) -> None:
        self.settings = settings or EngineSettings()
        self._store = store
        self._meter = meter
        self.requests = RequestCounts()
        home = ZoneSettings(climatology_days=self.settings.climatology_days, staleness=self.settings.staleness)
        watched = replace(home, is_home=False)
        self.zone = GridZone(
            store, self.settings.zone, forecasts, histories, home, self.requests,
            marginal=marginal, marginal_zone=self.settings.marginal_zone,
        )  # fmt: skip
        others = (GridZone(store, name, forecasts, histories, watched, self.requests) for name in self.settings.also)
        self.zones = (self.zone, *others)
        self._books = Bookkeeping(store, meter, self.zone.intensities, pue=self.settings.options.pue)
        self._runs = RunController(store.jobs, store.runs, executor, launch_timeout=self.settings.launch_timeout)
        self.anomalies = AnomalyDetector(store, self._books, self.settings.anomalies)
        self._remembered = False
        self.plan = store.plans.last_plan() or Plan(made_at=datetime.min.replace(tzinfo=UTC))
        self._saved_plan = self._published = self.plan
        self._planned_for: Situation | None = None
        self.draining = False
        self.arrivals = self.settings.arrivals
        self.plan_changes = self.put_offs = 0
        self.planning = Histogram(PLAN_DURATION)
        self.meter_failures: Counter[str] = Counter()

    @property
    def forecast(self) -> Forecast | None:
        """The active forecast of this host's zone."""
        return self.zone.forecast

    def tick(self, now: datetime) -> datetime:
        """Bring the world up to `now`; return when to tick next at the latest."""
        self.restore(now)
        for zone in self.zones:
            zone.update_active_forecast(now)
        observed = self._runs.observe()
        self._account(observed, now)
        self.anomalies.check(observed, now)
        self._runs.reap(observed, now)
        end_unstartable_jobs(self._store.jobs, self.settings.options, now)
        situation = self._situation(now)
        self._plan(situation)
        if self.plan is not self._published:
            self._publish(self.plan, situation)
        self._carry_out(situation, now)
        return self._next_tick(now)

    def restore(self, now: datetime) -> None:
        """Take in, once, what was known of the grid before a restart."""
        if not self._remembered:
            for zone in self.zones:
                zone.restore(now)
            self._remembered = True

    def refresh(self, now: datetime) -> None:
        """Ask the providers for news of the grid and keep it."""
        self.apply_updates(self.fetch(now), now)

    def fetch(self, now: datetime, only: Collection[str] | None = None) -> Sequence[ZoneUpdate]:
        """Ask the providers, or those in `only`; may take its time, beside ticks and beside itself for other ones."""
        return [zone.fetch(now, only) for zone in self.zones]

    def apply_updates(self, news: Sequence[ZoneUpdate], now: datetime) -> None:
        """Keep what was fetched."""
        self.restore(now)
        for zone, told in zip(self.zones, news, strict=True):
            zone.apply_update(told)

    def reload_measured(self, now: datetime) -> None:
        """Take in measured values that somebody else put into the store."""
        for zone in self.zones:
            zone.reload_measured(now)

    def learn_arrivals(self, now: datetime) -> None:
        """Learn the expected arrivals again, so that plans leave room for them."""
        self.arrivals = expected_arrivals(self._store.jobs.submissions(now - MEMORY, MOST), now, self.settings.options)

    def preview(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> list[Placement | Waiting]:
        """Say where jobs would be placed, each beside those before it; raise InvalidJob when limits cannot be met."""
        situation = self._situation(now)
        situation = replace(situation, states={**situation.states, **awaited(self._store.jobs, specs)})
        known = [*(job.id for job in situation.jobs), *situation.ends, *(row.job.id for row in situation.running)]
        new_id = max(known, default=0) + 1  # sorts last, as the next id will
        jobs = [
            Job(id=job_id, spec=spec, user=user, uid=uid, state=State.QUEUED, submitted_at=now)
            for job_id, spec in enumerate(specs, start=new_id)
        ]
        return admit_each(situation, jobs)

    def replan(self, now: datetime) -> Plan:
        """Plan the queue as it stands, so that the plan can be shown; start nothing, the next tick stores it."""
        self._plan(self._situation(now))
        return self.plan

    def _plan(self, situation: Situation) -> None:
        if self._is_outdated(situation):
            took_s = stopwatch()
            self.plan, self._planned_for = plan(situation), situation
            self.planning.add(took_s())

    def _is_outdated(self, situation: Situation) -> bool:
        """Whether there is news, or the plan still shows jobs that have started, which somebody may look at."""
        there = {job.id for job in situation.jobs} | {row.job.id for row in situation.running}
        has_started = any(row.job_id not in there for row in self.plan.placements)
        return (has_started and self.settings.is_watched) or needs_replanning(self._planned_for, self.plan, situation)

    def _account(self, observed: Sequence[Observed], now: datetime) -> None:
        """Book energy before the runs that used it are closed; without a reading nothing is booked and nothing lost."""
        try:
            self._books.account(observed, now)
        except MeterError as exc:
            self.meter_failures["read"] += 1
            log.warning("meter unreadable, its energy is booked when it returns", error=str(exc))
        self._books.settle(now)

    def _situation(self, now: datetime) -> Situation:
        """Everything the plan depends on, as it is now."""
        known = gpus(self._meter.devices())
        devices = tuple(device.id for device in known)
        jobs = {job.id: job for job in self._store.jobs.jobs([State.QUEUED, *LIVE])}
        live = [(run, jobs[run.job_id]) for run in self._store.runs.live_runs() if run.job_id in jobs]
        kinds = {device.id: kind_of(device) for device in known}
        running = {run.id: row for run, job in live if (row := self._may_be_suspended(run, job, kinds))}
        staying = {run: self._free_at(run, job, now) for run, job in live if run.id not in running}
        busy = {device: at for run, at in staying.items() for device in run.devices if device in devices}
        held = {device for run, _ in live for device in run.devices}
        elsewhere = self._runs.held_elsewhere([device for device in devices if device not in held])
        busy |= dict.fromkeys(elsewhere, now + ELSEWHERE_FOR)
        queued = tuple(job for job in jobs.values() if job.state is State.QUEUED)
        return Situation(
            now=now,
            jobs=queued,
            running=tuple(running.values()),
            states=awaited(self._store.jobs, (job.spec for job in queued)),
            ends={run.job_id: at for run, at in staying.items() if run.id not in self._runs.suspending},
            arrays=Counter(job.spec.array.key for _, job in live if job.spec.array),
            devices=devices,
            kinds=kinds,
            busy=busy,
            elsewhere=elsewhere,
            cpu_slots=self.settings.cpu_slots,
            cpu_busy=tuple(at for run, at in staying.items() if not run.devices),
            forecast=self.zone.outlook(now, now + self.settings.horizon),
            options=self.settings.options,
            arrivals=self.arrivals,
            last=self.plan,
            prices=self.plan.prices,
        )

    def _may_be_suspended(self, run: Run, job: Job, kinds: Mapping[str, DeviceKind]) -> Running | None:
        """The run as one that the plan may suspend: confirmed, interruptible, and not asked to end in any way yet.

        One whose GPUs are not all to be seen now, or whose CPU slot is no longer one, has no place to be planned at.
        """
        is_ending = job.cancel_requested or run.id in self._runs.suspending
        if job.state is not State.RUNNING or not job.spec.interruptible or is_ending or run.started_at is None:
            return None
        seen = {kinds.get(device) for device in run.devices}
        if None in seen or len(seen) > 1 or not (run.devices or self.settings.cpu_slots):
            return None
        return Running(job=job, devices=run.devices, since=run.started_at)

    def _free_at(self, run: Run, job: Job, now: datetime) -> datetime:
        """When a run that the plan cannot suspend is expected to free its devices."""
        return now + job.spec.grace if run.id in self._runs.suspending else expected_end(run, job, now)

    def _publish(self, made: Plan, situation: Situation) -> None:
        """Store the current plan; a job whose reason has another code than before gets it written down.

        Where nobody looks, only a reason that plans go by is replaced, since reasons take long to work out.
        """
        if not made.decides_as(self._saved_plan):
            self.plan_changes += made.moves_from(self._saved_plan, {job.id for job in situation.jobs})
            self.put_offs += made.put_offs_since(self._saved_plan)
            self._store.plans.save_plan(made, now=made.made_at)
            self._saved_plan = made
        told = situation.jobs if self.settings.is_watched else [job for job in situation.jobs if has_run_since(job)]
        changed = {
            job.id: reason
            for job in told
            if (reason := made.reason(job.id)) and (job.reason is None or job.reason.code is not reason.code)
        }
        if changed:
            self._store.jobs.set_reason(changed, now=made.made_at)
        self._published = made

    def _carry_out(self, situation: Situation, now: datetime) -> None:
        if self.draining:
            return
        for asked in suspensions(self.plan, situation.running, now):
            self._runs.suspend(asked, now)
        in_use = {*situation.busy, *(device for row in situation.running for device in row.devices)}
        pools = {device: pool.name for pool in pools_of(situation) for device in pool.devices}
        free = {device: pools[device] for device in situation.devices if device not in in_use}
        cpu_free = situation.cpu_slots - len(situation.cpu_busy) - sum(not row.devices for row in situation.running)
        queued = {job.id for job in situation.jobs if blocked(job, situation.states) is None}
        for start in decide(self.plan, now=now, free=free, cpu_free=cpu_free, queued=queued):
            self._runs.start(start, now)

    def _next_tick(self, now: datetime) -> datetime:
        """The soonest of: the regular tick, the next slot edge, start or suspension planned, and known end of a run."""
        at = now + self.settings.tick
        moments = [placement.start for placement in self.plan.placements]
        moments += [edge for placement in self.plan.placements for piece in placement.pieces for edge in piece]
        moments += [self._expected_end(run, now) for run in self._store.runs.live_runs()]
        if self.zone.forecast is not None:
            moments += filter(None, [self.zone.forecast.series.next_edge(now, at)])
        return min(moment for moment in (at, *moments) if moment > now)

    def _expected_end(self, run: Run, now: datetime) -> datetime:
        return expected_end(run, self._store.jobs.job(run.job_id), now)

"""The loop: one tick observes, accounts, reaps, plans and carries out; the clock that calls it is somebody else's.

Every step is a short transaction with a compare-and-set, so a crash between any two of them is mended by the next tick.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, count

import structlog

from greenrun.core.carbon.fallback import StalenessRules
from greenrun.core.carbon.intensity import Forecast, Series
from greenrun.core.energy.gpu_parts import taken_with
from greenrun.core.energy.merging import WITHIN
from greenrun.core.energy.model import every_gpu, gpus
from greenrun.core.errors import InvalidJob, MeterError
from greenrun.core.jobs.dependencies import blocked, crowded_out
from greenrun.core.jobs.job import Job, JobRequest, JobSpec, Run, State
from greenrun.core.jobs.reasons import WISHED, Reason, ReasonCode
from greenrun.core.jobs.runs.anomalies import Limits
from greenrun.core.jobs.runs.occupancy import Observed
from greenrun.core.planning.arrivals.learning import MEMORY, MOST, expected_arrivals
from greenrun.core.planning.capacity import kind_of, pools_of
from greenrun.core.planning.decisions import Start, Suspend, decide, expected_end, suspensions
from greenrun.core.planning.model import Arrivals, DeviceKind, Options, Placement, Plan, Running, Situation, Waiting
from greenrun.core.planning.power_cap.power_room import PowerRoom
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.core.planning.reservation import behind, slipped_in
from greenrun.core.planning.site_limits.reserved import WeeklyReservation, next_reserved, now_reserved
from greenrun.engine.anomalies import AnomalyDetector
from greenrun.engine.availability import Availability
from greenrun.engine.bookkeeping import SLICE_STEP, Bookkeeping
from greenrun.engine.budgets.budget_keeper import BudgetKeeper, Present
from greenrun.engine.budgets.present_charges import BudgetRules
from greenrun.engine.past_use import PastUse
from greenrun.engine.planning import Admission, PlanInForce
from greenrun.engine.polling import RequestCounts
from greenrun.engine.ports import EngineStore, Executor, ForecastProvider, HistoryProvider, Meter, PowerLimits
from greenrun.engine.power.power_watch import PowerWatch
from greenrun.engine.power_limits import PowerLimitController, PowerLimitSettings
from greenrun.engine.queue import Queue
from greenrun.engine.runs import RunController
from greenrun.engine.site_limits.reserved_gpus import ReservedGpus, must_make_room, reserved_moments
from greenrun.engine.zone import GridZone, ZoneSettings, ZoneUpdate

log = structlog.get_logger("greenrun.engine.engine")

LOOK_EVERY = timedelta(seconds=10)  # at least so often it is noticed who else uses the GPUs, where a driver tells that
_LIVE = (State.STARTING, State.RUNNING)
ELSEWHERE_FOR = timedelta(seconds=30)  # how long a GPU that somebody else holds is planned around before looking again
STRAYS_FOR = timedelta(hours=2)  # how far beyond the hour that has begun the CPU slot of a stray run is planned around


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the engine needs of the settings. `zone` None: no place is known, so energy is booked without emissions.

    `also` are further zones to watch, `marginal_zone` is what the source of marginal values calls this zone.
    `horizon` is how far ahead of now the grid is planned with; the normal of each hour is learned from the last
    `climatology_days` days measured, and 0 plans with the provider's forecast as it is. `arrivals` are the jobs that
    usually come, `gpus_note` says why there are no more GPUs. Energy is booked in slices of `slice_step` at most; those
    that are final are merged inside steps of `merge_within`. Without `is_power_measured` what jobs are expected to draw
    is what they draw, so that only this is held against the site's power cap. `resources` is how much there is of what
    jobs are limited to, by field of a job. `site_power` is the site's power cap; None without one. `reserved` are the
    hours of every week in which GPUs are kept for people.
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
    gpus_note: str = ""
    merge_within: timedelta = WITHIN
    slice_step: timedelta = SLICE_STEP
    is_power_measured: bool = True
    resources: Mapping[str, float] = field(default_factory=dict)
    power_limits: PowerLimitSettings = field(default_factory=PowerLimitSettings)
    site_power: SitePower | None = None
    reserved: tuple[WeeklyReservation, ...] = ()
    budgets: BudgetRules = field(default_factory=BudgetRules)


class Engine:
    """Drives the world through its ports. One call at a time, but for `fetch`: its caller sees to that."""

    def __init__(
        self,
        *,
        store: EngineStore,
        executor: Executor,
        meter: Meter,
        forecasts: Sequence[ForecastProvider] = (),
        histories: Sequence[HistoryProvider] = (),
        marginal: Sequence[HistoryProvider] = (),
        power_limits: PowerLimits | None = None,
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
        self._books = Bookkeeping(
            store, meter, self.zone.intensities, pue=self.settings.options.pue,
            merge_within=self.settings.merge_within, slice_step=self.settings.slice_step,
        )  # fmt: skip
        self._runs = RunController(
            store.jobs, store.runs, executor, launch_timeout=self.settings.launch_timeout,
            resources=self.settings.resources,
        )  # fmt: skip
        self.power = PowerWatch(self.settings.site_power)
        self.anomalies = AnomalyDetector(store, self._books, self.settings.anomalies)
        self.power_limits = PowerLimitController(
            store.power_limits, power_limits, lambda: gpus(meter.devices()), self.settings.power_limits
        )
        self.reserved = ReservedGpus(store.reservations, self.settings.reserved)
        self.availability = Availability(meter, executor, store.drains, self.reserved)
        self._remembered = False
        self._queue = Queue(store.jobs, self.settings.options)
        self._past_use = PastUse(store.runs)
        self.budgets = BudgetKeeper(store, self.settings.budgets, self.settings.options)
        self.planning = PlanInForce(store.jobs, store.plans, is_watched=self.settings.is_watched)
        self.start_pause = self._runs.pause
        self._kept_back = frozenset[int]()  # of the jobs that were to start, by something else than the plan
        self.draining = False
        self.stray_cpu_runs = 0  # which take CPU slots, and of which no database knows when they end
        self.arrivals = self.settings.arrivals
        self.meter_failures: Counter[str] = Counter()

    @property
    def forecast(self) -> Forecast | None:
        """The active forecast of this host's zone."""
        return self.zone.forecast

    @property
    def plan(self) -> Plan:
        """The plan in force."""
        return self.planning.plan

    def tick(self, now: datetime) -> datetime:
        """Bring the world up to `now`, planning again if need be; return when to tick next at the latest."""
        situation = self.observe(now)
        if self.planning.urgency(situation):
            self.planning.replan(situation)
        return self.act(situation, now)

    def observe(self, now: datetime) -> Situation:
        """Account for what happened up to `now`; return what there is to plan with."""
        self.restore(now)
        for zone in self.zones:
            zone.update_active_forecast(now)
        observed = self._runs.observe(now)
        self._account(observed, now)
        self.anomalies.check(observed, now)
        self._runs.reap(observed, now)
        self.availability.observe(self._store.runs.live_runs())
        self._queue.end_wrong_pauses(now)
        self._queue.count_missed_limits(now)
        self._queue.end_unstartable_jobs(now)
        self.planning.considered = None
        return self.situation(now)

    def act(self, situation: Situation, now: datetime, *, is_outdated: bool = False) -> datetime:
        """Carry out the plan in force; return when to tick next at the latest.

        One that `is_outdated` starts only what is due just now: why the rest has not started, it does not know.
        """
        is_starting = self.planning.is_made and not self.draining
        self.planning.publish(situation, self._kept_back_at(situation, now) if is_starting else ())
        if is_starting:
            self._carry_out(situation, now, is_outdated=is_outdated)
        self._set_power_limits(situation, now)
        return self._next_tick(now)

    def _set_power_limits(self, situation: Situation, now: datetime) -> None:
        jobs = self._queue.jobs
        live = [(run, jobs[run.job_id]) for run in self._store.runs.live_runs() if run.job_id in jobs]
        queued = {job.id: job for job in situation.jobs}
        self.power_limits.act(live, queued, situation.forecast, self.plan, now)

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

    def admit(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> Admission:
        """Find a place for each job beside all others, storing nothing; raise InvalidJob when limits cannot be met."""
        first = self._queue.next_id()
        jobs = [
            Job(id=job_id, spec=spec, user=user, uid=uid, state=State.QUEUED, submitted_at=now)
            for job_id, spec in enumerate(specs, start=first)
        ]
        self._consider(jobs, now)
        return self.planning.admit(jobs, self._queue.awaited(specs), now, lambda: self.situation(now))

    def admit_together(self, requests: Sequence[JobRequest], now: datetime) -> list[Admission | None]:
        """Find places for what was asked for at about this instant, each request beside all others, storing nothing.

        None for one that has to be asked alone (`admit`): others may have to move for it, or it is refused.
        """
        numbers = count(self._queue.next_id())
        groups = [
            [
                Job(id=next(numbers), spec=spec, user=row.user, uid=row.uid, state=State.QUEUED, submitted_at=row.now)
                for spec in row.specs
            ]
            for row in requests
        ]
        try:
            self._consider(list(chain.from_iterable(groups)), now)
        except InvalidJob:  # which of them that is about, it is told alone
            return [None] * len(groups)
        states = self._queue.awaited(chain.from_iterable(row.specs for row in requests))
        return self.planning.insert(groups, states, now, lambda: self.situation(now))

    def check_budgets(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> None:
        """Raise InvalidJob with all that keeps budgets from accepting these jobs, which are about to be stored."""
        first = self._queue.next_id()
        jobs = [
            Job(id=job_id, spec=spec, user=user, uid=uid, state=State.QUEUED, submitted_at=now)
            for job_id, spec in enumerate(specs, start=first)
        ]
        self._consider(jobs, now)

    def preview(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> Sequence[Placement | Waiting]:
        """Say where jobs would be placed, each beside those before it; raise InvalidJob when limits cannot be met."""
        return self.admit(specs, user=user, uid=uid, now=now).rows

    def readmit(self, jobs: Sequence[Job], now: datetime) -> Admission:
        """Find a place for each of these jobs as their users want them now; raise InvalidJob as `admit` does."""
        states = self._queue.awaited(job.spec for job in jobs)
        self._consider(jobs, now, are_known=True)
        return self.planning.admit(jobs, states, now, lambda: self.situation(now), are_known=True)

    def keep(self, admitted: Admission, stored: Mapping[int, Job], now: datetime) -> None:
        """Take in admitted jobs, now that they are stored, by the ids of their admission."""
        self.budgets.take(stored.values(), now)
        self.planning.keep(admitted, stored)

    def _consider(self, jobs: Sequence[Job], now: datetime, *, are_known: bool = False) -> None:
        """Find which of these jobs have room in their budgets; raise InvalidJob where one is refused for that."""
        if self.budgets.is_outdated(now):
            self.situation(now)
        self.planning.considered = self.budgets.consider(jobs, now, are_known=are_known)

    def revise(self, jobs: Sequence[Job], now: datetime) -> None:
        """Show in the plan at once that users want something else of these jobs; a new plan follows."""
        self.budgets.let_go({job.id for job in jobs if job.over_budget})
        self.planning.considered = self.budgets.withheld
        with self.planning.unseen():
            self.planning.revise(jobs, self._queue.awaited(job.spec for job in jobs), now)
            self.planning.settle(lambda: self.situation(now))

    def take_over(self, made: Plan, situation: Situation, now: datetime) -> None:
        """Let a plan that was made of an earlier situation take over, and carry out what it starts by now."""
        present = self.situation(now)
        with self.planning.unseen():
            if is_new := self.planning.take_over(made, situation, present):
                self.planning.settle(lambda: present)
        if is_new:
            self.act(present, now)

    def _account(self, observed: Sequence[Observed], now: datetime) -> None:
        """Book energy before the runs that used it are closed; without a reading nothing is booked and nothing lost."""
        try:
            self._books.account(observed, now)
        except MeterError as exc:
            self.meter_failures["read"] += 1
            log.warning("meter unreadable, its energy is booked when it returns", error=str(exc))
        was_above = self.power.is_above
        measured = self._books.latest if self.settings.is_power_measured else ()
        idle_w = self._books.idle_w if self.settings.is_power_measured else {}
        self.power.look(measured, idle_w, self._meter.devices(), now)
        if self.power.is_above is not was_above:
            self._log_power()
        self._books.settle(now)

    def _log_power(self) -> None:
        """Say once that more is drawn than the site's power cap allows, or that this is over."""
        state = self.power.state
        told = {"cap_w": state.cap_w, "measured_w": state.measured_w}
        if self.power.is_above:
            log.warning("more power is drawn than the site's cap, so nothing is started", **told)
        else:
            log.info("no more power is drawn than the site's cap, starts go on", **told)

    def situation(self, now: datetime) -> Situation:
        """Return everything the plan depends on, as it is now."""
        self._queue.refresh()
        known = gpus(self._meter.devices())
        devices = tuple(device.id for device in known)
        reserved = self.reserved.ahead(known, now)
        theirs = now_reserved(reserved, now)  # whoever it is reserved for may use it: that is no news, and has an end
        absences = self.availability.absences(known)
        used = {device for device, absence in absences.items() if absence.code is ReasonCode.GPUS_USED_BY_OTHERS}
        away = {device: absence for device, absence in absences.items() if device not in used & theirs.keys()}
        machine_away = self.availability.machine_absence
        live = self._live_jobs()
        kinds = {device.id: kind_of(device) for device in known}
        usable = {} if machine_away else {device: kind for device, kind in kinds.items() if device not in away}
        cpu_slots = 0 if machine_away else self.settings.cpu_slots
        running = {run.id: row for run, job in live if (row := self._may_be_suspended(run, job, usable, cpu_slots))}
        staying = {run: self._free_at(run, job, now) for run, job in live if run.id not in running}
        busy = _busy_until(staying, devices)
        held = taken_with((device for run, _ in live for device in run.devices), devices)
        elsewhere = self._runs.held_elsewhere([device for device in usable if device not in held])
        busy |= dict.fromkeys(elsewhere, now + ELSEWHERE_FOR)
        used |= {device for device in theirs if self.power.measured_w(device, now) is not None}
        every = every_gpu(self._meter.devices())
        power = self.power.site(every, live, self._queue.queued, {*elsewhere, *used}, now)
        outlook = self.zone.outlook(now, now + self.settings.horizon)
        self._keep_budgets(live, outlook, now)
        return Situation(
            now=now,
            jobs=self._queue.queued,
            running=tuple(running.values()),
            states=self._queue.states,
            ends={run.job_id: at for run, at in staying.items() if run.id not in self._runs.suspending},
            arrays=Counter(job.spec.array.key for _, job in live if job.spec.array),
            devices=devices,
            kinds=kinds,
            gpus_note=self.settings.gpus_note,
            busy=busy,
            elsewhere=elsewhere,
            away=away,
            machine_away=machine_away,
            reserved=reserved,
            cpu_slots=self.settings.cpu_slots,
            cpu_busy=(*(at for run, at in staying.items() if not run.devices), *self._strays_until(now)),
            forecast=outlook,
            withheld=self.budgets.withheld,
            thrifty=self.budgets.thrifty,
            renewed=self.budgets.renewed,
            options=self.settings.options,
            arrivals=self.arrivals,
            used_s=self._past_use.used_s(
                self._queue.queued, live, self.settings.options.shares, now, partial(self._free_at, now=now)
            ),
            last=self.plan,
            prices=self.plan.prices,
            power=power,
        )

    def _keep_budgets(self, live: Sequence[tuple[Run, Job]], outlook: Series | None, now: datetime) -> None:
        """Find out which jobs have room in their budgets."""
        present = Present(
            jobs=self._queue.jobs,
            queued=self._queue.queued,
            states=self._queue.states,
            live=live,
            plan=self.plan,
            outlook=outlook,
            expected_end=partial(self._free_at, now=now),
        )
        self.budgets.look(present, self._books.take_changed_hours(), now)
        self.planning.withheld, self.planning.thrifty = self.budgets.withheld, self.budgets.thrifty

    def _may_be_suspended(self, run: Run, job: Job, kinds: Mapping[str, DeviceKind], cpu_slots: int) -> Running | None:
        """The run as one that the plan may suspend: interruptible, and not asked to end in any way yet.

        One that is starting is planned so too: to others it would seem to keep its GPUs to its very end. One whose GPUs
        are not all to be used now, or whose CPU slot is no longer one, has no place to be planned at.
        """
        is_ending = job.cancel_requested or run.id in self._runs.suspending
        if job.state not in _LIVE or not job.spec.interruptible or is_ending:
            return None
        seen = {kinds.get(device) for device in run.devices}
        if None in seen or len(seen) > 1 or not (run.devices or cpu_slots):
            return None
        return Running(job=job, devices=run.devices, since=run.started_at or run.claimed_at)

    def _free_at(self, run: Run, job: Job, now: datetime) -> datetime:
        """When a run that the plan cannot suspend is expected to free its devices."""
        return now + job.spec.grace if run.id in self._runs.suspending else expected_end(run, job, now)

    def _strays_until(self, now: datetime) -> list[datetime]:
        """When to look again for each CPU slot that a stray run takes: the same for an hour, as for one plan."""
        return [now.replace(minute=0, second=0, microsecond=0) + STRAYS_FOR] * self.stray_cpu_runs

    def _carry_out(self, situation: Situation, now: datetime, *, is_outdated: bool) -> None:
        """Start and suspend what the plan asks for; of one that `is_outdated` only the starts that are due just now."""
        since = now - self.settings.options.due_grace if is_outdated else datetime.min.replace(tzinfo=UTC)
        power = PowerRoom.of(situation, self.plan)
        making_room = self._making_room(situation, now)
        asked_already = {asked.job_id for asked in making_room}
        by_plan = suspensions(self.plan, situation.running, now, power)
        for asked in (*making_room, *(row for row in by_plan if row.job_id not in asked_already)):
            self._runs.suspend(asked, now)
        in_use = {*situation.busy, *(device for row in situation.running for device in row.devices)}
        in_use |= now_reserved(situation.reserved, now).keys()
        until = {device: row.start for device, row in next_reserved(situation.reserved, now).items()}
        pools = {device: pool.name for pool in pools_of(situation) for device in pool.devices}
        free = {device: pool for device, pool in pools.items() if device not in in_use}
        slots = 0 if situation.machine_away else situation.cpu_slots
        cpu_free = slots - len(situation.cpu_busy) - sum(not row.devices for row in situation.running)
        due = {row.job_id for row in self.plan.started_by(now) if row.start >= since}
        jobs = situation.jobs if due else ()
        due -= situation.withheld.keys()
        due -= {
            job_id for job_id in due & situation.thrifty if (why := self.plan.reason(job_id)) and why.code in WISHED
        }
        ready = [job for job in jobs if job.id in due and not blocked(job, situation.states)]
        queued = {job.id for job in ready} - crowded_out(ready, situation.arrays).keys()  # others may run by now
        if self.power.is_above:
            queued -= {job.id for job in ready if job.spec.gpus}
        room = power and PowerRoom.of(replace(situation, now=now), self.plan)
        slipped = slipped_in(self.plan, situation) if queued else []
        due_now = partial(
            decide,
            self.plan,
            now=now,
            cpu_free=cpu_free,
            queued=queued,
            until=until,
            slipped=slipped,
            behind=behind(slipped, situation),
        )
        starts = due_now(free=free, power=room)
        if taken := self._just_taken(starts, free):
            free = {device: pool for device, pool in free.items() if device not in taken}
            room = power and PowerRoom.of(replace(situation, now=now), self.plan)
            starts = due_now(free=free, power=room)
        lacking = {start.placement.job_id: why for start in starts if (why := self._runs.start(start, now))}
        self._tell_kept_back(ready, lacking, now, is_all=not is_outdated)

    def _making_room(self, situation: Situation, now: datetime) -> list[Suspend]:
        """Return which interruptible runs are to checkpoint for a reservation, those asked already left out."""
        if not situation.reserved:
            return []
        live = [(run, job) for run, job in self._live_jobs() if run.id not in self._runs.suspending]
        return must_make_room(live, situation.reserved, now)

    def _live_jobs(self) -> list[tuple[Run, Job]]:
        jobs = self._queue.jobs
        return [(run, jobs[run.job_id]) for run in self._store.runs.live_runs() if run.job_id in jobs]

    def _kept_back_at(self, situation: Situation, now: datetime) -> Collection[int]:
        """Return the jobs that were to start by now and that something else than the plan keeps back, as they know."""
        due = [row.job_id for row in self.plan.started_by(now)]
        return {job_id for job_id in due if job_id in self._kept_back or self._runs.why_paused(job_id, now)}

    def _tell_kept_back(
        self, ready: Sequence[Job], lacking: Mapping[int, Reason], now: datetime, *, is_all: bool
    ) -> None:
        """Say of jobs that were to start why they did not; of those that are kept back no more, what the plan says.

        For as long as a job is kept back that is its reason, whatever plans are made meanwhile. Not `is_all`: there are
        others that were to start, of which nothing is known anew.
        """
        is_short, is_above = self.start_pause.is_on(now), self.power.is_above
        if not (lacking or is_short or is_above or self._kept_back):
            return
        self._queue.refresh()
        known, told = {job.id: job.reason for job in self._queue.queued}, dict(lacking)
        if is_short or is_above:
            reason = self.start_pause.reason if is_short else self.power.reason
            told |= {job.id: reason for job in ready if is_short or job.spec.gpus}
        told = {job_id: why for job_id, why in told.items() if job_id in known}
        let_go = (self._kept_back & known.keys()) - told.keys() if is_all else frozenset()
        news = {job_id: why for job_id, why in told.items() if _is_news(why, known[job_id])}
        news |= {job_id: row for job_id in let_go if (row := self.plan.reason(job_id))}
        if news:
            self._store.jobs.set_reason(news, now=now)
        self._kept_back = frozenset(told) | (frozenset() if is_all else self._kept_back)

    def _just_taken(self, starts: Sequence[Start], free: Collection[str]) -> Collection[str]:
        """Return those of the free GPUs that others have taken or that were lost; looked for only before starts."""
        if not any(start.devices for start in starts):
            return ()
        return self.availability.occupied(free, self._store.runs.live_runs())

    def _next_tick(self, now: datetime) -> datetime:
        """The soonest of: the regular tick, slot edge and limit, planned start or suspension, known end of a run."""
        pause = self.settings.tick
        at = now + (min(pause, LOOK_EVERY) if self.availability.is_told else pause)
        moments = [edge for placement in self.plan.placements for piece in placement.pieces for edge in piece]
        moments += self._suspensions_for_power() if self.settings.site_power else []
        moments += [placement.start for placement in self.plan.placements[len(self.plan.started_by(now)) :][:1]]
        moments += [self._expected_end(run, now) for run in self._store.runs.live_runs()]
        edges = (self.power_limits.next_look(now), self._queue.next_limit, self.budgets.next_change)
        moments += filter(None, [self.start_pause.until, *edges])
        if reserved := self.reserved.ahead(gpus(self._meter.devices()), now):
            moments += reserved_moments(self._live_jobs(), reserved, now)
        if self.zone.forecast is not None:
            moments += filter(None, [self.zone.forecast.series.next_edge(now, at)])
        return min(moment for moment in (at, *moments) if moment > now)

    def _suspensions_for_power(self) -> list[datetime]:
        """When jobs that run are asked to checkpoint in time for a lower cap, if they are to be suspended for that."""
        jobs = {run.job_id: self._store.jobs.job(run.job_id) for run in self._store.runs.live_runs()}
        return [
            end - jobs[row.job_id].spec.grace
            for row in self.plan.placements
            if row.job_id in jobs
            for _, end in row.pieces[:-1]
        ]

    def _expected_end(self, run: Run, now: datetime) -> datetime:
        return expected_end(run, self._store.jobs.job(run.job_id), now)


def _is_news(why: Reason, before: Reason | None) -> bool:
    """Whether a job is to be told why it is kept back: not of every watt that is drawn above the power cap."""
    return before is None or (before.code is not why.code if why.code is ReasonCode.POWER_CAP else before != why)


def _busy_until(staying: Mapping[Run, datetime], there: Sequence[str]) -> dict[str, datetime]:
    """Return until when each device that is there is taken, also by a run that holds its board or a part of it."""
    busy: dict[str, datetime] = {}
    for run, at in staying.items():
        for device in taken_with(run.devices, there):
            busy[device] = max(at, busy.get(device, at))
    return busy

"""A store in memory and a scheduler that answers what it is told, so that the API is tested by itself."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from fastapi import FastAPI

from greenrun.api.app import create_app
from greenrun.api.service import Preview, ServiceSettings, Submitted
from greenrun.core.carbon.fallback import ActiveForecast, ReceivedForecast, StalenessRules, choose_active
from greenrun.core.carbon.intensity import Basis, Forecast, Kind, Series, SeriesId
from greenrun.core.carbon.verification import DAY_H, LEADS_H, MISSING_WINDOW, ForecastScores
from greenrun.core.conditions import Condition
from greenrun.core.credentials import Credential
from greenrun.core.energy.capping_effect import CappingEffect
from greenrun.core.energy.ledger import Entry, Total
from greenrun.core.energy.model import Component, Device, DeviceHealth, MeterHealth, Slice, Telemetry
from greenrun.core.energy.power_limit import LimitPeriod
from greenrun.core.errors import JobError, JobNotFound, KnownRequest, ReservationNotFound
from greenrun.core.jobs import transitions
from greenrun.core.jobs.access import Sharing
from greenrun.core.jobs.availability import Drain, GpuState
from greenrun.core.jobs.history import FinishedJob
from greenrun.core.jobs.job import Event, Job, JobSpec, Origin, RequestKey, Run, State, Submission
from greenrun.core.jobs.reasons import ReasonCode, because
from greenrun.core.jobs.runs.anomalies import AnomalyEpisode
from greenrun.core.jobs.runs.status import StrayRun
from greenrun.core.jobs.selection import PURPOSES, JobEntry, Purpose, Selection, Selector, entry_of, select
from greenrun.core.jobs.stored_transitions import Permit, StoredDirectory
from greenrun.core.jobs.trail import NewEvent
from greenrun.core.jobs.transitions import Edit, Intent
from greenrun.core.planning.model import Options, Placement, Plan
from greenrun.core.planning.power_cap.planned_power import PlannedPower
from greenrun.core.planning.power_cap.site_power import SitePowerState
from greenrun.core.planning.power_capping.capping_rule import Capping
from greenrun.core.planning.site_limits.reserved import Reservation
from greenrun.engine.budgets.budget_keeper import BudgetKeeper
from greenrun.engine.budgets.present_charges import BudgetRules
from greenrun.engine.site_limits.reserved_gpus import ReservedGpus
from greenrun.grid.backfill import Backfill
from greenrun.grid.forecast_quality import ForecastQuality, SeriesScores
from greenrun.grid.sources import Sources
from greenrun.metrics import DiskUsage, Health, LiveState, MetricsCollector, registry_of
from greenrun.reports.build import Reports, ReportSettings
from greenrun.simulation.memory import MemoryStore
from tests.slots import slots_of

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ADA, BOB, ROOT = "uid:41001", "uid:41002", "uid:0"
GPU = Device(id="GPU-1", index=0, model="Emulated GPU", source="emulated", emulated=True, memory_bytes=1 << 30)
CPU = Device(id="cpu-0", index=0, model="a CPU", source="constant", kind=Component.CPU)
TELEMETRY = Telemetry(
    power_w=250.0, power_limit_w=700.0, utilization=0.9, memory_used_bytes=1 << 30, temperature_c=61.0
)
READABLE = MeterHealth(
    devices=(DeviceHealth(device="GPU-1", is_up=True, troubles={"gap": 0}, telemetry=TELEMETRY),), lag_s=0.5
)
RUN = Run(
    id=7,
    job_id=1,
    number=1,
    token="t",
    devices=("GPU-1",),
    claimed_at=NOW - HOUR,
    started_at=NOW - HOUR,
)
CLEANEST = because(ReasonCode.CLEANEST_WINDOW, window="93 g/kWh", below="41 % below now")


def spec(**own: Any) -> JobSpec:
    """A job's spec of one GPU for an hour, with any part of it changed."""
    return JobSpec(**{"command": ("/bin/true",), "workdir": "/", "duration": HOUR, **own})


def stored(job_id: int, state: State = State.QUEUED, *, uid: int = 41001, user: str = "ada", **own: Any) -> Job:
    """A stored job of ada."""
    parts = {key: own.pop(key) for key in ("held", "reason", "finished_at") if key in own}
    return Job(id=job_id, spec=spec(**own), user=user, uid=uid, state=state, submitted_at=NOW - HOUR, **parts)


def placed(job_id: int, **own: Any) -> Placement:
    """A placement of an hour that begins in two hours."""
    parts = {"start": NOW + 2 * HOUR, "end": NOW + 3 * HOUR, "gpus": 1, "reason": CLEANEST, "expected_g": 400.0}
    parts |= {"promised": (NOW + HOUR, NOW + 2 * HOUR), "put_offs": 2}
    return Placement(job_id=job_id, **{**parts, "intensity_g_per_kwh": 93.0, "start_now_g": 700.0, **own})


def forecast(values: Sequence[float] = (200.0, 100.0, 50.0), *, fetched_at: datetime = NOW) -> Forecast:
    """A forecast of half hours from `NOW` on."""
    step = timedelta(minutes=30)
    starts = [NOW + index * step for index in range(len(values))]
    series_id = SeriesId(provider="test", zone="GB", basis=Basis.LIFECYCLE)
    return Forecast(series=Series.of(series_id, slots_of(starts, values, step, Kind.FORECAST)), fetched_at=fetched_at)


@dataclass
class FakeCredentials:
    """Sessions and tokens, and the events of them."""

    kept: dict[int, Credential] = field(default_factory=dict)
    noted: list[NewEvent] = field(default_factory=list)
    numbers: int = 0

    def credentials(self) -> Sequence[Credential]:
        return list(self.kept.values())

    def add(self, made: Credential, event: NewEvent) -> Credential:
        self.numbers += 1
        self.noted.append(event)
        self.kept[self.numbers] = replace(made, id=self.numbers)
        return self.kept[self.numbers]

    def remove(self, credential: Credential, event: NewEvent) -> None:
        del self.kept[credential.id]
        self.noted.append(event)

    def note_use(self, credential_id: int, *, at: datetime, address: str) -> None:
        self.kept[credential_id] = replace(self.kept[credential_id], last_used_at=at, last_address=address)

    def note(self, event: NewEvent) -> None:
        self.noted.append(event)


@dataclass
class FakeStore:
    """What the API and the metrics need of a store, in memory."""

    kept: dict[int, Job] = field(default_factory=dict)
    job_runs: dict[int, list[Run]] = field(default_factory=dict)
    totals: dict[int, Total] = field(default_factory=dict)
    log: list[Event] = field(default_factory=list)
    booked: list[Entry] = field(default_factory=list)
    counted: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)
    finished: list[FinishedJob] = field(default_factory=list)
    episodes: dict[int, list[AnomalyEpisode]] = field(default_factory=dict)
    submissions: dict[tuple[str, str], Submission] = field(default_factory=dict)
    capping: dict[int, CappingEffect] = field(default_factory=dict)
    credentials: "FakeCredentials" = field(default_factory=lambda: FakeCredentials())
    saved: Forecast | None = None
    fault: Exception | None = None

    @property
    def jobs(self) -> "FakeJobs":
        return FakeJobs(self)

    @property
    def runs(self) -> "FakeStore":
        return self

    books = grid = history = archive = capping_effects = runs

    def effects(self, run_ids: Sequence[int]) -> Mapping[int, CappingEffect]:
        return {run_id: self.capping[run_id] for run_id in run_ids if run_id in self.capping}

    def effects_between(self, start: datetime, end: datetime) -> Sequence[CappingEffect]:
        return list(self.capping.values())

    def keep(self, *jobs: Job) -> None:
        self.kept |= {job.id: job for job in jobs}

    def of_jobs(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[Run]]:
        return {job_id: self.job_runs.get(job_id, []) for job_id in job_ids}

    def live_runs(self) -> Sequence[Run]:
        return [run for runs in self.job_runs.values() for run in runs if run.outcome is None]

    def run_totals(self, run_ids: Sequence[int]) -> Mapping[int, Total]:
        return {run_id: self.totals[run_id] for run_id in run_ids if run_id in self.totals}

    running_totals = run_totals

    def latest_forecast(self, zone: str) -> Forecast | None:
        return self.saved

    def entries(self, *, job_id: int | None = None, limit: int = 1000, before: int | None = None) -> Sequence[Entry]:
        found = [entry for entry in self.booked if job_id in (None, entry.job_id)]
        return [entry for entry in found if before is None or (entry.id or 0) < before][-limit:]

    def slices_since(self, since: datetime) -> Sequence[Slice]:
        return [entry.slice for entry in self.booked if entry.slice.end > since]

    def anomalies(self, job_ids: Sequence[int]) -> Mapping[int, Sequence[AnomalyEpisode]]:
        return {
            run.id: self.episodes[run.id]
            for job_id in job_ids
            for run in self.job_runs.get(job_id, [])
            if run.id in self.episodes
        }

    def finished_jobs(self, user: str, *, name: str, project: str) -> Sequence[FinishedJob]:
        return self.finished

    def counters(self) -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
        return self.counted

    def add_counts(self, amounts: Mapping[tuple[str, tuple[tuple[str, str], ...]], float]) -> None:
        for key, amount in amounts.items():
            self.counted[key] = self.counted.get(key, 0.0) + amount


@dataclass(frozen=True)
class FakeJobs:
    """The jobs of a `FakeStore`."""

    store: FakeStore

    def add_job(self, spec: JobSpec, *, user: str, uid: int, now: datetime) -> tuple[Job, bool]:
        if self.store.fault:
            raise self.store.fault
        if spec.unique_key and (known := self.of_keys(user, [spec.unique_key])):
            return known[spec.unique_key], False
        job = Job(id=len(self.store.kept) + 1, spec=spec, user=user, uid=uid, state=State.QUEUED, submitted_at=now)
        self.store.keep(job)
        return job, True

    def add_jobs(
        self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime, request: RequestKey | None = None
    ) -> list[tuple[Job, bool]]:
        if request is not None and (user, request.key) in self.store.submissions:
            raise KnownRequest("known")
        added = [self.add_job(one, user=user, uid=uid, now=now) for one in specs]
        if request is not None:
            submission = Submission(request=request, jobs=[job for job, _ in added])
            self.store.submissions[user, request.key] = submission
        return added

    def of_keys(self, user: str, unique_keys: Collection[str]) -> Mapping[str, Job]:
        own = [job for job in self.store.kept.values() if job.user == user]
        return {job.spec.unique_key: job for job in own if job.spec.unique_key and job.spec.unique_key in unique_keys}

    def submission(self, user: str, key: str) -> Submission | None:
        return self.store.submissions.get((user, key))

    def count_queued(self) -> int:
        return self.job_counts().get(State.QUEUED, 0)

    def job(self, job_id: int) -> Job:
        if self.store.fault:
            raise self.store.fault
        if job_id not in self.store.kept:
            raise JobNotFound(f"there is no job {job_id}")
        return self.store.kept[job_id]

    def jobs_of(self, job_ids: Sequence[int]) -> list[Job]:
        return list(map(self.job, job_ids))

    def jobs(
        self,
        states: Sequence[State] = (),
        *,
        project: str | None = None,
        user: str | None = None,
        uid: int | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        before: int | None = None,
    ) -> Sequence[Job]:
        found = [
            job
            for _, job in sorted(self.store.kept.items(), reverse=newest_first)
            if (not states or job.state in states)
            and project in (None, job.spec.project)
            and user in (None, job.user)
            and uid in (None, job.uid)
            and (before is None or job.id < before)
        ]
        return found[:limit]

    def intend(
        self,
        intent: Intent,
        job_ids: Sequence[int],
        *,
        actor: str,
        now: datetime,
        permit: Permit,
        origin: Origin | None = None,
    ) -> list[Job | JobError]:
        return [self._intend(intent, job_id, actor, now, permit) for job_id in job_ids]

    def _intend(self, intent: Intent, job_id: int, actor: str, now: datetime, permit: Permit) -> Job | JobError:
        try:
            job = self.job(job_id)
            permit(job)
            change = transitions.intend(job, intent, actor=actor, now=now)
        except JobError as exc:
            return exc
        if change is None or change.job is None:
            return job
        self.store.keep(change.job)
        (told,) = change.events
        event = Event(
            id=len(self.store.log) + 1, at=now, actor=actor, kind=told.kind, job_id=job_id, run_id=None, detail={}
        )
        self.store.log.append(event)
        return change.job

    def find_jobs(self, ids: Collection[int]) -> Mapping[int, Job]:
        return {job_id: self.store.kept[job_id] for job_id in ids if job_id in self.store.kept}

    def find_job(self, job_id: int) -> Job | None:
        return self.store.kept.get(job_id)

    def entries(self, uid: int, *, unfinished_only: bool) -> list[JobEntry]:
        return [entry_of(job) for _, job in sorted(self.store.kept.items()) if job.uid == uid]

    def select(self, selector: Selector, purpose: Purpose, *, uid: int, permit: Permit) -> Selection:
        return select(selector, purpose, StoredDirectory(self, uid, permit))

    def intend_for(
        self,
        intent: Intent,
        selector: Selector,
        *,
        actor: str,
        uid: int,
        now: datetime,
        permit: Permit,
        origin: Origin | None = None,
    ) -> list[Job | JobError]:
        found = self.select(selector, PURPOSES[intent.value], uid=uid, permit=permit)
        return [*self.intend(intent, found.ids, actor=actor, now=now, permit=permit), *found.problems]

    def events(
        self,
        job_id: int | None = None,
        limit: int = 1000,
        *,
        job_ids: Collection[int] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        after: int | None = None,
        before: int | None = None,
        actor: str | None = None,
        kinds: Collection[str] = (),
        visible_to: int | None = None,
    ) -> Sequence[Event]:
        wanted = {*job_ids, *([] if job_id is None else [job_id])}
        found = [
            event
            for event in self.store.log
            if (not wanted or event.job_id in wanted)
            and (since or event.at) <= event.at
            and (until is None or event.at < until)
            and event.id > (after or 0)
            and (before is None or event.id < before)
            and actor in (None, event.actor)
            and (not kinds or event.kind in kinds)
            and (visible_to is None or self._is_seen(event, visible_to))
        ]
        return found[-limit:] if after is None else found[:limit]

    def _is_seen(self, event: Event, uid: int) -> bool:
        job = self.store.kept.get(event.job_id or 0)
        return event.job_id is None or event.uid == uid or (job is not None and job.uid == uid)

    def note_event(self, event: NewEvent) -> None:
        self.store.log.append(
            Event(
                id=len(self.store.log) + 1, at=event.at, actor=event.actor, kind=event.kind, job_id=None, run_id=None,
                detail=event.detail,
            )
        )  # fmt: skip

    def job_states(self, job_ids: Collection[int]) -> Mapping[int, State]:
        return {job_id: self.store.kept[job_id].state for job_id in job_ids if job_id in self.store.kept}

    def owners(self, job_ids: Collection[int]) -> Mapping[int, int]:
        return {job_id: self.store.kept[job_id].uid for job_id in job_ids if job_id in self.store.kept}

    def job_counts(self) -> Mapping[State, int]:
        return Counter(job.state for job in self.store.kept.values())


class FakeReservations:
    """Keeps reservations in memory."""

    def __init__(self) -> None:
        self.rows: list[Reservation] = []

    def reservations(self) -> Sequence[Reservation]:
        return self.rows

    def reserve(self, asked: Reservation, *, now: datetime, origin: Origin | None = None) -> Reservation:
        self.rows.append(replace(asked, id=len(self.rows) + 1))
        return self.rows[-1]

    def end_reservation(
        self, number: int, *, user: str, now: datetime, origin: Origin | None = None
    ) -> Reservation | None:
        found = next((row for row in self.rows if row.id == number and row.end > now), None)
        self.rows = [row for row in self.rows if row is not found]
        return found


@dataclass
class FakeStrays:
    """Stray runs that end when they are told to."""

    there: list[StrayRun] = field(default_factory=list)
    ended_by: list[str] = field(default_factory=list)

    def current(self) -> Sequence[StrayRun]:
        return self.there

    def end(self, label: str, by: str, origin: Origin | None = None) -> StrayRun:
        found = [stray for stray in self.there if stray.label == label]
        if not found:
            raise JobNotFound(f"There is no stray run {label}.")
        self.ended_by.append(by)
        return found[0]


@dataclass
class FakeScheduler:
    """A scheduler that answers what its fields say and counts what it is asked."""

    kept_budgets: BudgetKeeper = field(default_factory=lambda: BudgetKeeper(MemoryStore(), BudgetRules(), Options()))
    latest: Plan = field(default_factory=lambda: Plan(made_at=NOW))
    tried: Preview | Exception = field(default_factory=lambda: Preview(placement=placed(0)))
    lives: Health = field(default_factory=lambda: Health(started_at=NOW - HOUR, last_tick_at=NOW, last_sample_at=NOW))
    readable: MeterHealth = field(default_factory=lambda: READABLE)
    strays: FakeStrays = field(default_factory=lambda: FakeStrays())
    elsewhere: dict[str, str] = field(default_factory=dict)
    of_gpu: GpuState = field(default_factory=GpuState)
    drained: list[Drain] = field(default_factory=list)
    reserved: ReservedGpus = field(default_factory=lambda: ReservedGpus(FakeReservations()))
    wrong: list[Condition] = field(default_factory=list)
    zone: str | None = "GB"
    watched: dict[str, ActiveForecast] = field(default_factory=dict)
    staleness: StalenessRules = field(default_factory=StalenessRules)
    store: "FakeStore" = field(default_factory=lambda: FakeStore())
    wakes: int = 0
    turns: dict[int, str] = field(default_factory=dict)
    power: tuple[SitePowerState, Sequence[PlannedPower]] = field(default_factory=lambda: (SitePowerState(), ()))
    limit_trouble: str | None = None
    limits_in_force: dict[str, LimitPeriod] = field(default_factory=dict)
    capped: dict[int, Capping] = field(default_factory=dict)
    sources: Sources | None = None
    backfill: Backfill | None = None
    quality: ForecastQuality = field(default_factory=lambda: ForecastQuality(FakeStore(), ["GB"]))
    reports: Reports = field(default_factory=lambda: Reports(FakeStore(), tuple, ReportSettings()))

    def preview(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> list[Preview]:
        if isinstance(self.tried, Exception):
            raise self.tried
        return [self.tried] * len(specs)

    def submit(
        self,
        specs: Sequence[JobSpec],
        *,
        user: str,
        uid: int,
        now: datetime,
        request: RequestKey | None = None,
        origin: Origin | None = None,
    ) -> list[Submitted]:
        previews = self.preview(specs, user=user, uid=uid, now=now)
        stored = self.store.jobs.add_jobs(specs, user=user, uid=uid, now=now, request=request)
        self.wakes += any(is_new for _, is_new in stored)
        return [
            Submitted(job=job, is_new=is_new, preview=preview)
            for (job, is_new), preview in zip(stored, previews, strict=True)
        ]

    def try_edit(self, edits: Sequence[Edit], *, actor: str, now: datetime) -> list[Job]:
        if isinstance(self.tried, Exception):
            raise self.tried
        return [transitions.edited(edit.before, edit, now) for edit in edits]

    def edit(self, edits: Sequence[Edit], *, actor: str, now: datetime, origin: Origin | None = None) -> list[Job]:
        self.store.keep(*self.try_edit(edits, actor=actor, now=now))
        self.wakes += 1
        return [self.store.kept[edit.before.id] for edit in edits]

    def plan(self) -> Plan:
        return self.latest

    def site_power(self) -> tuple[SitePowerState, Sequence[PlannedPower]]:
        return self.power

    @property
    def budgets(self) -> BudgetKeeper:
        return self.kept_budgets

    def turn_text(self, job_id: int) -> str | None:
        return self.turns.get(job_id)

    def wake(self, changed: Sequence[Job]) -> None:
        self.wakes += 1

    def health(self) -> Health:
        return self.lives

    def conditions(self) -> Sequence[Condition]:
        return self.wrong

    @property
    def host(self) -> "FakeScheduler":
        return self

    def devices(self) -> Sequence[Device]:
        return [GPU, CPU]

    def received(self) -> Sequence[ReceivedForecast]:
        saved = self.store.grid.latest_forecast(self.zone or "")
        return [ReceivedForecast(forecast=saved, since=saved.known_at)] if saved else []

    def active_forecast(self, zone: str | None) -> ActiveForecast | None:
        if zone not in (None, self.zone):
            return self.watched.get(zone or "")
        return choose_active(self.received(), NOW, self.staleness)

    def active_forecasts(self) -> Mapping[str, ActiveForecast]:
        own = self.active_forecast(None)
        return {**({self.zone: own} if self.zone and own else {}), **self.watched}

    def held_elsewhere(self) -> Mapping[str, str]:
        return self.elsewhere

    def gpu_state(self, device: Device) -> GpuState:
        return self.of_gpu

    def drains(self) -> Sequence[Drain]:
        return self.drained

    def drain(self, drains: Sequence[Drain], origin: Origin | None = None) -> Sequence[Drain]:
        new = {drain.device for drain in drains}
        self.drained = [*(row for row in self.drained if row.device not in new), *drains]
        return self.drained

    def resume(
        self, devices: Collection[str], *, user: str, now: datetime, origin: Origin | None = None
    ) -> Sequence[Drain]:
        self.drained = [row for row in self.drained if devices and row.device not in devices]
        return self.drained

    def power_limit_trouble(self, devices: Sequence[str] = ()) -> str | None:
        return self.limit_trouble

    def power_limits(self) -> Mapping[str, LimitPeriod]:
        return self.limits_in_force

    def cappings(self) -> Mapping[int, Capping]:
        return self.capped

    def reservations(self, now: datetime) -> Sequence[Reservation]:
        return self.reserved.listed([GPU], now)

    def reserve(
        self, asked: Reservation, *, names: Sequence[str], count: int | None, now: datetime, origin: Origin | None
    ) -> Reservation:
        return self.reserved.reserve_checked(asked, [GPU], names=names, count=count, busy={}, now=now, origin=origin)

    def end_reservation(self, number: int, *, user: str, now: datetime, origin: Origin | None) -> Reservation:
        ended = self.reserved.end(number, user=user, now=now, origin=origin)
        if ended is None:
            raise ReservationNotFound("there is no such reservation")
        return ended

    def powers_w(self) -> Mapping[str, float]:
        return {GPU.id: 301.5}

    def idle_powers_w(self) -> Mapping[str, float]:
        return {GPU.id: 55.5}


class World:
    """An API over fakes, and a way to ask it as somebody."""

    def __init__(self, **settings: Any) -> None:
        self.store, self.scheduler = FakeStore(), FakeScheduler()
        self.scheduler.store = self.store
        self.settings = ServiceSettings(**{"zone": "GB", **settings})
        self.scheduler.zone = self.settings.zone
        self.metrics = registry_of(
            MetricsCollector(self.store, live_state(self.store, self.scheduler, self.settings.access.others))
        )
        self.app = create_app(self.store, self.scheduler, self.settings, self.metrics, now=lambda: NOW)

    def ask(self, method: str, path: str, *, who: str = ADA, app: FastAPI | None = None, **more: Any) -> httpx.Response:
        """Send one request as the user `who` and return the answer."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=app or self.app, client=(who, 1), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://greenrun") as client:
                return await client.request(method, path, **more)

        return asyncio.run(send())

    def submit(self, query: str = "", **parts: Any) -> httpx.Response:
        """Submit one job as ada."""
        return self.ask("POST", f"/v1/jobs{query}", json={"command": ["/bin/true"], "workdir": "/", **parts})


def live_state(store: FakeStore, scheduler: FakeScheduler, others: Sharing = Sharing.LISTED) -> LiveState:
    """What the metrics need of the daemon, from the fakes."""
    return LiveState(
        others=others,
        now=lambda: NOW,
        plan=scheduler.plan,
        health=scheduler.health,
        active_forecasts=scheduler.active_forecasts,
        received=scheduler.received,
        devices=scheduler.devices,
        quality=lambda: scheduler.quality.latest,
        meter=lambda: scheduler.readable,
        gpu_state=scheduler.gpu_state,
        conditions=scheduler.conditions,
        disk_usage=lambda: DiskUsage(free=1 << 30, size=1 << 40),
        version="1.2.3",
    )


def judged(provider: str = "test", basis: Basis | None = Basis.LIFECYCLE, bias: float = -2.5) -> SeriesScores:
    """How good forecasts were, as far as each lead time allows to say."""
    long = {(24, 48): {"captured_ratio": 0.7}, DAY_H: {"captured_ratio": 0.8}}
    leads = tuple(
        ForecastScores(
            lead_h=lead_h, issues=40, hours=240, mean_absolute_error_g_per_kwh=12.0, bias_g_per_kwh=bias,
            rank_correlation=0.9, **long.get(lead_h, {}),
            missing={} if lead_h in long else {"captured_ratio": MISSING_WINDOW},
        )
        for lead_h in (*LEADS_H, DAY_H)
    )  # fmt: skip
    return SeriesScores(series=SeriesId(provider=provider, zone="GB", basis=basis), leads=leads)


def errors(answer: Any) -> dict[str, str]:
    """The field errors of a problem document."""
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    return {row["field"]: row["message"] for row in answer.json()["errors"]}

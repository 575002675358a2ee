"""The composition root: build every part from the settings, run them, and shut them down in order."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from greenrun import __version__
from greenrun.api.app import create_app, create_tcp_app
from greenrun.api.service import Preview, Submitted
from greenrun.api.serving.certificates import Certificates
from greenrun.api.serving.server import ServerHandle, bind_tcp, serve_in_thread
from greenrun.api.serving.unix_socket import bind_unix, place_of, remove_own
from greenrun.api.sign_in.entrance import Entrance
from greenrun.clock import utc_now
from greenrun.config import Config
from greenrun.config.devices import meter_settings
from greenrun.config.values import Address
from greenrun.core.carbon.fallback import ActiveForecast
from greenrun.core.conditions import STALLED_AFTER, Condition, standing_still
from greenrun.core.energy.model import BOOKED, gpus
from greenrun.core.errors import StoreError
from greenrun.core.jobs.job import Job, JobRequest, JobSpec, Origin, RequestKey, State
from greenrun.core.jobs.transitions import Edit, EventKind, edited
from greenrun.core.planning.model import Plan
from greenrun.core.planning.power_cap.planned_power import PlannedPower
from greenrun.core.planning.power_cap.site_power import SitePowerState
from greenrun.daemon.accounting_bases import open_day_ahead
from greenrun.daemon.background_planner import BackgroundPlanner
from greenrun.daemon.database_check import DatabaseCheck
from greenrun.daemon.descriptors import Descriptors
from greenrun.daemon.doors import StateLock, check_socket
from greenrun.daemon.health_watch import (
    Check,
    FolderCheck,
    HealthWatch,
    full_disk,
    lost_gpus,
    paused_starts,
    power_above_cap,
)
from greenrun.daemon.host_devices import HostDevices
from greenrun.daemon.known_values import note_changes
from greenrun.daemon.log_setup import flush_repeats
from greenrun.daemon.metrics_state import MetricsState
from greenrun.daemon.stray_runs import KnownStrays, Leftovers, require_not_emptied
from greenrun.daemon.submissions import Submissions, preview_of
from greenrun.daemon.system_mode import group_of, open_executor
from greenrun.daemon.ticker import Ticker
from greenrun.daemon.wiring import (
    api_settings,
    engine_settings,
    host_name,
    known_signals,
    open_hooks,
    open_monthly,
    open_power_limits,
    open_providers,
    page_addresses,
    report_settings,
)
from greenrun.engine.budgets.budget_keeper import BudgetKeeper
from greenrun.engine.engine import Engine
from greenrun.engine.planning import Admission, Urgency
from greenrun.engine.ports import OpenExecutor
from greenrun.grid.backfill import Backfill, Retention
from greenrun.grid.forecast_quality import ForecastQuality
from greenrun.grid.sources import Sources
from greenrun.meters import open_meter
from greenrun.meters.power_limits.rights import PowerLimitRights
from greenrun.metrics import Health, MetricsCollector, registry_of
from greenrun.notifications.notifier import Notifier
from greenrun.providers import Provider
from greenrun.reports.build import Reports
from greenrun.store import Store
from greenrun.store.grid import THIN_AFTER
from greenrun.store.migrate import migrate_apart
from greenrun.web.page_app import add_page

if TYPE_CHECKING:
    from greenrun.providers.web import Web  # with httpx, which a daemon without HTTP sources need not load

log = structlog.get_logger("greenrun.daemon.daemon")

LONGEST_WATCH = timedelta(seconds=5)  # between two looks at whether all is well
HOUSEKEEPING_EVERY = timedelta(hours=1)
REQUESTS_FOR = timedelta(days=1)  # how long a submission may be sent again and is known
RUN_FOLDERS_FOR = timedelta(days=30)
FIRST_POLL_LIMIT = timedelta(seconds=10)  # how long the start waits for the first answers of the sources
MAX_CONCURRENT_POLLS = 8
SPREAD = 0.1  # of a source's interval: the jitter of its polls, so that not all installations poll at once


class Daemon:
    """All parts together. `parts` closes what was opened, last first, even if opening a later part fails."""

    def __init__(self, config: Config, parts: ExitStack) -> None:
        self._config = config
        self._started_at = utc_now()
        self._descriptors = Descriptors(has_tcp=bool(config.api.metrics or config.api.tcp))
        self._last_tick_at: datetime | None = None
        self._turn = threading.RLock()  # held by whoever calls the engine
        self._server: ServerHandle | None = None
        self._ticker = Ticker(self._tick)
        self._claim(parts)
        self._open(parts)
        limits = open_power_limits(config)
        self._engine = Engine(
            store=self._store, executor=self._executor, meter=self._meter, forecasts=self._providers.forecasts,
            histories=self._providers.histories, marginal=self._providers.marginal, power_limits=limits,
            settings=engine_settings(config, self._meter, self._providers.forecasts, self._prices),
        )  # fmt: skip
        self._build_api_services()
        self.host = HostDevices(
            meter=self._meter, executor=self._executor, store=self._store, reports=self.reports,
            availability=self._engine.availability, turn=self._turn, wake=self.wake,
            power_limits=self._engine.power_limits,
            limit_rights=PowerLimitRights(limits, lambda: gpus(self._meter.devices())),
        )  # fmt: skip
        self._watch = HealthWatch(self._health_checks())
        parts.callback(self._watch.stop)
        self._notifier = Notifier(
            self._store, open_hooks(config), host_name(), counts=self._engine.requests, plan=self.plan,
            conditions=lambda: [*self._watch.found, *self._standing_still()],
            budgets=lambda: [*self._engine.budgets.standings.values()],
        )  # fmt: skip
        parts.callback(self._notifier.stop)
        self._planner = BackgroundPlanner(self._engine, self._turn, self._ticker.wake, self._ticker.count_failure)
        self._submissions = Submissions(
            self._engine,
            self._store.jobs,
            self._turn,
            self._planner.ask_for_submissions,
            self._ticker.wake,
            config.jobs.max_queued,
        )
        parts.callback(self._ticker.stop)  # before anything that a tick uses is closed
        parts.callback(self._planner.stop)
        self._first_poll = ThreadPoolExecutor(MAX_CONCURRENT_POLLS, thread_name_prefix="greenrun-poll")
        parts.callback(self._first_poll.shutdown)
        parts.callback(self._close_connections)

    def _claim(self, parts: ExitStack) -> None:
        """Lock the state folder and bind the sockets."""
        self._lock = StateLock(self._config.paths.state)
        parts.callback(self._lock.close)
        self._unix = bind_unix(self._config.api.socket, group_of(self._config.server))
        self._unix_place = place_of(self._config.api.socket)
        parts.callback(self._close_unix)
        self._tcp = bind_tcp(str(self._config.api.metrics)) if self._config.api.metrics else None
        parts.callback(self._tcp.close if self._tcp else lambda: None)
        api = self._config.api
        self._certificates = (
            Certificates(api.tls_certificate, api.tls_key) if api.tls_certificate and api.tls_key else None
        )
        self._others = bind_tcp(str(api.tcp), loopback_only=not self._certificates, setting="tcp") if api.tcp else None
        parts.callback(self._others.close if self._others else lambda: None)

    def _open(self, parts: ExitStack) -> None:
        """Open the store, the executor, the meter and the providers."""
        config, state = self._config, self._config.paths.state
        require_not_emptied(state)
        migrate_apart(state / "greenrun.db")
        self._store = parts.enter_context(Store(state / "greenrun.db", self._descriptors.database))
        opened = open_executor(
            config, self._store, on_change=self._ticker.wake, devices=lambda: self._meter.devices(),
            limits=self._descriptors.for_jobs, free_descriptors=lambda: self._server.drop_idle() if self._server else 0,
        )  # fmt: skip
        self._executor: OpenExecutor = opened.executor
        parts.callback(self._executor.close)
        self.strays = KnownStrays(opened.strays, self._store)
        self._leftovers = Leftovers(state, opened.checkpoints, self._store, self.strays)
        lowered = {period.device: period.found_w for period in self._store.power_limits.in_force()}  # before a crash
        settings = replace(meter_settings(config.devices), unlowered_w=lowered)
        self._meter = open_meter(settings, runs_dir=state / "runs", state_dir=state)
        parts.callback(self._meter.close)
        self._providers = open_providers(config, self._store)
        self._prices = open_day_ahead(config.electricity, self._store.prices)

    def _build_api_services(self) -> None:
        config, grid, store, counts = self._config, self._config.grid, self._store.grid, self._engine.requests
        self.sources = Sources(store, grid.zone, config.provider, self._providers, counts)
        retention = Retention(forecasts=grid.forecast_retention, measured=grid.history_retention)
        self.backfill = Backfill(
            store, grid.zone, config.provider, self._providers, retention, self._reread, counts, also=grid.also
        )
        self.reports = Reports(
            self._store.archive, self._meter.devices, report_settings(config, self._providers.all, self._prices)
        )
        self._monthly = open_monthly(config, self.reports)
        self.quality = ForecastQuality(
            self._store, [each.name for each in self._engine.zones if each.name], self._engine.zone.marginal.names
        )

    def _health_checks(self) -> list[Check]:
        state = self._config.paths.state
        return [
            partial(full_disk, state),
            DatabaseCheck(self._store),
            FolderCheck(state / "runs"),
            self._descriptors.check,
            partial(paused_starts, self._engine.start_pause),
            partial(power_above_cap, self._engine.power),
            self.strays.check,
            self._lock.check,
            lambda now: check_socket(self._server, now),
            lambda _: flush_repeats(),
            partial(lost_gpus, self.host.devices, self.host.gpu_state),
        ]

    def start(self) -> None:
        """Poll the sources once, start ticking, then serve the API."""
        for refusal in self._meter.refusals:
            log.warning("meter refused", why=refusal)
        for missing in self._engine.reserved.not_there(gpus(self._meter.devices())):
            log.warning("reserved GPU not found", why=missing)
        self._leftovers.hold_jobs_that_ran(utc_now())
        self._engine.restore(utc_now())
        self._poll_once()
        self._schedule()
        self._planner.start()
        self._ticker.start()
        self._watch.start(min(self._config.planner.tick, LONGEST_WATCH))
        self._notifier.start(min(self._config.planner.tick, LONGEST_WATCH))
        self._server = self._serve()
        note_changes(self._store.trail, self._config, self._meter.devices(), utc_now())
        self._note(EventKind.DAEMON_STARTED, version=__version__)
        log.info(
            "ready", version=__version__, socket=str(self._config.api.socket), metrics_port=self._server.tcp_port,
            tcp_port=self._server.others_port,
            zone=self._config.grid.zone, devices=[device.id for device in self._meter.devices()],
            emulated=any(device.emulated for device in self._meter.devices()),
        )  # fmt: skip

    def stop(self) -> None:
        """Start nothing new and stop serving; running jobs keep running."""
        self._engine.draining = True
        self._close_connections()
        if self._server is not None:
            self._server.stop()
        self._watch.stop()
        self._planner.stop()
        self._ticker.stop()
        self._notifier.stop()
        self._release_power_limits()
        try:
            left = len(self._store.runs.live_runs())
        except StoreError as exc:
            log.error("stopped; which jobs are left running cannot be told", error=str(exc))
        else:
            log.info("stopped", jobs_left_running=left)
            self._note(EventKind.DAEMON_STOPPED, running=left)

    def renew_certificates(self) -> None:
        """Read the certificate of the TLS listener again; raise ConfigError, and then the one before holds."""
        if self._certificates is not None:
            self._certificates.reload()
            log.info("certificate read again", path=str(self._config.api.tls_certificate))

    def _release_power_limits(self) -> None:
        """Restore power limits, which nobody would while no daemon runs; what cannot be is left for the next start."""
        try:
            self._engine.power_limits.release(utc_now())
        except StoreError as exc:
            log.error("power limits stay as they are until greenrun is started again", error=str(exc))

    def _note(self, kind: EventKind, **detail: object) -> None:
        """Add an event about the daemon; it is not worth failing for."""
        try:
            self._store.jobs.note(kind, now=utc_now(), **detail)
        except StoreError as exc:
            log.warning("the event cannot be kept", kind=kind.value, error=str(exc))

    # what the API and the metrics call (greenrun.api.service.Scheduler)

    def preview(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> list[Preview]:
        """Plan the queue with these jobs added, storing nothing; raise InvalidJob if one can never run as specified."""
        with self._turn:
            return [preview_of(row) for row in self._engine.preview(specs, user=user, uid=uid, now=now)]

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
        """Store the jobs, all or none, if each can run as specified; raise InvalidJob, KnownRequest, StoreError."""
        asked = JobRequest(specs=specs, user=user, uid=uid, now=now, key=request, origin=origin)
        return self._submissions.submit(asked)

    def try_edit(self, edits: Sequence[Edit], *, actor: str, now: datetime) -> Sequence[Job]:
        """Return what jobs would be after these edits, and change nothing; raise InvalidJob as `edit` does."""
        with self._turn:
            return self._edited(edits, now)[0]

    def _edited(self, edits: Sequence[Edit], now: datetime) -> tuple[Sequence[Job], Admission]:
        wanted = [edited(edit.before, edit, now) for edit in edits]
        return wanted, self._engine.readmit([job for job in wanted if job.state is State.QUEUED], now)

    def edit(self, edits: Sequence[Edit], *, actor: str, now: datetime, origin: Origin | None = None) -> Sequence[Job]:
        """Change what jobs are, or requeue them, all or none, if each can be run as stated beside all others."""
        with self._turn:
            _, admitted = self._edited(edits, now)
            stored = self._store.jobs.edit(edits, actor=actor, now=now, origin=origin)
            self._engine.planning.keep(admitted, {job.id: job for job in stored if job.state is State.QUEUED})
            self._planner.ask(Urgency.PROMPT)
        self._ticker.wake()
        return stored

    def plan(self) -> Plan:
        """Return the latest plan."""
        return self._engine.planning.shown

    def site_power(self) -> tuple[SitePowerState, Sequence[PlannedPower]]:
        """Return what is drawn under the site's power cap, and what is planned under it."""
        return self._engine.power.state, self._engine.planning.planned_power()

    @property
    def budgets(self) -> BudgetKeeper:
        """How budgets and quotas stand."""
        return self._engine.budgets

    def turn_text(self, job_id: int) -> str | None:
        """Say when a queued job has its turn by fair share; None where that makes no difference."""
        return self._engine.planning.turn_text(job_id)

    def wake(self, changed: Sequence[Job]) -> None:
        """Show in the plan what users want of these jobs now, and tick soon; never raise: the change is stored."""
        try:
            with self._turn:
                self._engine.revise(changed, utc_now())
        except StoreError as exc:
            log.warning("the plan shown is an older one until the store can be read again", error=str(exc))
        self._ticker.wake()

    def active_forecast(self, zone: str | None) -> ActiveForecast | None:
        """Return a watched zone's active forecast as of the last tick (None: this host's own), None for another."""
        if zone is None:
            return self._engine.zone.active_forecast
        return next((each.active_forecast for each in self._engine.zones if each.name == zone), None)

    def health(self) -> Health:
        """Return when the daemon last ticked, sampled and fetched a forecast."""
        return Health(
            started_at=self._started_at,
            last_tick_at=self._last_tick_at,
            last_sample_at=self._meter.last_sample_at,
            forecast_fetched_at=self._engine.zone.heard_at,
            draining=self._engine.draining,
        )

    def _standing_still(self) -> Sequence[Condition]:
        return standing_still(
            now=utc_now(),
            started_at=self._started_at,
            last_tick_at=self._last_tick_at,
            last_sample_at=self._meter.last_sample_at,
            has_meter=any(device.kind in BOOKED for device in self._meter.devices()),
            limit=STALLED_AFTER,
        )

    def conditions(self) -> Sequence[Condition]:
        """Return what is wrong at present."""
        return self._watch.look()

    # periodic work

    def _tick(self, now: datetime) -> datetime:
        with self._turn:
            self._store.database.require_in_place()
            self._engine.stray_cpu_runs = sum(not stray.devices for stray in self.strays.current())
            situation = self._engine.observe(now)
            self._leftovers.hold_jobs_of_strays(now)
            urgency = self._engine.planning.urgency(situation)
            later = self._engine.act(situation, now, is_outdated=urgency >= Urgency.SOON)
        self._planner.ask(urgency)
        self._last_tick_at = now
        return later

    def _refresh(self, source: Provider, now: datetime) -> None:
        news = self._engine.fetch(now, {source.name})
        with self._turn:
            self._engine.apply_updates(news, now)

    def _poll_once(self) -> None:
        """Poll every provider once, concurrently, without waiting for slow ones; raise StoreError.

        A failure of anything but the store is that provider's: it is logged, counted, and tried again on schedule.
        """
        polled = {self._first_poll.submit(self._refresh, source, utc_now()): source for source in self._providers.all}
        answered, _ = wait(polled, FIRST_POLL_LIMIT.total_seconds())
        self._first_poll.shutdown(wait=False)
        for each in answered:
            failure = each.exception()
            if isinstance(failure, StoreError):
                raise failure
            if failure is not None:
                self._ticker.count_failure(f"refresh {polled[each].name}", failure)

    def _schedule(self) -> None:
        """Schedule the periodic jobs: refreshes of providers and prices, housekeeping, monthly reports."""
        for source in self._providers.all:
            self._schedule_refresh(source)
        if self._prices is not None:
            every, refresh = self._prices.refresh_every, self._prices.refresh
            self._ticker.every(every, refresh, name="refresh prices", first=utc_now(), spread=SPREAD * every)
        soon = utc_now() + timedelta(minutes=1)
        self._ticker.every(HOUSEKEEPING_EVERY, self._keep_house, name="housekeeping", first=soon)
        if self._monthly is not None:  # without the engine's lock: it only reads what is booked
            self._ticker.every(HOUSEKEEPING_EVERY, self._monthly.keep_up, name="monthly reports", first=soon)

    def _schedule_refresh(self, source: Provider) -> None:
        """Poll a provider whenever it may have news: one over HTTP with jitter, a file when its slots begin."""
        every, shown = source.refresh_every, self._engine.forecast
        begins = shown.series.start if shown is not None and source.web is None else None
        self._ticker.every(
            every, partial(self._refresh, source), name=f"refresh {source.name}", first=(begins or utc_now()) + every,
            spread=SPREAD * every if source.web is not None else timedelta(0),
        )  # fmt: skip

    def _webs(self) -> "Sequence[Web]":
        polled = [source.web for source in self._providers.all if source.web is not None]
        return [*polled, self._prices.web] if self._prices else polled

    def _close_connections(self) -> None:
        """Stop waiting for any source."""
        for web in self._webs():
            web.close()

    def _reread(self, now: datetime) -> None:
        with self._turn:
            self._engine.reload_measured(now)

    def _keep_house(self, now: datetime) -> None:
        grid = self._config.grid
        self._store.grid.prune(forecasts=now - grid.forecast_retention, measured=now - grid.history_retention)
        self._store.grid.thin_forecasts(now - THIN_AFTER)
        self._store.trail.prune(now - self._config.events.retention, now=now)
        self._store.shrink()
        self._store.jobs.prune_submissions(now - REQUESTS_FOR)
        self._engine.learn_arrivals(now)
        self.quality.refresh(now)
        self.reports.learn_idle(now)
        live = {run.label for run in self._store.runs.live_runs()}
        self._executor.prune(live, now - RUN_FOLDERS_FOR)
        self._leftovers.prune(now - self._config.jobs.checkpoint_retention)

    def _close_unix(self) -> None:
        if self._server is None:  # it never served, so nothing else removes its socket file
            remove_own(self._config.api.socket, self._unix_place)
        self._unix.close()

    def _serve(self) -> ServerHandle:
        state = MetricsState(
            engine=self._engine, store=self._store, meter=self._meter, quality=self.quality, monthly=self._monthly,
            webs=tuple(self._webs()), health=self.health, state=self._config.paths.state, pue=self._config.devices.pue,
            signals=known_signals(self._config),
            conditions=lambda: self._watch.found, others=self._config.sharing.others,
        )  # fmt: skip
        collector = MetricsCollector(self._store, state.live_state())
        collector.warm()
        registry = registry_of(collector)
        settings = api_settings(self._config)
        entrance = Entrance(self._store.credentials, utc_now, place=f"{host_name()}:{self._config.api.socket}")
        entrance.addresses = page_addresses(
            self._config, *(Address(*each.getsockname()[:2]) if each else None for each in (self._tcp, self._others))
        )
        app = create_app(self._store, self, settings, registry, entrance=entrance)
        tcp_app = create_tcp_app(self._store, self, settings, registry, entrance=entrance)
        if self._config.api.page:
            add_page(tcp_app)
        tls = self._certificates.context if self._certificates else None
        others = (self._others, tls) if self._others else None
        return serve_in_thread(app, self._unix, tcp_app, self._tcp, others=others)

"""The composition root: build every part from the settings, keep the beat, serve the API, end in good order."""

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from greenrun import __version__
from greenrun.api.app import create_app, create_metrics_app
from greenrun.api.server import ServerHandle, bind_tcp, bind_unix, serve_in_thread
from greenrun.api.service import ApiSettings, Preview, Submitted
from greenrun.clock import utc_now
from greenrun.config import Config, load_config
from greenrun.core.energy import Device
from greenrun.core.errors import ConfigError, GreenrunError, ProviderError, StoreError
from greenrun.core.job import JobSpec
from greenrun.core.plan import Options, Placement, Plan
from greenrun.engine import Engine, EngineSettings
from greenrun.executors.local import LocalExecutor
from greenrun.logs import configure_logs
from greenrun.meters import ConstantSettings, EmulatedSettings, MeterSettings, OpenMeter, open_meter
from greenrun.metrics import Health, LiveState, MetricsCollector, registry_of
from greenrun.metronome import Metronome
from greenrun.providers import Provider, open_provider
from greenrun.readiness import notify
from greenrun.store import Store

log = structlog.get_logger("greenrun.daemon")

HOUSEKEEPING_EVERY = timedelta(hours=1)
RUN_FOLDERS_FOR = timedelta(days=30)
STALE_AFTER = timedelta(hours=2)


def serve(config_path: Path | None = None) -> int:
    """Run the daemon until TERM or INT, leaving jobs to run on; return the exit status. Raises GreenrunError."""
    config = load_config(config_path)
    configure_logs(config.log.format, config.log.level)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with ExitStack() as parts:
        daemon = Daemon(config, parts)
        daemon.start()
        notify("READY=1")
        stopped.wait()
        notify("STOPPING=1")
        daemon.stop()
    return 0


class Daemon:
    """All parts together. `parts` closes what was opened, last first, also when a later part cannot be had."""

    def __init__(self, config: Config, parts: ExitStack) -> None:
        self._config = config
        self._started_at = utc_now()
        self._last_tick_at: datetime | None = None
        self._turn = threading.RLock()  # the engine does one thing at a time
        state = config.paths.state
        self._server: ServerHandle | None = None
        parts.callback(_lock_state(state))
        self._unix = bind_unix(config.api.socket)
        parts.callback(self._close_unix)
        address = config.api.metrics
        self._tcp = bind_tcp(str(address)) if address else None
        parts.callback(self._tcp.close if self._tcp else lambda: None)
        self._store = parts.enter_context(Store(state / "greenrun.db"))
        self._metronome = Metronome(self._tick)
        self._executor = LocalExecutor(
            runs_dir=state / "runs", locks_dir=config.paths.locks, on_change=self._metronome.wake,
            log_cap_bytes=config.jobs.log_cap,
        )  # fmt: skip
        parts.callback(self._executor.close)
        self._meter = open_meter(_meter_settings(config), runs_dir=state / "runs", state_dir=state)
        parts.callback(self._meter.close)
        self._forecasts, self._histories = _open_grid(config, self._store)
        self._engine = Engine(
            store=self._store, executor=self._executor, meter=self._meter, forecasts=self._forecasts,
            histories=self._histories, settings=_engine_settings(config, self._meter, self._forecasts),
        )  # fmt: skip
        parts.callback(self._metronome.stop)  # before anything that a tick uses is closed

    def start(self) -> None:
        """Look at the grid once, begin to tick, then answer."""
        for refusal in self._meter.refusals:
            log.warning("meter refused", why=refusal)
        self._refresh(utc_now())
        sources = (*self._forecasts, *self._histories)
        if sources:
            first = self._engine.forecast.series.start if self._engine.forecast else None
            every = min(source.refresh_every for source in sources)
            self._metronome.every(every, self._refresh, name="refresh", first=(first or utc_now()) + every)
        soon = utc_now() + timedelta(minutes=1)
        self._metronome.every(HOUSEKEEPING_EVERY, self._keep_house, name="housekeeping", first=soon)
        self._metronome.start()
        self._server = self._serve()
        log.info(
            "ready", version=__version__, socket=str(self._config.api.socket), metrics_port=self._server.tcp_port,
            zone=self._config.grid.zone, devices=[device.id for device in self._meter.devices()],
            emulated=any(device.emulated for device in self._meter.devices()),
        )  # fmt: skip

    def stop(self) -> None:
        """Start nothing new and close the doors; running jobs run on."""
        self._engine.draining = True
        if self._server is not None:
            self._server.stop()
        self._metronome.stop()
        log.info("stopped", jobs_left_running=len(self._store.live_runs()))

    # what the API and the metrics ask (greenrun.api.service.Scheduler)

    def preview(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> list[Preview]:
        """Plan the queue with these jobs added, storing nothing; raise InvalidJob when one cannot be run as stated."""
        with self._turn:
            rows = self._engine.preview(specs, user=user, uid=uid, now=now)
        return [Preview(placement=row) if isinstance(row, Placement) else Preview(waiting=row) for row in rows]

    def submit(self, specs: Sequence[JobSpec], *, user: str, uid: int, now: datetime) -> list[Submitted]:
        """Store the jobs, all or none, if each can be run as stated beside all others; raise InvalidJob, StoreError."""
        with self._turn:  # nobody else may be promised the same GPUs between the look and the promise
            previews = self.preview(specs, user=user, uid=uid, now=now)
            stored = self._store.add_jobs(specs, user=user, uid=uid, now=now)
            self.wake()
        rows = zip(stored, previews, strict=True)
        return [Submitted(job=job, is_new=is_new, preview=preview) for (job, is_new), preview in rows]

    def plan(self) -> Plan:
        """Return the latest plan."""
        return self._engine.plan

    def wake(self) -> None:
        """Plan anew, so that the answer shows it, and tick soon; never fails what called for it, which is stored."""
        try:
            with self._turn:
                self._engine.replan(utc_now())
        except StoreError as exc:
            log.warning("the plan shown is an older one until the store can be read again", error=str(exc))
        self._metronome.wake()

    def devices(self) -> Sequence[Device]:
        """Return the devices of this host, in index order."""
        return self._meter.devices()

    def held_elsewhere(self) -> Mapping[str, str]:
        """Return the free devices that somebody outside this daemon holds, with who."""
        leased = {device for run in self._store.live_runs() for device in run.devices}
        return self._executor.held_elsewhere([row.id for row in self._meter.devices() if row.id not in leased])

    def health(self) -> Health:
        """Return when the daemon's parts last did something."""
        return Health(
            started_at=self._started_at,
            last_tick_at=self._last_tick_at,
            last_sample_at=self._meter.last_sample_at,
            forecast_fetched_at=self._engine.forecast.fetched_at if self._engine.forecast else None,
            draining=self._engine.draining,
        )

    # the beat

    def _tick(self, now: datetime) -> datetime:
        with self._turn:
            later = self._engine.tick(now)
        self._last_tick_at = now
        return later

    def _refresh(self, now: datetime) -> None:
        news = self._engine.fetch(now)
        with self._turn:
            self._engine.take(news, now)

    def _keep_house(self, now: datetime) -> None:
        grid = self._config.grid
        self._store.prune(forecasts=now - grid.forecast_retention, measured=now - grid.history_retention)
        self._engine.learn_arrivals(now)
        live = {run.label for run in self._store.live_runs()}
        self._executor.prune(live, now - RUN_FOLDERS_FOR)

    def _close_unix(self) -> None:
        if self._server is None:  # it never served, so nobody else removes its file
            self._config.api.socket.unlink(missing_ok=True)
        self._unix.close()

    def _serve(self) -> ServerHandle:
        state = LiveState(
            now=utc_now, plan=self.plan, health=self.health, forecast=lambda: self._engine.forecast,
            devices=self.devices,
            requests=lambda: self._engine.grid.requests, failures=lambda: self._engine.grid.failures,
            plan_changes=lambda: self._engine.plan_changes, put_offs=lambda: self._engine.put_offs,
            pue=self._config.devices.pue,
        )  # fmt: skip
        registry = registry_of(MetricsCollector(self._store, state))
        settings = _api_settings(self._config, self._forecasts)
        app = create_app(self._store, self, settings, registry)
        return serve_in_thread(app, self._unix, create_metrics_app(self._store, self, settings, registry), self._tcp)


def _lock_state(state: Path) -> Callable[[], None]:
    """Take the state folder for this process; raise GreenrunError when another daemon has it."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(state / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigError(f"The state folder {state} cannot be used ({exc.strerror}): set [paths] state.") from exc
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(handle)
        raise GreenrunError(
            f"Another daemon uses {state}: use that one, stop it, or set [paths] state to another folder."
        ) from exc
    return lambda: os.close(handle)


def _open_grid(config: Config, store: Store) -> tuple[list[Provider], list[Provider]]:
    """Open the sources of forecasts and of measured values: the same object where they are the same."""
    grid = config.grid
    opened = {name: _open_provider(config, name, store) for name in {*grid.provider, *grid.history_names}}
    return [opened[name] for name in grid.provider], [opened[name] for name in grid.history_names]


def _open_provider(config: Config, name: str, store: Store) -> Provider:
    settle_after = config.grid.settle_after
    try:
        return open_provider(name, config.provider[name], lambda key: store.anchor(key, utc_now()), settle_after)
    except ProviderError as exc:  # restarting would not help: somebody has to correct what the settings name
        raise ConfigError(f"provider.{name} cannot be used, so greenrun does not start: {exc}") from exc


def _meter_settings(config: Config) -> MeterSettings:
    devices = config.devices
    return MeterSettings(
        kinds=tuple(devices.meter),
        include=tuple(int(name) if name.isdigit() else name for name in devices.include),
        emulated=EmulatedSettings(**devices.emulated.model_dump()),
        constant=ConstantSettings(**devices.constant.model_dump()) if devices.constant else None,
    )


def _engine_settings(config: Config, meter: OpenMeter, forecasts: Sequence[Provider]) -> EngineSettings:
    planner = config.planner
    powers = {device.power_w for device in meter.devices()}
    step = min((provider.refresh_every for provider in forecasts), default=planner.tick)
    return EngineSettings(
        zone=config.grid.zone,
        tick=planner.tick,
        horizon=planner.horizon,
        climatology_days=0 if _is_replayed(forecasts) else planner.climatology_days,
        cpu_slots=config.devices.cpu_slots,
        options=Options(
            default_max_delay=planner.default_max_delay,
            due_grace=max(timedelta(seconds=1), min(2 * planner.tick, step)),
            min_saving=planner.min_saving,
            run_below_g_per_kwh=planner.run_below,
            pue=config.devices.pue,
            gpu_power_w=powers.pop() if len(powers) == 1 else None,
        ),
    )


def _api_settings(config: Config, forecasts: Sequence[Provider]) -> ApiSettings:
    return ApiSettings(
        zone=config.grid.zone,
        default_duration=config.planner.default_duration,
        default_max_delay=config.planner.default_max_delay,
        duration_quantile=config.planner.duration_quantile,
        max_queued=config.jobs.max_queued,
        stale_after=None if _is_replayed(forecasts) else STALE_AFTER,
    )


def _is_replayed(forecasts: Sequence[Provider]) -> bool:
    """Whether a source plays a trace, in which a day may be over in a minute."""
    return any(not provider.settle_after for provider in forecasts)

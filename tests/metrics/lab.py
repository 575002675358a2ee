"""A daemon's own parts over a scripted machine and grid in virtual time, and what Prometheus scrapes of it.

Engine, store, meters, sources and collectors are the real ones, put together as the daemon does; only the hardware, the
processes and what the source answers are the script's.
"""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from sqlalchemy import event

from greenrun.core.budgets.budget import Budgets
from greenrun.core.carbon.fallback import StalenessRules
from greenrun.core.carbon.intensity import Kind, Series, SeriesId, Signal
from greenrun.core.errors import StoreError
from greenrun.core.jobs.job import JobSpec
from greenrun.core.jobs.runs.anomalies import Limits
from greenrun.core.planning.model import Options, Plan
from greenrun.core.planning.power_cap.site_power import SitePower
from greenrun.daemon.database_check import DatabaseCheck
from greenrun.daemon.health_watch import FolderCheck, HealthWatch, lost_gpus, paused_starts, power_above_cap
from greenrun.daemon.metrics_state import MetricsState
from greenrun.engine import planning, polling
from greenrun.engine.budgets.present_charges import BudgetRules
from greenrun.engine.engine import Engine, EngineSettings
from greenrun.grid.forecast_quality import ForecastQuality
from greenrun.meters.combined import CombinedMeter
from greenrun.meters.counter_state import CounterFile, CounterState
from greenrun.metrics import Health, MetricsCollector, registry_of
from greenrun.providers import open_provider, web
from greenrun.providers.uk_carbon_intensity import UkCarbonIntensitySettings
from greenrun.store import Store
from greenrun.store.database import Database
from tests.metrics.scripted_gpus import ScriptedDriver, ScriptedGpu, ScriptedProcessor, board, gpu_meter, steady_s
from tests.providers.source import answering, json_answer
from tests.slots import slots_of
from tests.world import SLOT, T0, WATTS, Process, World, spec

EVERY = timedelta(seconds=15)  # between two scrapes
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
PUE = 1.2
PLAN_S, ANSWER_S, FAILURE_S = 0.05, 0.4, 3.0  # what plans, answers and their absence take by the script's stopwatch
DISK, QUOTA = 100 << 30, 500
GRID, ZONE = "uk", "GB"
HUNG = "hung"  # the project whose jobs hold their GPUs and do nothing


@dataclass
class Grid:
    """What the source says: half hours of `truth`, and forecasts of it that are off by `error(start, at)`.

    `at` is when the half hour began in which the forecast was made.
    """

    truth: Callable[[datetime], float]
    error: Callable[[datetime, datetime], float]
    now: datetime = T0
    is_down: bool = False
    reaches: timedelta = timedelta(hours=48)
    quota: int = QUOTA
    asked: list[datetime] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer as the UK's service does."""
        self.quota -= 1
        self.asked.append(self.now)
        headers = {"X-RateLimit-Remaining": str(self.quota)}
        if self.is_down:
            return json_answer('{"error": "not there"}', 500, **headers)
        begin = self.now.replace(minute=self.now.minute // 30 * 30, second=0, microsecond=0)
        if "fw48h" in request.url.path:
            starts = [begin + number * SLOT for number in range(self.reaches // SLOT)]
            rows = [self._row(start, forecast=self.told(start, begin)) for start in starts]
        else:
            first, last = (datetime.fromisoformat(part.replace("Z", "+00:00")) for part in
                           re.findall(r"\d{4}-\d\d-\d\dT\d\d:\d\dZ", request.url.path))  # fmt: skip
            starts = [first + number * SLOT for number in range((min(last, begin) - first) // SLOT)]
            rows = [self._row(start, actual=self.truth(start)) for start in starts]
        return json_answer(json.dumps({"data": rows}), **headers)

    def left(self, at: datetime) -> int:
        """What the source said last by then that is left of its quota."""
        return QUOTA - sum(asked <= at for asked in self.asked)

    def told(self, start: datetime, at: datetime) -> float:
        """The forecast of a half hour that was first made in the half hour which began at `at`."""
        return self.truth(start) + self.error(start, at)

    def _row(self, start: datetime, forecast: float | None = None, actual: float | None = None) -> dict[str, Any]:
        ends = {"from": start, "to": start + SLOT}
        return {name: f"{at:%Y-%m-%dT%H:%MZ}" for name, at in ends.items()} | {
            "intensity": {"forecast": forecast, "actual": actual, "index": "moderate"}
        }


@dataclass
class Marginal:
    """A source of marginal intensities beside the grid's: known once a half hour is over, and final then."""

    truth: Callable[[datetime], float]
    name: str = "marginal"
    settle_after: timedelta = timedelta(0)
    web: None = None

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        first = start.replace(minute=start.minute // 30 * 30, second=0, microsecond=0)
        starts = [first + number * SLOT for number in range((min(end, now) - first) // SLOT)]
        slots = slots_of(starts, [self.truth(at) for at in starts], SLOT, Kind.MEASURED)
        return Series.of(SeriesId(provider=self.name, zone=zone, signal=Signal.MARGINAL), slots)


@dataclass
class Clocks:
    """How long the next thing takes on the script's stopwatch."""

    answer_s: float = ANSWER_S

    def polling(self) -> Callable[[], float]:
        return lambda: self.answer_s

    def planning(self) -> Callable[[], float]:
        return lambda: PLAN_S


@dataclass
class Lab:
    """The daemon's parts; `live` is what lets time pass. `plans` are those in force, by when they came into force."""

    folder: Path
    store: Store
    grid: Grid
    parts: ExitStack
    tick: timedelta = timedelta(seconds=5)
    sampling: timedelta = 2 * SECOND
    asking: timedelta = 5 * MINUTE
    stale_after: timedelta = 2 * HOUR
    has_processor: bool = True
    site_power: SitePower | None = None
    budgets: Budgets = field(default_factory=Budgets)
    now: datetime = T0
    gpus: int = 3
    patched: pytest.MonkeyPatch = field(default_factory=pytest.MonkeyPatch)
    plans: list[tuple[datetime, Plan]] = field(default_factory=list)
    projects: dict[int, str] = field(default_factory=dict)
    free: int = DISK // 2
    unstored: list[datetime] = field(default_factory=list)  # when a change could not be stored
    foreign: list[tuple[str, float, datetime, datetime]] = field(default_factory=list)  # watts of others, from, until
    is_sampling: bool = True
    is_ticking: bool = True
    is_up: bool = True

    def __post_init__(self) -> None:
        self.clocks, self.last_tick_at = Clocks(), None
        self.grid.now = self.now
        self._patch()
        self.world = World([], gpus=self.gpus, now=self.now)
        self.boards = [self._board(index) for index in range(self.gpus)]
        self.driver = ScriptedDriver(self.boards)
        self.world.devices = tuple(one.device for one in self.boards)
        self.processor = ScriptedProcessor(self.folder)
        self.processor.run_until(self.now)
        self.gpu_meter = gpu_meter(self.driver, self.folder, lambda: self.now)
        self.cpu_meter = self.processor.meter(lambda: self.now)
        self.meters = [self.gpu_meter, *([self.cpu_meter] if self.has_processor else [])]
        self.meter = CombinedMeter(self.meters)
        self.source = open_provider(GRID, UkCarbonIntensitySettings(), lambda key: self.now, timedelta(0))
        assert self.source.web is not None
        self.parts.callback(self.source.web.close)
        self.marginal = Marginal(lambda at: 2 * self.grid.truth(at))
        self.quality = ForecastQuality(self.store, [ZONE], [self.marginal.name])
        (self.folder / "runs").mkdir()
        self.asked_at: datetime | None = None
        self.start()

    def start(self) -> None:
        """Start the engine and the collector, as a daemon that starts does."""
        limits = Limits(gpu_idle=5 * MINUTE, power_off=None, stuck=None)
        options = Options(pue=PUE, gpu_power_w=WATTS.busy, due_grace=MINUTE)
        self.engine = Engine(
            store=self.store, executor=self.world, meter=self.meter, forecasts=[self.source], histories=[self.source],
            marginal=[self.marginal],
            settings=EngineSettings(
                zone=ZONE, tick=self.tick, options=options, anomalies=limits,
                staleness=StalenessRules(stale_after=self.stale_after), site_power=self.site_power,
                budgets=BudgetRules(budgets=self.budgets),
            ),
        )  # fmt: skip
        self.watch = HealthWatch([
            DatabaseCheck(self.store), FolderCheck(self.folder / "runs"),
            partial(paused_starts, self.engine.start_pause), partial(power_above_cap, self.engine.power),
            partial(lost_gpus, self.meter.devices, lambda device: self.engine.availability.state(device, self.now)),
        ])  # fmt: skip
        self.started_at = self.now
        state = MetricsState(
            engine=self.engine, store=self.store, meter=self.meter, quality=self.quality, monthly=None,
            webs=(self.source.web,), health=self.health, state=self.folder, pue=PUE, signals=frozenset(Signal),
            conditions=lambda: self.watch.found,
        )  # fmt: skip
        self.registry = registry_of(MetricsCollector(self.store, replace(state.live_state(), now=lambda: self.now)))
        self.registry.collect()

    def health(self) -> Health:
        return Health(
            started_at=self.started_at, last_tick_at=self.last_tick_at, last_sample_at=self.meter.last_sample_at
        )

    def submit(self, seconds: float, *, code: int = 0, **more: Any) -> int:
        """Accept a job that runs so long and ends with this code."""
        return self.accept(spec(seconds, exit_code=code, **{"gpus": 1, **more}))

    def accept(self, one: JobSpec) -> int:
        """Accept a job as the API does, without looking for a place."""
        job, _ = self.store.jobs.add_job(one, user="ada", uid=1, now=self.now)
        self.projects[job.id] = one.project
        return job.id

    def foresee(self, until: datetime, every: timedelta = HOUR) -> None:
        """Ask the source at each of these hours up to then, as a daemon does that knows no job yet."""
        while self.now < until:
            self.engine.refresh(self.now)
            self._at(min(self.now + every, until))

    def live(self, until: datetime, *, scraped: bool = True, each: Callable[[], None] = lambda: None) -> Iterator[str]:
        """Let time pass, and yield what is scraped meanwhile; `each` is what the script does at every second."""
        while self.now <= until:
            each()
            if self.is_sampling and self._is_time(self.sampling):
                self._sample()
            if self.is_ticking and (self._is_time(self.asking) or self.asked_at is None):
                self.ask()
            if self.is_ticking and self._is_time(self.tick):
                self._tick()
            if self.is_up and self._is_time(EVERY):
                self.watch.look()
                yield from lines(self.registry.collect(), self.now) if scraped else ()
            self._at(self.now + SECOND)

    def _is_time(self, every: timedelta) -> bool:
        return (self.now - T0) % every == timedelta(0)

    def _sample(self) -> None:
        if self.has_processor:
            self.processor.run_until(self.now)
        for one in self.meters:
            one.sample()

    def ask(self) -> None:
        """Ask the sources."""
        self.asked_at = self.now
        self.clocks.answer_s = FAILURE_S if self.grid.is_down else ANSWER_S
        self.engine.refresh(self.now)

    def _tick(self) -> None:
        before = self.engine.plan
        try:
            self.engine.tick(self.now)
        except StoreError:  # the ticker counts it, and tries again
            return
        self.last_tick_at = self.now
        if self.engine.plan is not before:
            self.plans.append((self.now, self.engine.plan))

    def _at(self, now: datetime) -> None:
        self.now = self.world.now = self.grid.now = now

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Let the database grow no further for the block."""

        def limit(connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
            connection.execute("PRAGMA max_page_count = 1")

        def unlimited(connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
            connection.execute("PRAGMA max_page_count = 1073741823")

        known = self.store.database._engine
        event.listen(known, "checkout", limit)
        yield
        event.remove(known, "checkout", limit)
        event.listen(known, "checkout", unlimited)

    def _patch(self) -> None:
        """Let the script say how long things take, and how full the disk is."""
        self.parts.callback(self.patched.undo)
        self.patched.setattr(web, "pause", lambda seconds, over=None: None)
        self.patched.setattr(web, "monotonic", lambda: steady_s(self.now))
        self.patched.setattr(Database, "write", self._watched(Database.write))
        kept: dict[Path, dict[str, CounterState]] = {}  # in memory, since it is written at each reading
        self.patched.setattr(CounterFile, "save", lambda file, boards: kept.update({file._path: dict(boards)}))
        self.patched.setattr(CounterFile, "load", lambda file: dict(kept.get(file._path, {})))
        self.patched.setattr(polling, "stopwatch", self.clocks.polling)
        self.patched.setattr(planning, "stopwatch", self.clocks.planning)
        self.patched.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=DISK, free=self.free))

    def _watched(self, write: Callable[[Database], Any]) -> Callable[[Database], Any]:
        @contextmanager
        def watched(database: Database) -> Iterator[Any]:
            try:
                with write(database) as session:
                    yield session
            except StoreError:
                self.unstored.append(self.now)
                raise

        return watched

    def _board(self, index: int) -> ScriptedGpu:
        device = board(index)
        return ScriptedGpu(
            device=device, power=lambda: self._power_w(device.id), used_j=lambda: self.used_j(device.id),
            is_busy=lambda: self._power_w(device.id) > WATTS.idle,
        )  # fmt: skip

    def _power_w(self, device: str) -> float:
        return sum((watts - WATTS.idle for watts, begins, ends in self._loads(device) if begins <= self.now < ends),
                   WATTS.idle)  # fmt: skip

    def used_j(self, device: str, since: datetime | None = None) -> float:
        """What a GPU has drawn since then, by the physics alone; since long ago unless told otherwise."""
        since = since or T0 - timedelta(days=2)
        extra = sum((watts - WATTS.idle) * max(timedelta(0), min(ends, self.now) - max(begins, since)).total_seconds()
                    for watts, begins, ends in self._loads(device))  # fmt: skip
        return WATTS.idle * (self.now - since).total_seconds() + extra

    def _loads(self, device: str) -> list[tuple[float, datetime, datetime]]:
        known = self.world.processes.values()
        others = [row for name, *row in self.foreign if name == device]
        return [*others, *((self._watts(one), one.started_at, one.ends_at) for one in known if device in one.devices)]

    def _watts(self, one: Process) -> float:
        return WATTS.idle if self.projects[one.job_id] == HUNG else WATTS.busy


@contextmanager
def lab(folder: Path, store: Store, grid: Grid, **more: Any) -> Iterator[Lab]:
    """A lab whose source answers while it is open."""
    with ExitStack() as parts:
        parts.enter_context(answering(grid.answer))
        yield Lab(folder=folder, store=store, grid=grid, parts=parts, **more)


def lines(families: Iterable[Metric], at: datetime) -> Iterator[str]:
    """Return what was collected at an instant as Prometheus keeps it: with its labels, and the instant."""
    for family in families:
        for sample in family.samples:
            yield f"{_series(sample.name, tuple(sample.labels.items()))} {sample.value!r} {at.timestamp():.3f}\n"


@lru_cache(maxsize=4096)
def _series(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    own = {"exported_job" if label == "job" else label: value for label, value in labels}
    told = {**own, "job": "greenrun", "instance": "lab:9753"}
    inside = ",".join(f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in told.items())
    return f"{name}{{{inside}}}"

"""A scripted world under virtual time: hardware, processes and a grid that outlive any number of engine crashes."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from greenrun.core.carbon.intensity import Forecast, Kind, Series, SeriesId
from greenrun.core.energy.gpu_parts import board_of, share_of
from greenrun.core.energy.model import Device, GpuUse, Quality, Reading
from greenrun.core.errors import ExecutorError, HostShort, ProviderUnavailable
from greenrun.core.jobs.availability import ProcessOwner
from greenrun.core.jobs.job import Job, JobSpec, Run
from greenrun.core.jobs.runs.status import EndedBy, Phase, RunStatus
from greenrun.core.planning.model import Options
from greenrun.engine.engine import Engine, EngineSettings
from greenrun.meters.emulation.power_model import EMULATED, Charge, Counters, Watts, WattsBackend
from greenrun.meters.recent_readings import RecentReadings
from greenrun.meters.run_folders import RunSpan
from greenrun.store import Store
from tests.slots import slots_of

T0 = datetime(2026, 3, 2, tzinfo=UTC)
SLOT = timedelta(minutes=30)
WATTS = Watts(idle=60.0, busy=350.0)


@dataclass
class Process:
    """A run that was really started: its true start, and when and how it ends."""

    job_id: int
    devices: tuple[str, ...]
    started_at: datetime
    ends_at: datetime
    exit_code: int
    ended_by: EndedBy = EndedBy.ITSELF
    is_asked: bool = False
    loads_for: timedelta = timedelta(0)
    saved: timedelta = timedelta(0)


@dataclass
class World:
    """Everything that a daemon's crash does not touch. `now` moves only by the script's hand."""

    values: Sequence[float]
    gpus: int = 2
    now: datetime = T0
    processes: dict[str, Process] = field(default_factory=dict)
    fenced: set[str] = field(default_factory=set)
    launches: list[int] = field(default_factory=list)
    unreachable: bool = False
    provider_down: bool = False
    lacking: str = ""
    lacking_from: int = 0  # GPUs on: with fewer nothing is lacking
    refusals: list[ExecutorError] = field(default_factory=list)
    late_refusals: int = 0
    saves_for: timedelta = timedelta(minutes=1)
    checkpoints_as: tuple[int, EndedBy] = (85, EndedBy.CHECKPOINT)
    gpu_uses: dict[str, GpuUse] = field(default_factory=dict)  # as the driver tells them, by device
    process_owners: dict[int, ProcessOwner] = field(default_factory=dict)
    said: dict[int, dict[str, Any]] = field(default_factory=dict)  # of their work, by jobs: fields of RunStatus

    def __post_init__(self) -> None:
        self.devices: tuple[Device, ...] = EMULATED.devices("world", self.gpus, WATTS)
        self.counters = Counters(
            name="boot-1", charges={device.id: Charge(at=self.now, energy_j=0.0) for device in self.devices}
        )
        self.sampled = RecentReadings()

    # Executor

    @contextmanager
    def room(self, gpus: int = 0) -> Iterator[None]:
        if self.lacking and gpus >= self.lacking_from:
            raise HostShort(f"this machine is short of {self.lacking}", self.lacking)
        yield

    def start(self, run: Run, job: Job) -> None:
        """A command `("run", SECONDS, EXIT_CODE)` starts at once, unless the run was fenced or runs already.

        It goes on where the job's last checkpoint was made, once it has spent the job's restart cost on loading it.
        """
        if self.refusals:
            raise self.refusals.pop()
        if run.token in self.fenced or run.token in self.processes:
            return
        seconds, code = float(job.spec.command[1]), int(job.spec.command[2])
        self.launches.append(job.id)
        done = sum((one.saved for one in self.processes.values() if one.job_id == job.id), timedelta(0))
        loads_for = job.spec.restart_cost if done else timedelta(0)
        self.processes[run.token] = Process(
            job_id=job.id, devices=run.devices, started_at=self.now, exit_code=code, loads_for=loads_for,
            ends_at=self.now + timedelta(seconds=seconds) - done + loads_for,
        )  # fmt: skip
        if self.late_refusals:
            self.late_refusals -= 1
            raise ExecutorError("something went wrong after it was spawned")

    def poll(self, run: Run) -> RunStatus:
        if self.unreachable:
            return RunStatus(phase=Phase.UNKNOWN, detail="the world does not answer")
        if run.token in self.fenced:
            return RunStatus(phase=Phase.FENCED)
        process = self.processes.get(run.token)
        if process is None:
            return RunStatus(phase=Phase.ABSENT)
        if self.now < process.ends_at:
            running = RunStatus(phase=Phase.RUNNING, started_at=process.started_at, is_checkpointing=process.is_asked)
            return replace(running, **self.said.get(process.job_id, {}))
        return RunStatus(
            phase=Phase.EXITED, started_at=process.started_at, ended_at=process.ends_at,
            exit_code=process.exit_code, ended_by=process.ended_by,
        )  # fmt: skip

    def fence(self, run: Run) -> bool:
        if run.token in self.processes:
            return False
        self.fenced.add(run.token)
        return True

    def stop(self, run: Run, by: str) -> None:
        process = self.processes.get(run.token)
        if process is not None and process.ends_at > self.now:
            process.ends_at, process.exit_code, process.ended_by = self.now, 143, EndedBy.STOP
            process.saved = timedelta(0)

    def checkpoint(self, run: Run, by: str) -> None:
        """The command saves for `saves_for` and ends as `checkpoints_as` says, unless it finishes before that."""
        if self.refusals:
            raise self.refusals.pop()
        process = self.processes.get(run.token)
        if process is None or process.ends_at <= self.now or process.is_asked:
            return
        process.is_asked, (code, ended_by) = True, self.checkpoints_as
        if process.ends_at <= self.now + self.saves_for:
            process.ended_by = EndedBy.CHECKPOINT
            return
        process.ends_at, process.exit_code, process.ended_by = self.now + self.saves_for, code, ended_by
        if code == 85:
            process.saved = process.ends_at - process.started_at - process.loads_for

    def held_elsewhere(self, devices: Sequence[str]) -> Mapping[str, str]:
        return {}

    def owners(self, pids: Collection[int], live: Sequence[Run]) -> Mapping[int, ProcessOwner]:
        return {pid: self.process_owners[pid] for pid in pids if pid in self.process_owners}

    # Meter: the counters are the hardware's, the backend is the sampler's

    def meter(self) -> "WorldMeter":
        """A new sampler process on the same hardware."""
        return WorldMeter(self)

    def load(self, now: datetime) -> Mapping[str, Sequence[RunSpan]]:
        spans: dict[str, list[RunSpan]] = {}
        for process in self.processes.values():
            for device in process.devices:
                span = RunSpan(process.started_at, process.ends_at, share_of(device))
                spans.setdefault(board_of(device), []).append(span)
        return spans

    # Grid: a perfect forecast, and measured values once a slot is over

    name = "world"
    refresh_every = SLOT
    settle_after = timedelta(0)

    def forecast(self, zone: str, now: datetime) -> Forecast:
        if self.provider_down:
            raise ProviderUnavailable("the world's grid does not answer")
        first = (now - T0) // SLOT
        slots = self._slots(Kind.FORECAST)[max(0, first) :]
        if not slots:
            raise ProviderUnavailable("the world's grid ends here")
        return Forecast(series=Series.of(self._id(zone), slots), fetched_at=now, issued_at=slots[0].start)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        over = [
            slot for slot in self._slots(Kind.MEASURED) if slot.end <= now and slot.end > start and slot.start < end
        ]
        return Series.of(self._id(zone), over)

    def _slots(self, kind: Kind) -> Any:
        return slots_of([T0 + i * SLOT for i in range(len(self.values))], self.values, SLOT, kind)

    def _id(self, zone: str) -> SeriesId:
        return SeriesId(provider=self.name, zone=zone)

    def true_energy_j(self, job_id: int) -> float:
        """What the job's processes really used, by the physics alone."""
        return sum(
            WATTS.busy * (process.ends_at - process.started_at).total_seconds() * len(process.devices)
            for process in self.processes.values()
            if process.job_id == job_id
        )


class WorldMeter:
    """One sampler session over the world's counters, with readings that survive in its own ring buffer."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._backend = WattsBackend(
            world.devices, Quality.MEASURED, WATTS, world.load, lambda: world.now, world.counters
        )

    def devices(self) -> Sequence[Device]:
        return self._world.devices

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        self._world.sampled.add(self._backend.sample() or ())
        return self._world.sampled.since(since)

    def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
        return dict(self._world.gpu_uses)


def command(seconds: float, exit_code: int = 0) -> tuple[str, ...]:
    """A job's command in the world: run this long, end with this code."""
    return ("run", str(seconds), str(exit_code))


def spec(seconds: float, *, exit_code: int = 0, **more: Any) -> JobSpec:
    """A job that really takes `seconds`, and says so, unless told otherwise."""
    own: dict[str, Any] = {
        "workdir": "/",
        "duration": timedelta(seconds=seconds),
        "command": command(seconds, exit_code),
    }
    return JobSpec(**{**own, **more})


Wrap = Callable[[Any, str], Any]


def _as_is(port: Any, name: str) -> Any:
    return port


def new_engine(
    world: World, store: Store, meter: WorldMeter, *, wrap: Wrap = _as_is, limits: Any = None, **settings: Any
) -> Engine:
    """An engine as a restarted daemon builds it; `wrap` may put something around each port.

    `limits` sets the power limits of GPUs, if anybody is to.
    """
    options = Options(gpu_power_w=WATTS.busy, due_grace=timedelta(minutes=1))
    return Engine(
        store=wrap(store, "store"),
        executor=wrap(world, "executor"),
        meter=wrap(meter, "meter"),
        forecasts=[wrap(world, "provider")],
        histories=[wrap(world, "provider")],
        power_limits=limits,
        settings=EngineSettings(zone="GB", **{"options": options, "tick": timedelta(minutes=10), **settings}),
    )


def run_until(world: World, engine: Engine, end: datetime, *, step: timedelta | None = None) -> None:
    """Tick as a daemon does, at every instant the engine asks for (and every `step`), refreshing at slot edges."""
    refreshes_at = world.now
    while world.now < end:
        if world.now >= refreshes_at:
            engine.refresh(world.now)
            refreshes_at = T0 + ((world.now - T0) // SLOT + 1) * SLOT
        later = engine.tick(world.now)
        edge = T0 + ((world.now - T0) // SLOT + 1) * SLOT
        world.now = min(later, edge, end, *([world.now + step] if step else []))
    engine.refresh(world.now)
    engine.tick(world.now)


def open_store(folder: Path, name: str = "greenrun.db") -> Store:
    """A store in a test's own folder."""
    return Store(folder / name)

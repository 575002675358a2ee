"""GPUs, processor and meters whose time and power a test scripts, read by the real backends through the real health."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from greenrun.core.energy.model import Component, Device, GpuProcess, GpuUse, MeterHealth, Reading, Telemetry
from greenrun.core.errors import MeterEnded, MeterError
from greenrun.meters.backends import Backend
from greenrun.meters.cpu.cpu_time import CpuClock
from greenrun.meters.cpu.rapl import RaplBackend
from greenrun.meters.gpu.gpu_backend import GpuBackend
from greenrun.meters.recent_readings import RecentReadings
from greenrun.meters.sampler.health import HealthTracker
from tests.meters.cpu import powercap
from tests.world import T0

LIMIT_W = 400.0
MEMORY = 12 << 30
PACKAGE_W, DRAM_W = 60.0, 8.0  # of a processor that is nobody's: it does the same all the time


def steady_s(at: datetime) -> float:
    """Seconds on the clock of the scripted machine that nobody sets."""
    return (at - T0).total_seconds() + 1e6


@dataclass
class ScriptedGpu:
    """A board with a counter: `power_w` and `is_busy` follow what runs there."""

    device: Device
    power: Callable[[], float]
    used_j: Callable[[], float]
    is_busy: Callable[[], bool]
    limit_w: float = LIMIT_W
    counts: bool = True
    is_silent: bool = False
    fault: str | None = None
    others: tuple[GpuProcess, ...] = ()
    parts: tuple[Device, ...] | None = None

    def counter_j(self) -> float | None:
        return None if self.is_silent else self.used_j()

    def power_w(self) -> float | None:
        return None if self.is_silent else self.power()

    def telemetry(self, power_w: float | None) -> Telemetry:
        if self.is_silent:
            return Telemetry()
        return Telemetry(
            power_w=power_w, power_limit_w=self.limit_w, utilization=0.95 if self.is_busy() else 0.0,
            memory_used_bytes=MEMORY, temperature_c=40.0 + self.device.index,
        )  # fmt: skip

    def processes(self) -> tuple[GpuProcess, ...] | None:
        return self.others


@dataclass
class ScriptedDriver:
    """A vendor's library that knows these boards, but for those that are `gone`."""

    boards: Sequence[ScriptedGpu]
    gone: set[int] = field(default_factory=set)
    KIND = "scripted"
    MAKER = "Nobody"
    SMI = "no-smi"

    def open_driver(self) -> str:
        return "1.0"

    def board_count(self) -> int:
        return len(self.boards)

    def board_at(self, index: int) -> ScriptedGpu | None:
        return None if index in self.gone else self.boards[index]


class ScriptedMeter:
    """What a sampler's daemon side is, with the backend in this process and on the script's clock.

    `sample` reads once; `reopen` is what a sampler process does that dies and is replaced.
    """

    refusals: tuple[str, ...] = ()

    def __init__(self, open_backend: Callable[[], Backend], now: Callable[[], datetime]) -> None:
        self._open, self._now = open_backend, now
        self._backend = open_backend()
        self._devices: Sequence[Device] = self._backend.devices
        self._recent, self._uses = RecentReadings(), dict[str, GpuUse]()
        self._tracker = HealthTracker(self._devices, steady_s(now()))
        self._tracker.count(self._backend.troubles())
        self.restarts = 0
        self.last_sample_at: datetime | None = None

    @property
    def lag_s(self) -> float | None:
        return None if self.last_sample_at is None else (self._now() - self.last_sample_at).total_seconds()

    def sample(self) -> None:
        """Read the devices once, as the sampler process does each second."""
        try:
            readings: Sequence[Reading] = self._backend.sample() or ()
        except MeterEnded:
            self.reopen()
            return
        except MeterError:
            readings = ()
        now_s = steady_s(self._now())
        self._recent.add(readings)
        if readings:
            self.last_sample_at = readings[-1].at
            self._tracker.hear(readings, now_s)
            self._tracker.note(self._backend.telemetry(), now_s)
        self._tracker.count(self._backend.troubles())
        self._uses |= self._backend.gpu_uses(is_urgent=False)

    def reopen(self) -> None:
        """Open the driver anew; what it does not list any more is lost."""
        self._backend = self._open()
        there = {device.id for device in self._backend.devices}
        lost = GpuUse(at=self._now(), fault="the driver does not list it any more")
        self._uses |= {device.id: lost for device in self._devices if device.id not in there}
        self.restarts += 1
        self._tracker.start_new_process()
        self._tracker.count(self._backend.troubles())

    def forget_all(self) -> None:
        """Know only the devices that the driver lists now, as a daemon does that was restarted."""
        self._backend = self._open()
        self._devices = self._backend.devices
        self._tracker = HealthTracker(self._devices, steady_s(self._now()))
        self._tracker.count(self._backend.troubles())

    def devices(self) -> Sequence[Device]:
        return self._devices

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        return self._recent.since(since)

    def health(self) -> MeterHealth:
        return MeterHealth(
            devices=self._tracker.devices(steady_s(self._now())), restarts=self.restarts, lag_s=self.lag_s
        )

    def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
        if is_urgent:
            self._uses |= self._backend.gpu_uses(is_urgent=True)
        return dict(self._uses)

    def close(self) -> None:
        """There is nothing to end."""


def gpu_meter(driver: ScriptedDriver, folder: Path, now: Callable[[], datetime]) -> ScriptedMeter:
    """A meter of these boards."""
    return ScriptedMeter(
        lambda: GpuBackend(
            list, folder, driver=driver, now=now, clock=lambda: steady_s(now()), boot_clock=lambda: steady_s(now())
        ),
        now,
    )


@dataclass
class ScriptedProcessor:
    """A package with its memory under powercap, in a folder."""

    folder: Path

    def __post_init__(self) -> None:
        root = self.folder / "powercap"
        (root / "intel-rapl").mkdir(parents=True)
        self._package = powercap.zone(root, "intel-rapl:0", "package-0")
        self._dram = powercap.zone(root, "intel-rapl:0:0", "dram")
        (self.folder / "no-runs").mkdir()

    def run_until(self, at: datetime) -> None:
        """Let the counters say what was used by then."""
        since_s = steady_s(at) - 1e6 + 86_400
        self._package.show(PACKAGE_W * since_s)
        self._dram.show(DRAM_W * since_s)

    def meter(self, now: Callable[[], datetime]) -> ScriptedMeter:
        """A meter of it; nothing that runs in the script uses CPU time."""
        clock = CpuClock(self.folder / "no-runs")
        return ScriptedMeter(
            lambda: RaplBackend(self.folder / "powercap", self.folder, clock, now=now, clock=lambda: steady_s(now())),
            now,
        )


def board(index: int) -> Device:
    """A GPU's description."""
    return Device(
        id=f"GPU-{index}", index=index, model="Scripted 400", source="scripted", kind=Component.GPU, vendor="nobody",
        memory_bytes=4 * MEMORY,
    )  # fmt: skip

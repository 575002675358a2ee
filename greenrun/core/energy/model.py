"""Energy as meters tell it: cumulative readings per device, cut into slices that belong to one run or to none."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Quality(StrEnum):
    """How far to trust an energy figure, best first."""

    MEASURED = "measured"  # a hardware counter
    INTEGRATED = "integrated"  # power samples, integrated
    ESTIMATED = "estimated"  # a model or a configured constant
    EMULATED = "emulated"  # made up, for trials without hardware: it says nothing of any device
    BRIDGED = "bridged"  # the total over a gap in sampling, split by expectation
    UNKNOWN = "unknown"


_BEST_FIRST = tuple(Quality)


def worst(qualities: Iterable[Quality]) -> Quality:
    """Return the least trustworthy of these grades; UNKNOWN for none at all."""
    return max(qualities, key=_BEST_FIRST.index, default=Quality.UNKNOWN)


class Component(StrEnum):
    """What used the energy."""

    GPU = "gpu"
    CPU = "cpu"
    DRAM = "dram"
    EXTERNAL = "external"  # a whole machine, or more, at its plug: the others are in it, so it is never added to them


BOOKED = (Component.GPU, Component.CPU, Component.DRAM)  # what is in the books, and in every sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Something that uses energy and, when it is a GPU, can be leased.

    `id` is stable over restarts and unique on the host (a GPU's UUID). `source` is the meter that reads it;
    an emulated device has `emulated` set, and everything shown to people says so. `power_w` is its nominal draw
    under load in watts, None when unknown. `within` names the device that tells its energy with its own, so that it
    is never read itself. `pci` is its address on the bus, None where that is not told. `excluded` is the name in the
    settings that keeps all jobs from it, and what it uses is in the books only if it is `booked`.

    A board that `is_divided` is leased in parts, and never as a whole (see `gpu_parts`). Such a `part` has a name of
    its own within the board and says what it is `of_board`, as `slot of 4` or the profile `1g.10gb`; `mig` says that
    MIG divides it, and `instance` are the numbers of the GPU instance and compute instance where they are known.
    """

    id: str
    index: int
    model: str
    source: str
    kind: Component = Component.GPU
    memory_bytes: int | None = None
    power_w: float | None = None
    emulated: bool = False
    vendor: str = "unknown"
    mig: bool = False
    within: str | None = None
    pci: str | None = None
    excluded: str | None = None
    booked: bool = True
    is_divided: bool = False
    part: str = ""
    of_board: str = ""
    instance: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """What people call it: `0`, and a part of it `0/slot-1`."""
        return f"{self.index}/{self.part}" if self.part else str(self.index)


def gpus(devices: Iterable[Device]) -> tuple[Device, ...]:
    """Return the GPUs that a job can be given; what else is metered is never planned with, leased or locked."""
    return tuple(device for device in every_gpu(devices) if device.excluded is None and not device.is_divided)


def every_gpu(devices: Iterable[Device]) -> tuple[Device, ...]:
    """Return the GPUs of this host and their parts, also those that no job is given."""
    return tuple(device for device in devices if device.kind is Component.GPU)


def boards(devices: Iterable[Device]) -> tuple[Device, ...]:
    """Return the GPUs that tell their energy themselves, so that each joule is of one of them."""
    return tuple(device for device in every_gpu(devices) if device.within is None)


def package_of(device: str) -> str:
    """Return the processor package that a device is or belongs to, as `package-0`; the id itself when it names none."""
    found = re.search(r"package-\d+(-die-\d+)?", device)
    return found[0] if found else device


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A device's cumulative energy in joules at an instant.

    `counter` names the base it counts from (boot, driver): readings of one base may be subtracted. `session` names
    the sampler process that read it: between two sessions nobody sampled, so the energy between them is bridged.

    Two figures are of the time since the reading before: `shares`, what part of the energy each run used, by its label
    (JOB.NUMBER), for a device that runs share; `utilization`, in what part of the time it did anything (0 to 1, None
    where that is not told).
    """

    device: str
    at: datetime
    energy_j: float
    quality: Quality
    counter: str
    session: str
    shares: Mapping[str, float] = field(default_factory=dict)
    utilization: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What a device last told beside its energy; what is None was not told, which is never 0.

    `power_limit_w` is what it is kept below now, `utilization` (0 to 1) in what part of the last second it was busy.
    """

    power_w: float | None = None
    power_limit_w: float | None = None
    utilization: float | None = None
    memory_used_bytes: int | None = None
    temperature_c: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A process that has a GPU in use for computing; `is_graphics`: for drawing as well."""

    pid: int
    memory_bytes: int | None = None
    is_graphics: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """What a driver said at an instant of who uses a GPU; `fault` says why the GPU itself cannot be used.

    `processes` is None where the driver does not tell.
    """

    at: datetime
    processes: tuple[GpuProcess, ...] | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHealth:
    """How well a device can be read: whether it was lately, and what went wrong since its meter was opened.

    `gap_s` adds up the seconds in which it was not read, as far as that is over, or all of them where it never
    `was_read`; `troubles` counts what was wrong with what was, by cause. `telemetry` are those of the last seconds;
    older ones are not known any more.
    """

    device: str
    is_up: bool
    gap_s: float = 0.0
    was_read: bool = True
    troubles: Mapping[str, int] = field(default_factory=dict)
    telemetry: Telemetry = field(default_factory=Telemetry)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterHealth:
    """How well a meter does: its devices, how often its sampler had to be replaced, how long ago it last told."""

    devices: tuple[DeviceHealth, ...] = ()
    restarts: int = 0
    lag_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A run's hold of a device over `[start, end)`; `end` is None while it holds it.

    Of a board that runs hold in parts, `share` is what this one's part is of it.
    """

    run_id: int
    device: str
    start: datetime
    end: datetime | None = None
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Energy of one device over `[start, end)`, all of it one run's or (run_id None) nobody's.

    `energy_j` is None when it is unknown (`quality` is then UNKNOWN): not read, and no counter bridges it. A device
    that runs share has a slice for each of them over the same time, and one for nobody; their `share` adds up to 1.
    `busy_s` is for how many seconds of it the device did anything, None where that is not told. `split_j` is how far
    `energy_j` may be off because others held the device in the same gap, as far as that was cut at once: the sum of a
    gap is certain, its split is not.
    """

    device: str
    component: Component
    run_id: int | None
    start: datetime
    end: datetime
    energy_j: float | None
    quality: Quality
    share: float = 1.0
    busy_s: float | None = None
    split_j: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a device's energy has been booked: everything before `at` is in slices, `energy_j` is its counter there.

    `held_w` and `idle_w` are the last powers seen while held and while free, in watts; they split a bridged gap.
    `since_run` is the first run that may hold the device from here on: those before it had ended when the clock was
    set back, and what happens at the same hour of the clock once more is not theirs.
    """

    device: str
    at: datetime
    energy_j: float
    counter: str
    session: str
    held_w: float | None = None
    idle_w: float | None = None
    since_run: int = 0

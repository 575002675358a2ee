"""Read processor packages and their DRAM from the RAPL counters under powercap, Intel's and AMD's.

Runs in the sampler process alone. The counters are short: one of 65 kJ, the shortest there is, wraps after 65 s at
HIGHEST_W. Once a second is far below half of that, and a longer pause than a whole wrap is unknown, never guessed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from greenrun.clock import boot_s, utc_now
from greenrun.core.energy.model import Component, Device, GpuUse, Quality, Reading, Telemetry
from greenrun.core.errors import MeterError
from greenrun.meters.counter_state import CounterFile, CounterState, new_state
from greenrun.meters.cpu.cpu_time import CpuClock, CpuTimes, shares
from greenrun.meters.cpu.powercap import Zone, without_mirrors, zones_in
from greenrun.meters.host import boot_id, host_tag

HIGHEST_W = 1000.0  # no package and no package's memory draws more
LEAST_RANGE_J = 65_000.0  # a 32-bit counter of 15.3 µJ, for a zone that does not tell its range
LAG_S = 0.2  # a step may hold the energy of a little more time than passed
STILL_S = 0.5  # a package moves its counter every millisecond: one that stands still for longer says nothing
STUCK_S = 10.0  # ... and for so long, it is stuck
REBASED, UNREADABLE, STUCK = "rebased", "unreadable", "stuck"

_WHAT = {Component.CPU: "CPU", Component.DRAM: "DRAM of"}
_ALTERNATIVE = 'or set devices.cpu_meter = "none". Nothing is estimated in its place.'


def following(
    before: CounterState,
    raw_j: float,
    at_s: float,
    elapsed_s: float,
    range_j: float | None,
    *,
    highest_w: float = HIGHEST_W,
    least_range_j: float = LEAST_RANGE_J,
    still_s: float = 0.0,
) -> CounterState | None:
    """Return a counter's state `elapsed_s` after `before`, now that it reads `raw_j`, wrapped or not.

    `still_s` is how long it had not moved before that: a coarse counter moves rarely, in large steps. None if unknown:
    the step exceeds `highest_w`, it may have wrapped twice, or it decreased and its range (at least `least_range_j`)
    is not known.
    """
    if before.raw_j is None:
        return None
    step_j = raw_j - before.raw_j
    if step_j < 0 and range_j is not None:
        step_j += range_j
    is_watched = 0 <= elapsed_s < (range_j or least_range_j) / highest_w
    if not is_watched or not 0 <= step_j <= highest_w * (still_s + elapsed_s + LAG_S):
        return None
    return CounterState(base=before.base, told_j=before.told_j + step_j, raw_j=raw_j, at_s=at_s)


@dataclass(slots=True, kw_only=True)
class _Metered:
    """A zone, its device, and the state of its counter when it was last read."""

    zone: Zone
    device: Device
    state: CounterState | None = None
    read_at_s: float = 0.0  # since the boot
    moved_at_s: float = 0.0  # since the boot; when it last said something new
    is_readable: bool = True
    times: CpuTimes | None = None  # at that time
    troubles: Counter[str] = field(default_factory=lambda: Counter({REBASED: 0, UNREADABLE: 0, STUCK: 0}))

    @property
    def still_s(self) -> float:
        """How long its counter had not moved when it was last read."""
        return self.read_at_s - self.moved_at_s


class RaplBackend:
    """Reads every package and DRAM zone once a sample. Each instance is a sampler session of its own.

    A counter that stands still is no reading of 0 W: as in a virtual machine that shows counters and does not run them.
    """

    def __init__(
        self,
        root: Path,
        state_dir: Path,
        cpu: CpuClock,
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = boot_s,
    ) -> None:
        """Find the zones below `root`; raise MeterError if there are none, or their counters cannot be read.

        `clock` returns the seconds since the boot, suspended or not: a counter may have gone on meanwhile, and wrapped.
        `cpu` reads the CPU time of runs, by which the energy of every zone is allocated.
        """
        self._now, self._clock, self._cpu = now, clock, cpu
        self._session, self._boot = uuid4().hex, boot_id()
        zones = zones_in(root)
        _check_readable(root, zones)
        self._file = CounterFile(state_dir, "rapl", "powercap")
        self._kept = self._file.load()
        host = host_tag()
        chosen, self.notes = without_mirrors(zones)
        self._metered = [_Metered(zone=zone, device=_device(host, index, zone)) for index, zone in enumerate(chosen)]
        self.devices = tuple(each.device for each in self._metered)

    def sample(self) -> Sequence[Reading]:
        """Return a reading of each zone that can be read, and moves; raise MeterError if none can, or all are stuck."""
        times = self._cpu.look(self._now())
        readings = [reading for each in self._metered if (reading := self._read(each, times))]
        if not readings:
            self._raise_if_lost()
            return []
        self._kept |= {each.device.id: each.state for each in self._metered if each.state}
        self._file.save(self._kept)
        return readings

    def troubles(self) -> Mapping[str, Mapping[str, int]]:
        """Return each device's reading errors so far: their number by cause."""
        return {each.device.id: dict(each.troubles) for each in self._metered}

    def gpu_uses(self, *, is_urgent: bool) -> Mapping[str, GpuUse]:
        """Return nothing: these are no GPUs."""
        return {}

    def telemetry(self) -> Mapping[str, Telemetry]:
        """Return none: it reports only energy."""
        return {}

    def _read(self, each: _Metered, times: CpuTimes | None) -> Reading | None:
        try:
            raw_j = each.zone.counter_j()
        except (OSError, ValueError):  # the package was taken offline, or its driver unloaded: it may come back
            each.troubles[UNREADABLE] += 1
            each.is_readable = False
            return None
        each.is_readable = True
        if self._is_still(each, raw_j):
            return None
        at = self._now()
        each.state = self._followed(each, raw_j)
        used, each.times = shares(each.times, times), times
        return Reading(
            device=each.device.id,
            at=at,
            energy_j=each.state.told_j,
            quality=Quality.MEASURED,
            counter=f"{self._boot}/rapl/{each.state.base}",
            session=self._session,
            shares=used,
        )

    def _is_still(self, each: _Metered, raw_j: float) -> bool:
        """Whether the counter has said nothing new for too long; it stays watched, so that no wrap is missed."""
        now_s = self._clock()
        if each.state is None or raw_j != each.state.raw_j:
            return False
        if now_s - each.moved_at_s < STILL_S:
            return False
        each.read_at_s = now_s
        each.troubles[STUCK] += each.still_s >= STUCK_S
        return True

    def _raise_if_lost(self) -> None:
        """Raise MeterError where no counter can be read any more, or none moves any more."""
        count = len(self._metered)
        if not any(each.is_readable for each in self._metered):
            raise MeterError(f"None of the {count} counters of the CPU can be read any more.")
        if all(each.still_s >= STUCK_S for each in self._metered):
            raise MeterError(
                f"No counter of the CPU ({count} of them) has moved for {STUCK_S:.0f} s: they are stuck, as in a"
                " virtual machine that shows counters and does not run them, so their energy is unknown."
            )

    def _followed(self, each: _Metered, raw_j: float) -> CounterState:
        """Continue from the last reading, or from the last process's state; else start a new base."""
        now_s = self._clock()
        before, elapsed_s, still_s = each.state, now_s - each.read_at_s, each.still_s
        if before is None and (before := self._kept.get(each.device.id)):
            elapsed_s = now_s - before.at_s
        if each.state is None or raw_j != each.state.raw_j:
            each.moved_at_s = now_s
        each.read_at_s = now_s
        coarse_s = still_s if still_s < STUCK_S else 0.0
        known = before and following(before, raw_j, now_s, elapsed_s, each.zone.range_j, still_s=coarse_s)
        if before and not known:
            each.troubles[REBASED] += 1
        return known or new_state(raw_j, now_s)


def _device(host: str, index: int, zone: Zone) -> Device:
    what = f"{_WHAT[zone.kind]} {zone.name.removesuffix('-dram')}"
    return Device(id=f"RAPL-{host}-{zone.name}", index=index, model=what, source="rapl", kind=zone.kind)


def _check_readable(root: Path, zones: Sequence[Zone]) -> None:
    if not zones:
        raise MeterError(
            f"There is no CPU package under {root}, as in most virtual machines: load intel_rapl_msr, {_ALTERNATIVE}"
        )
    causes = [_why_unreadable(zone) for zone in zones]
    if any(isinstance(cause, PermissionError) for cause in causes):
        raise MeterError(
            f"The energy counters under {root} are for root alone, since they can give away what a CPU computes "
            f"(CVE-2020-8694). Let a group read them with greenrun-rapl.conf (`greenrun config units`), {_ALTERNATIVE}"
        )
    if all(causes):
        raise MeterError(f"No counter under {root} can be read ({causes[0]}): see what the kernel says, {_ALTERNATIVE}")


def _why_unreadable(zone: Zone) -> Exception | None:
    try:
        zone.counter_j()
    except (OSError, ValueError) as exc:
        return exc
    return None

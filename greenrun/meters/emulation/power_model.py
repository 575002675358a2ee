"""The power model of `emulated` and `constant`: an idle and a busy power, integrated over when runs hold a device.

It is integrated over steady time, which nobody sets; the wall clock only says when the load changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import fsum
from types import MappingProxyType
from uuid import uuid4

from greenrun.clock import CLOCK_STEP_S
from greenrun.core.energy.gpu_parts import instance_of, instances_of, slices_of
from greenrun.core.energy.model import Device, GpuUse, Quality, Reading, Telemetry, boards
from greenrun.meters.run_folders import RunSpan

EMULATED_SLICES = 7  # compute slices of a board
NOISE_S = 0.01  # two clocks cannot be read at once

# Since when a device's power limit is how many watts, in order; before the first it is as high as it draws.
Limits = Sequence[tuple[datetime, float]]

# Each device's spans known at an instant; None while they are not known yet: retry soon.
Load = Callable[[datetime], Mapping[str, Sequence[RunSpan]] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watts:
    """A device's draw in watts while free and while held."""

    idle: float
    busy: float

    def at(self, load: float) -> float:
        """Return the draw under a load from 0 (free) to 1 (all of it is held)."""
        return self.busy if load >= 1 else self.idle + (self.busy - self.idle) * load


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedKind:
    """The differences between the meters that use this model; `model` may contain `{watts}`."""

    name: str
    model: str
    quality: Quality
    emulated: bool

    def devices(
        self, host: str, gpus: int, watts: Watts, mig: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> tuple[Device, ...]:
        """Return GPUs named `KIND-HOST-INDEX`: the same for every daemon of a host, so that they share its locks.

        Those in `mig`, by index, have an instance of each of these profiles.
        """
        there = self._boards(host, gpus, watts)
        return tuple(device for board in there for device in _with_instances(board, mig.get(str(board.index), ())))

    def _boards(self, host: str, gpus: int, watts: Watts) -> tuple[Device, ...]:
        return tuple(
            Device(
                id=f"{self.name.upper()}-{host}-{index}",
                index=index,
                model=self.model.format(watts=f"{watts.busy:g}"),
                source=self.name,
                power_w=watts.busy,
                emulated=self.emulated,
                vendor=self.name if self.emulated else "unknown",
            )
            for index in range(gpus)
        )


def _with_instances(board: Device, profiles: Sequence[str]) -> Sequence[Device]:
    if not profiles:
        return [board]
    numbered = list(enumerate(profiles))
    return instances_of(
        board,
        [
            instance_of(
                board,
                f"MIG-{board.id}-{number}",
                number=number,
                profile=profile,
                slices=(slices_of(profile) or 1, EMULATED_SLICES),
                memory_bytes=int(profile.partition(".")[2].removesuffix("gb")) << 30,
                instance=(number + 1, 0),
            )
            for number, profile in numbered
        ],
    )


EMULATED = EmulatedKind(name="emulated", model="emulated GPU ({watts} W)", quality=Quality.EMULATED, emulated=True)
# Nothing measures these: the user states their watts.
CONSTANT = EmulatedKind(name="constant", model="GPU, estimated at {watts} W", quality=Quality.ESTIMATED, emulated=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A device's energy at an instant, in joules since its counter's start; `base` names a start of its own."""

    at: datetime
    energy_j: float
    base: str = ""


def _keep_nothing(charges: Mapping[str, Charge]) -> None:
    """Counters in memory end with the process."""


@dataclass(slots=True, kw_only=True)
class Counters:
    """Each device's counter; `name` is the base they count from, `keep` is called with each new state."""

    name: str
    charges: dict[str, Charge] = field(default_factory=dict)
    keep: Callable[[Mapping[str, Charge]], None] = _keep_nothing


def advance(
    charge: Charge, spans: Sequence[RunSpan], now: datetime, watts: Watts, pace: float = 1.0, limits: Limits = ()
) -> list[Charge]:
    """Return the charge at each change of load after `charge.at` and at `now`; empty if time has not advanced.

    `pace` is how many seconds passed for each one of the wall clock.
    """
    if now <= charge.at:
        return []
    ends = (instant for span in spans for instant in (span.start, span.end) if instant is not None)
    moments = [*ends, *(at for at, _ in limits)]
    changes = {instant for instant in moments if charge.at < instant < now}
    charges = []
    for instant in sorted({*changes, now}):
        power_w = _limited_w(watts.at(_load_at(spans, charge.at)), limits, charge.at)
        used_j = power_w * pace * (instant - charge.at).total_seconds()
        charge = replace(charge, at=instant, energy_j=charge.energy_j + used_j)
        charges.append(charge)
    return charges


def _load_at(spans: Sequence[RunSpan], instant: datetime) -> float:
    """Return how much of a device is held, from 0 to 1."""
    held = (span.share for span in spans if span.start <= instant and (span.end is None or instant < span.end))
    return min(1.0, fsum(held))


def _limited_w(power_w: float, limits: Limits, instant: datetime) -> float:
    """Return what is drawn under the limit that held at an instant."""
    return min([power_w, *[limit_w for at, limit_w in limits if at <= instant][-1:]])


def _no_limits() -> Mapping[str, Limits]:
    """Nobody has set any."""
    return {}


class WattsBackend:
    """Reads devices whose counters follow from their load. Each instance is a sampler session of its own.

    An emulated device is busy while a run holds it; one with stated watts reports only energy.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        quality: Quality,
        watts: Watts,
        load: Load,
        now: Callable[[], datetime],
        counters: Counters,
        *,
        clock: Callable[[], float] | None = None,
        limits: Callable[[], Mapping[str, Limits]] = _no_limits,
    ) -> None:
        """Continue `counters`. `clock` returns steady seconds; without one, the time of `now` is steady itself.

        `limits` returns the power limits that were set.
        """
        self.devices = tuple(devices)
        self._boards = boards(self.devices)
        self._quality = quality
        self._watts = watts
        self._load = load
        self._now = now
        self._counters = counters
        self._clock = clock or (lambda: now().timestamp())
        self._limits_set = limits
        self._limits: Mapping[str, Limits] = {}  # as of the last sample
        self._last = now(), self._clock()  # the wall clock and the steady one at the last sample
        self._busy: dict[str, float] = {}  # then: how much of each was held
        self._session = uuid4().hex
        self._sampled = False
        self._telemetry: dict[str, Telemetry] = {}

    def sample(self) -> list[Reading] | None:
        """Return a reading of each device now and at each change of its load since the last sample, in time order.

        The first sample has only readings of now. None means that the load is not known yet.
        """
        now, now_s = self._now(), self._clock()
        load = self._load(now)
        if load is None:
            return None
        self._limits = self._limits_set()
        before, before_s = self._last
        wall_s, steady_s = (now - before).total_seconds(), max(0.0, now_s - before_s)
        if abs(wall_s - steady_s) > CLOCK_STEP_S:
            readings = [self._reset(device, load.get(device.id, ()), now, steady_s) for device in self._boards]
        else:
            pace = steady_s / wall_s if wall_s > 0 and abs(wall_s - steady_s) > NOISE_S else 1.0
            spans = [(device, load.get(device.id, ())) for device in self._boards]
            readings = [reading for device, held in spans for reading in self._read(device, held, now, pace)]
        if readings:
            self._last = now, now_s
            self._busy = {device.id: _load_at(load.get(device.id, ()), now) for device in self._boards}
        emulated = [device.id for device in self._boards if device.emulated]
        self._telemetry = {device: self._look(device, load.get(device, ()), now) for device in emulated}
        self._sampled = True
        self._counters.keep(self._counters.charges)
        return sorted(readings, key=lambda reading: reading.at)

    def troubles(self) -> Mapping[str, Mapping[str, int]]:
        """Return none: computed values have no reading errors."""
        return {}

    def gpu_uses(self, *, is_urgent: bool) -> Mapping[str, GpuUse]:
        """Return nothing: no process can use a GPU that is not there."""
        return {}

    def telemetry(self) -> Mapping[str, Telemetry]:
        """Return the telemetry of emulated devices that is new since the last call."""
        news, self._telemetry = self._telemetry, {}
        return news

    def _look(self, device: str, spans: Sequence[RunSpan], now: datetime) -> Telemetry:
        held, limits = _load_at(spans, now), self._limits.get(device, ())
        power_w = _limited_w(self._watts.at(held), limits, now)
        limit_w = _limited_w(self._watts.busy, limits, now) if limits else None
        return Telemetry(power_w=power_w, power_limit_w=limit_w, utilization=held)

    def _reset(self, device: Device, spans: Sequence[RunSpan], now: datetime, steady_s: float) -> Reading:
        """Read a device after the clock was set: what it used is known where its load was the same all the time."""
        last = self._counters.charges.get(device.id, Charge(at=now, energy_j=0.0))
        held = _load_at(spans, now)
        if held == self._busy.get(device.id) and all(span.end is None for span in spans):
            power_w = _limited_w(self._watts.at(held), self._limits.get(device.id, ()), now)
            charge = replace(last, at=now, energy_j=last.energy_j + power_w * steady_s)
        else:
            charge = replace(last, at=now, base=uuid4().hex[:8])
        self._counters.charges[device.id] = charge
        return self._reading(device, charge, None)

    def _read(self, device: Device, spans: Sequence[RunSpan], now: datetime, pace: float) -> list[Reading]:
        last = self._counters.charges.setdefault(device.id, Charge(at=now, energy_j=0.0))
        charges = advance(last, spans, now, self._watts, pace, self._limits.get(device.id, ()))
        if not self._sampled:
            charges = charges[-1:] or [last]
        if charges:
            self._counters.charges[device.id] = charges[-1]
        is_step = device.emulated and self._sampled
        begins = [last.at, *(charge.at for charge in charges)]
        busy = [_load_at(spans, begin) if is_step else None for begin in begins]
        return [self._reading(device, charge, share) for charge, share in zip(charges, busy, strict=False)]

    def _reading(self, device: Device, charge: Charge, utilization: float | None) -> Reading:
        return Reading(
            device=device.id,
            at=charge.at,
            energy_j=charge.energy_j,
            quality=self._quality,
            counter=f"{self._counters.name}/{charge.base}" if charge.base else self._counters.name,
            session=self._session,
            utilization=utilization,
        )

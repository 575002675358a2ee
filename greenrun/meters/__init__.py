"""Meters read the energy of this host's devices; each that calls a driver lives in a sampler process of its own.

That process imports this package too, so what only the daemon needs is imported when a meter is opened.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, get_args

from greenrun.core.energy.model import Device, GpuUse, MeterHealth, Reading
from greenrun.core.errors import ConfigError, InputProblem, MeterError
from greenrun.meters.settings import (
    ConstantSettings,
    CpuMeterKind,
    EmulatedSettings,
    ExternalSettings,
    MeterKind,
    MeterSettings,
)

if TYPE_CHECKING:
    from greenrun.meters.sampler.sampler import Log

__all__ = [
    "CPU_KINDS",
    "KINDS",
    "ConstantSettings",
    "EmulatedSettings",
    "ExternalSettings",
    "MeterSettings",
    "OpenMeter",
    "open_meter",
    "why_no_more_gpus",
]

KINDS: tuple[str, ...] = get_args(MeterKind)
CPU_KINDS: tuple[str, ...] = get_args(CpuMeterKind)


class OpenMeter(Protocol):
    """A `ports.Meter` that reports its own health and has to be closed.

    `refusals` says why meters listed before this one were not used.
    """

    refusals: tuple[str, ...]

    @property
    def restarts(self) -> int:
        """How many samplers had to be replaced."""

    @property
    def last_sample_at(self) -> datetime | None:
        """The wall-clock time of the latest reading, None before the first."""

    @property
    def lag_s(self) -> float | None:
        """Seconds since the last reading arrived, None before the first and if nothing is sampled."""

    def devices(self) -> Sequence[Device]:
        """See `ports.Meter.devices`."""

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        """See `ports.Meter.read`."""

    def health(self) -> MeterHealth:
        """Return the health of the devices, from memory."""

    def gpu_uses(self, *, is_urgent: bool = False) -> Mapping[str, GpuUse]:
        """See `ports.Meter.gpu_uses`."""

    def close(self) -> None:
        """End what was started; idempotent."""


def open_meter(settings: MeterSettings, *, runs_dir: Path, state_dir: Path, log: "Log | None" = None) -> OpenMeter:
    """Open the first of `settings.kinds` that works on this host, and the first of `settings.cpu_kinds`.

    Each of `settings.external` is opened too, whether it answers already or not.
    `runs_dir` holds the local executor's run folders, `state_dir` the state of counters; `log` gets warnings about
    samplers, by default the program's log. Raise ConfigError for an unknown meter, MeterError with every refusal if
    none works.
    """
    from greenrun.meters.combined import CombinedMeter

    _check("devices.meter", settings.kinds, KINDS)
    _check("devices.cpu_meter", settings.cpu_kinds, CPU_KINDS)
    opening = partial(_open, settings=settings, runs_dir=runs_dir, state_dir=state_dir, log=log)
    meters = [_first("No meter could be opened, so greenrun cannot tell the GPUs.", settings.kinds, opening)]
    try:
        if settings.cpu_kinds != ("none",):
            meters.append(_first("No meter of devices.cpu_meter could be opened.", settings.cpu_kinds, opening))
        for each in settings.external:
            meters.append(opening("external", settings=replace(settings, external=(each,)), refusals=()))
    except BaseException:  # also a KeyboardInterrupt in a notebook
        for meter in meters:
            meter.close()
        raise
    return CombinedMeter(meters) if len(meters) > 1 else meters[0]


def why_no_more_gpus(settings: MeterSettings, refusals: Sequence[str], gpus: int) -> str:
    """Return why there are just so many GPUs and what to set, without a full stop; "" where nobody can be blamed."""
    told = [refusal.partition(": ") for refusal in refusals]
    said = [f"{kind} says: {why.rstrip('.')}" for kind, _, why in told if kind in settings.kinds]
    if said:
        otherwise = "" if gpus else ", or ask for no GPU"
        return "; ".join([*said, f"set devices.meter and start greenrun again{otherwise}"])
    if settings.kinds[0] == "none":
        return 'devices.meter is "none", which reads no GPU; set devices.meter to "nvml" or "amd"'
    if settings.include:
        return f"devices.include names {', '.join(map(str, settings.include))} alone"
    if settings.exclude:
        return f"devices.exclude keeps {', '.join(settings.exclude)} from jobs"
    if gpus and settings.kinds[0] in ("emulated", "constant"):
        return f"set gpus of [devices.{settings.kinds[0]}]"
    return ""


def _check(field: str, kinds: Sequence[str], known: Sequence[str]) -> None:
    """Raise ConfigError unless at least one meter is named, and every name is known."""
    unknown = [kind for kind in kinds if kind not in known]
    if kinds and not unknown:
        return
    found = f"{unknown[0]!r} is not a meter" if unknown else "no meter is named"
    problem = InputProblem(field=field, message=f"{found}; name one of {', '.join(known)}.")
    raise ConfigError(str(problem), [problem])


def _first(what: str, kinds: Sequence[str], opening: Callable[..., OpenMeter]) -> OpenMeter:
    """Open the first of these meters that works, passing it the refusals of those before it; raise MeterError."""
    refusals: list[str] = []
    for kind in kinds:
        try:
            return opening(kind, refusals=refusals)
        except MeterError as exc:
            refusals.append(f"{kind}: {exc}")
    raise MeterError(f"{what} {' '.join(refusals)}")


def _open(
    kind: str, settings: MeterSettings, runs_dir: Path, state_dir: Path, log: "Log | None", refusals: Sequence[str]
) -> OpenMeter:
    from greenrun.meters.none import NoMeter
    from greenrun.meters.sampler.sampler import Sampler
    from greenrun.meters.sampler.wire import Request

    if kind == "none":
        return NoMeter(refusals)
    request = Request(kind=kind, settings=settings, runs_dir=runs_dir, state_dir=state_dir)
    return Sampler(request, refusals=refusals, log=log)

"""Meters tell the energy of this host's devices; each that touches a driver lives in a sampler process of its own.

That process imports this package too, so what only the daemon needs is imported when a meter is opened.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from greenrun.core.energy import Device, MeterHealth, Reading
from greenrun.core.errors import ConfigError, MeterError, Problem
from greenrun.meters.settings import ConstantSettings, EmulatedSettings, MeterSettings

__all__ = ["KINDS", "ConstantSettings", "EmulatedSettings", "MeterSettings", "OpenMeter", "open_meter"]

KINDS = ("nvml", "emulated", "constant", "none")
TO_COME = ("amd",)  # names that settings may hold already: refused when tried, so that the next in the list is


class OpenMeter(Protocol):
    """A `ports.Meter` that tells of its own health and has to be closed.

    `refusals` says why meters named before this one were not used; `restarts` counts samplers that had to be replaced.
    """

    refusals: tuple[str, ...]
    restarts: int

    @property
    def last_sample_at(self) -> datetime | None:
        """The wall-clock time of the latest reading, None before the first."""

    @property
    def lag_s(self) -> float | None:
        """Seconds since a reading last arrived, None before the first and where nothing is sampled."""

    def devices(self) -> Sequence[Device]:
        """See `ports.Meter.devices`."""

    def read(self, since: Mapping[str, datetime]) -> Sequence[Reading]:
        """See `ports.Meter.read`."""

    def health(self) -> MeterHealth:
        """Return how well the devices can be read, from memory."""

    def close(self) -> None:
        """End what was started; harmless when repeated."""


def open_meter(settings: MeterSettings, *, runs_dir: Path, state_dir: Path) -> OpenMeter:
    """Open the first of `settings.kinds` that works on this host.

    `runs_dir` holds the local executor's run folders, `state_dir` keeps the counters of meters without hardware.
    Raises ConfigError for a name that is no meter, MeterError with every refusal when none works.
    """
    check_kinds(settings.kinds)
    refusals: list[str] = []
    for kind in settings.kinds:
        try:
            return _open(kind, settings, runs_dir, state_dir, refusals)
        except MeterError as exc:
            refusals.append(f"{kind}: {exc}")
    raise MeterError("No meter could be opened, so greenrun cannot tell the GPUs. " + " ".join(refusals))


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise ConfigError unless every name is a meter that this version knows, and there is one."""
    unknown = [kind for kind in kinds if kind not in (*KINDS, *TO_COME)]
    if kinds and not unknown:
        return
    found = f"{unknown[0]!r} is not a meter" if unknown else "no meter is named"
    problem = Problem(field="devices.meter", message=f"{found}; name one of {', '.join(KINDS)}.")
    raise ConfigError(str(problem), [problem])


def _open(kind: str, settings: MeterSettings, runs_dir: Path, state_dir: Path, refusals: Sequence[str]) -> OpenMeter:
    from greenrun.meters.none import NoMeter
    from greenrun.meters.sampler import Sampler
    from greenrun.meters.wire import Request

    if kind in TO_COME:
        raise MeterError("comes with a later release, so it cannot be read yet.")
    if kind == "none":
        return NoMeter(refusals)
    return Sampler(Request(kind=kind, settings=settings, runs_dir=runs_dir, state_dir=state_dir), refusals=refusals)

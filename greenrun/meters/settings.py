"""The settings of meters as plain values: built by `config`, sent to the sampler process as JSON."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# The names that the settings accept; `backends.BACKENDS` has a line for each but none.
MeterKind = Literal["nvml", "amd", "emulated", "constant", "none"]
CpuMeterKind = Literal["rapl", "none"]

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedSettings:
    """Emulated GPUs: how many, and their draw in watts while free and while a run holds them."""

    gpus: int = 2
    watts_idle: float = 60.0
    watts_busy: float = 350.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantSettings:
    """Real GPUs that nothing can measure: how many, and the draw in watts that the user vouches for."""

    gpus: int
    watts_idle: float
    watts_busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalSettings:
    """A counter outside of this host's drivers: a command to run, or else an address to ask, every `every_s`.

    `value` is where in its JSON the number is (None: it is alone), in `unit`; past `wraps_at` of that it begins at 0
    again (None: never). `component` is what it counts (`core.energy.Component`, no GPU), which never draws more than
    `watts_max`. `header_file` holds a header for the address.
    """

    name: str
    unit: str
    component: str = "external"
    command: tuple[str, ...] = ()
    url: str = ""
    value: str | None = None
    wraps_at: float | None = None
    watts_max: float = 20_000.0
    every_s: float = 10.0
    timeout_s: float = 5.0
    header_file: Path | None = None
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterSettings:
    """The meters to try for the GPUs, in order, and the GPUs to tell of (ids or indices; empty for all).

    `cpu_kinds` are likewise to try for the CPU and its memory, which are read beside them; `powercap` is where the
    kernel shows their counters. `external` are read beside them all, each by a process of its own.
    """

    kinds: tuple[str, ...]
    include: tuple[str | int, ...] = ()
    emulated: EmulatedSettings = field(default_factory=EmulatedSettings)
    constant: ConstantSettings | None = None
    cpu_kinds: tuple[str, ...] = ("none",)
    powercap: Path = POWERCAP
    external: tuple[ExternalSettings, ...] = ()

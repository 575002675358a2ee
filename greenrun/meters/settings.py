"""The settings of meters as plain values: built by `config`, sent to the sampler process as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

# The names that the settings accept; `backends.BACKENDS` has a line for each but none.
MeterKind = Literal["nvml", "amd", "emulated", "constant", "none"]
CpuMeterKind = Literal["rapl", "none"]
ExcludedEnergy = Literal["idle", "unmanaged"]

# Tried in order where nothing says which; `none` so that what cannot be read stops nobody.
GPU_METERS: tuple[MeterKind, ...] = ("nvml", "amd", "none")

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatedSettings:
    """Emulated GPUs: how many, and their draw in watts while free and while a run holds them.

    `mig` are the profiles of the instances of those in MIG mode, by index.
    """

    gpus: int = 2
    watts_idle: float = 60.0
    watts_busy: float = 350.0
    mig: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantSettings:
    """Real GPUs that cannot be measured: how many, and their draw in watts as stated by the user."""

    gpus: int
    watts_idle: float
    watts_busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalSettings:
    """A counter outside this host's drivers: a command to run, or else a URL to fetch, every `every_s`.

    `value` is the path of the number in its JSON (None: the answer is the number), in `unit`; at `wraps_at` it starts
    from 0 again (None: never). `component` is what it measures (`core.energy.Component`, no GPU), which never draws
    more than `watts_max`. `header_file` holds a header for the request.
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
    """The meters to try for the GPUs, in order, and the GPUs to include (ids or indices; empty for all).

    `cpu_kinds` are the meters to try for the CPU and its memory; `powercap` is the kernel's folder of their counters.
    `external` are all read too. Each meter has a process of its own. No job gets the GPUs that `exclude` names (by id,
    its beginning, index or PCI address): their energy is nobody's (`idle`), or not in the books (`unmanaged`).
    `shared` says into how many slots each GPU is divided that is so named. `unlowered_w` is what the limit was of GPUs,
    by id, on which greenrun may have left it lower.
    """

    kinds: tuple[str, ...]
    include: tuple[str | int, ...] = ()
    emulated: EmulatedSettings = field(default_factory=EmulatedSettings)
    constant: ConstantSettings | None = None
    cpu_kinds: tuple[str, ...] = ("none",)
    powercap: Path = POWERCAP
    external: tuple[ExternalSettings, ...] = ()
    exclude: tuple[str, ...] = ()
    excluded_energy: ExcludedEnergy = "idle"
    shared: Mapping[str, int] = field(default_factory=dict)
    unlowered_w: Mapping[str, float] = field(default_factory=dict)

"""What a user configures of the meters; the settings layer builds these, the sampler process gets them as JSON."""

from dataclasses import dataclass, field
from pathlib import Path

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
class MeterSettings:
    """The meters to try for the GPUs, in order, and the GPUs to tell of (ids or indices; empty for all).

    `cpu_kinds` are likewise to try for the CPU and its memory, which are read beside them; `powercap` is where the
    kernel shows their counters.
    """

    kinds: tuple[str, ...]
    include: tuple[str | int, ...] = ()
    emulated: EmulatedSettings = field(default_factory=EmulatedSettings)
    constant: ConstantSettings | None = None
    cpu_kinds: tuple[str, ...] = ("none",)
    powercap: Path = POWERCAP

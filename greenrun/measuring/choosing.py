"""Choose the meters of a measurement: those named, else those of the settings, else what the hardware may have."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from greenrun.core.energy.model import Component
from greenrun.measuring.visible_gpus import VisibleGpus, visible
from greenrun.meters.settings import GPU_METERS, ExternalSettings, MeterSettings
from greenrun.paths import find_config
from greenrun.reports.uncertainty import Widths

if TYPE_CHECKING:
    from greenrun.config import Config

CPU_METERS = ("rapl", "none")  # tried where nothing says which, as GPU_METERS are
_NO_FOLDER = Path(os.devnull)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to open, and what the settings say of the rest. `visible` is which GPUs the environment names.

    `file` and `socket` are the settings file and the daemon's socket that were named, if any; `config` is None where
    there are no settings at all.
    """

    meters: MeterSettings
    runs_dir: Path = _NO_FOLDER
    config: "Config | None" = None
    file: Path | None = None
    socket: str | None = None
    visible: VisibleGpus | None = None

    @property
    def zone(self) -> str | None:
        """The zone that the settings name."""
        return self.config.grid.zone if self.config else None

    @property
    def pue(self) -> float:
        """The facility's energy per unit of metered energy (PUE)."""
        return self.config.devices.pue if self.config else 1.0

    @property
    def widths(self) -> Widths:
        """The uncertainty of each kind of energy."""
        return Widths(**self.config.uncertainty.model_dump()) if self.config else Widths()


def choose(
    file: Path | None = None,
    meters: Sequence[str] = (),
    cpu_meters: Sequence[str] = (),
    socket: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Choice:
    """Return what to open; what is named here comes before what the settings state. Raise ConfigError for bad ones."""
    config = _settings(file, environ)
    configured = _configured(config)
    seen = visible(environ)
    settings = replace(
        configured,
        kinds=_or_none(tuple(meters) or configured.kinds) if seen is None or seen.names else ("none",),
        cpu_kinds=_or_none(tuple(cpu_meters) or configured.cpu_kinds),
        include=configured.include if seen is None else (),
        external=tuple(each for each in configured.external if not (cpu_meters and _is_inside(each))),  # nothing twice
    )
    return Choice(
        meters=settings,
        runs_dir=config.paths.state / "runs" if config else _NO_FOLDER,
        config=config,
        file=file,
        socket=socket,
        visible=seen,
    )


def _settings(file: Path | None, environ: Mapping[str, str]) -> "Config | None":
    """Load the settings, if there are any at all: that takes a moment."""
    is_stated = any(name.startswith("GREENRUN_") and "__" in name for name in environ)
    if not is_stated and find_config(file, environ) is None:
        return None
    from greenrun.config import load_config

    return load_config(file, environ)


def _configured(config: "Config | None") -> MeterSettings:
    """Return what the settings state; meters that they do not name are those that the hardware may have."""
    if config is None:
        return MeterSettings(kinds=GPU_METERS, cpu_kinds=CPU_METERS)
    from greenrun.config.devices import meter_settings

    configured, stated = meter_settings(config.devices), config.effective()
    is_open = stated["devices.cpu_meter"].origin == "default"
    is_counted = any(_is_inside(each) for each in configured.external)
    return replace(configured, cpu_kinds=CPU_METERS if is_open and not is_counted else configured.cpu_kinds)


def _is_inside(external: ExternalSettings) -> bool:
    """Whether it counts what the meters of the CPU do."""
    return external.component != Component.EXTERNAL


def _or_none(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Let what cannot be read be no reason to stop."""
    return kinds if "none" in kinds else (*kinds, "none")

"""The result of a measurement, as a value, as JSON and as a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from greenrun.clock import CLOCK_STEP_S
from greenrun.core.energy.model import Quality, worst
from greenrun.core.energy.window import WindowEnergy
from greenrun.core.formatting import (
    duration_text,
    energy_text,
    intensity_text,
    iso_text,
    mass_text,
    number_text,
    power_text,
)
from greenrun.core.units import J_PER_KWH
from greenrun.reports.uncertainty import SPARSE, Widths, energy_pct, sampled_sparsely

if TYPE_CHECKING:
    from greenrun.core.energy.window_price import WindowEmissions


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDevice:
    """A device and what it used. `energy_j` is None, for a `reason`, where any part of it is unknown.

    `in_total` says that it is in the sum: a meter at the plug holds the other devices, so it is not added to them.
    """

    id: str
    index: int
    kind: str
    model: str
    source: str
    emulated: bool
    in_total: bool
    energy_j: float | None
    power_w: float | None
    quality: str
    gap_s: float
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanIntensity:
    """The mean intensity over what was used; `kind` is the least certain of `kinds`, which are parts of the energy."""

    g_per_kwh: float
    kind: str
    provider: str
    kinds: Mapping[str, float]
    signal: str = "average"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was used from `started_at` to `ended_at`. A figure that is None is unknown, for the reason beside it.

    `energy_j` is the sum over the devices, and may be off by `uncertainty_pct`. `emissions_g` is that of the facility,
    `pue` included, by an average; what a marginal signal tells is `emissions_marginal_g`. `refusals` say which meters
    were not read, and why; `notes` what else a reader should know.
    """

    started_at: datetime
    ended_at: datetime
    duration_s: float
    energy_j: float | None
    power_w: float | None
    uncertainty_pct: float | None
    quality: str
    reason: str | None
    emissions_g: float | None
    emissions_marginal_g: float | None
    emissions_reason: str | None
    zone: str | None
    pue: float
    intensity: MeanIntensity | None
    devices: tuple[MeasuredDevice, ...]
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    exit_code: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as `greenrun measure --json` prints it."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return fields | {
            "started_at": iso_text(self.started_at, "milliseconds"),
            "ended_at": iso_text(self.ended_at, "milliseconds"),
            "intensity": _fields(self.intensity) if self.intensity else None,
            "devices": [_fields(device) for device in self.devices],
            "refusals": list(self.refusals),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return f"{self._energy_text()}; {self._emissions_text()}"

    def _energy_text(self) -> str:
        lasted = duration_text(self.duration_s)
        if self.energy_j is None:
            return f"{lasted}, energy unknown: {self.reason}"
        others = self.quality != "emulated" and any(device.emulated for device in self.devices)
        emulated = ", some of it EMULATED" if others else ""
        mean = f", {power_text(self.power_w)} on average" if self.power_w is not None else ""
        width = f" ± {number_text(self.uncertainty_pct)} %" if self.uncertainty_pct is not None else ""
        return f"{lasted}, {energy_text(self.energy_j)}{width} ({self.quality}{emulated}){mean}"

    def _emissions_text(self) -> str:
        intensity = self.intensity
        if intensity is not None and self.emissions_marginal_g is not None:
            told = f"{mass_text(self.emissions_marginal_g)} CO2e marginal, the average unknown,"
        elif intensity is not None and self.emissions_g is not None:
            told = f"{mass_text(self.emissions_g)} CO2e"
        else:
            return f"emissions unknown: {self.emissions_reason}"
        whence = f"{intensity.kind} by {intensity.provider} for {self.zone}"
        return f"{told} at {intensity_text(intensity.g_per_kwh, intensity.signal)} ({whence})"


def mean_intensity(emitted: "WindowEmissions") -> MeanIntensity:
    """Return the intensity that something was priced with."""
    return MeanIntensity(
        g_per_kwh=emitted.g_per_kwh,
        kind=emitted.kind.value,
        provider=emitted.series.provider,
        signal=emitted.series.signal.value,
        kinds={kind.value: share for kind, share in emitted.kinds.items()},
    )


def without_jump(uses: Sequence[WindowEnergy], clock_s: float, duration_s: float) -> list[WindowEnergy]:
    """Return what devices used, with gaps as long as they were: a clock set forward meanwhile makes them no longer."""
    ahead_s = clock_s - duration_s
    if ahead_s <= CLOCK_STEP_S:
        return list(uses)
    return [replace(use, gap_s=min(max(0.0, use.gap_s - ahead_s), duration_s)) for use in uses]


def measured_device(use: WindowEnergy, duration_s: float, *, in_total: bool) -> MeasuredDevice:
    """Return the result's entry for a device that used this."""
    device = use.device
    return MeasuredDevice(
        id=device.id,
        index=device.index,
        kind=device.kind.value,
        model=device.model,
        source=device.source,
        emulated=device.emulated,
        in_total=in_total,
        energy_j=use.energy_j,
        power_w=power_w(use.energy_j, duration_s),
        quality=use.quality.value,
        gap_s=round(use.gap_s, 3),
        reason=use.reason,
    )


def power_w(energy_j: float | None, duration_s: float) -> float | None:
    """Return the mean power; None where the energy is unknown, or no time has passed."""
    return None if energy_j is None or duration_s <= 0 else energy_j / duration_s


def why_unknown(uses: Sequence[WindowEnergy], refusals: Sequence[str]) -> str | None:
    """Say why the energy of all devices is unknown; None where it is known."""
    if not uses:
        return f"no meter can be read ({len(refusals)} refused)" if refusals else "no meter is named, so none is read"
    lost = [f"{use.device.id}: {use.reason}" for use in uses if use.energy_j is None]
    return "; ".join(lost) or None


def uncertainty_pct(uses: Sequence[WindowEnergy], widths: Widths) -> float | None:
    """Return the uncertainty of the sum, as in reports; None where the sum is unknown or 0."""
    if not all(use.reason is None for use in uses):
        return None
    graded = [
        (SPARSE if sampled_sparsely(use.device) else use.device.kind, piece.quality, piece.energy_j / J_PER_KWH)
        for use in uses
        for piece in use.pieces
        if piece.energy_j is not None
    ]
    width_pct = energy_pct(graded, 1.0, widths)
    return None if width_pct is None else round(width_pct, 3)


def quality_of(uses: Sequence[WindowEnergy]) -> Quality:
    """Return the grade of the sum: the worst of its parts."""
    return worst(use.quality for use in uses)


def notes_of(uses: Sequence[WindowEnergy]) -> list[str]:
    """Say of meters without hardware what their watts follow."""
    computed = sorted({use.device.source for use in uses if use.device.source in ("emulated", "constant")})
    return [
        f"{name}: these watts follow what the daemon's jobs do, and nothing else that runs on this machine"
        for name in computed
    ]


def _fields(value: MeasuredDevice | MeanIntensity) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}

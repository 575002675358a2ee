"""Compute the figures of a row and their quality: each is None where it is not known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from greenrun.core.accounting.period import Part
from greenrun.core.energy.ledger import UNBOOKED_S
from greenrun.core.energy.model import Quality
from greenrun.reports.emissions import avoided, emissions, is_mixed
from greenrun.reports.energy import energy, gpu_seconds
from greenrun.reports.figure_models import EmissionFigures, EnergyFigures, InventoryFigures, QualityFigures, combined
from greenrun.reports.uncertainty import Widths, emissions_pct

SETTLED = 1 - 1e-6  # the settled part from which on nothing is reported as waiting
INCOMPLETE = frozenset({"unknown_energy", "not_covered", "no_intensity", "mixed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a row is made of; `held_s` are the GPU-seconds that its runs held, None where that is not known.

    `holds` is how often a run held a device: each may lack UNBOOKED_S, as where its first reading was late.
    `widths` are the half-widths to go by, `sparse` the GPUs whose sensors see a part of the time only.
    """

    parts: Sequence[Part]
    held_s: float | None = None
    holds: int = 0
    compared: Mapping[int, str | None] = field(default_factory=dict)
    widths: Widths = field(default_factory=Widths)
    sparse: frozenset[str] = frozenset()


def figures(share: Share, forecast_error_pct: float | None) -> InventoryFigures:
    """Return energy and emissions of a row; `forecast_error_pct` is how far forecasts of this period were off."""
    used = energy(share.parts, share.held_s, share.widths, share.sparse)
    emitted = emissions(share.parts)
    settled_width = emissions_pct(used.energy_uncertainty_pct, used.pue, 0.0, share.widths)
    compared = avoided(share.parts, share.compared, settled_width)
    return combined(InventoryFigures, used, emitted, compared, _quality(share, used, emitted, forecast_error_pct))


def _quality(
    share: Share, used: EnergyFigures, emitted: EmissionFigures, forecast_error_pct: float | None
) -> QualityFigures:
    unsettled = 1 - (emitted.settled_ratio or 0.0)
    of_intensity = 0.0 if unsettled <= 0 else None if forecast_error_pct is None else unsettled * forecast_error_pct
    is_known = emitted.emissions_location_g is not None
    width = emissions_pct(used.energy_uncertainty_pct, used.pue, of_intensity, share.widths)
    flags = _flags(share, used, emitted)
    return QualityFigures(
        ci_uncertainty_pct=of_intensity if is_known else None,
        emissions_uncertainty_pct=width if is_known else None,
        flags=flags,
        complete=not INCOMPLETE & set(flags),
    )


def _flags(share: Share, used: EnergyFigures, emitted: EmissionFigures) -> list[str]:
    qualities = {part.quality for part in share.parts}
    signs = {
        "unknown_energy": Quality.UNKNOWN in qualities or used.it_energy_kwh is None,
        "not_covered": _missing_s(share) > UNBOOKED_S * share.holds,
        "bridged": Quality.BRIDGED in qualities,
        "estimated": Quality.ESTIMATED in qualities,
        "no_intensity": emitted.unpriced_kwh > 0,
        "mixed": is_mixed(part.price for part in share.parts),
        "not_settled": (emitted.settled_ratio or 0.0) < SETTLED,
    }
    return [name for name, is_so in signs.items() if is_so]


def _missing_s(share: Share) -> float:
    """Return for how much of the time that runs held GPUs there is no slice at all."""
    return (share.held_s or 0.0) - gpu_seconds(share.parts)

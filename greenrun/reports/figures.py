"""Compute the figures of a row and their quality: each is None where it is not known."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from greenrun.core.accounting.period import Part
from greenrun.core.energy.ledger import UNBOOKED_S
from greenrun.core.energy.model import Quality
from greenrun.reports.emissions import avoided, emissions, has_estimates, is_mixed, is_settled
from greenrun.reports.energy import energy, gpu_seconds, pues, split_kwh
from greenrun.reports.figure_models import EmissionFigures, EnergyFigures, InventoryFigures, QualityFigures, combined
from greenrun.reports.uncertainty import Widths, emissions_pct, pue_pct

INCOMPLETE = frozenset({"unknown_energy", "not_metered", "not_covered", "not_watched", "no_intensity", "mixed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a row is made of; `held_s` are the GPU-seconds that its runs held, None where that is not known.

    `holds` is how often a run held a device: each may lack UNBOOKED_S, as where its first reading was late.
    `succeeded` are the runs whose work counts as avoided emissions. `expected_s` are the device-seconds of the period
    that a row is about, where it is about all of it, and `is_watched` whether that was read without a gap.
    `widths` are the half-widths to go by, `sparse` the GPUs whose sensors see a part of the time only, `emulated` the
    devices that are not real. A row that `is_whole` has all who held a device in a gap, so that what of it was whose
    makes no difference to its sums. One that `lacks_runs` has runs of which nothing could be metered.
    """

    parts: Sequence[Part]
    held_s: float | None = None
    holds: int = 0
    compared: Mapping[int, str | None] = field(default_factory=dict)
    succeeded: Collection[int] = frozenset()
    expected_s: float | None = None
    is_watched: bool = True
    widths: Widths = field(default_factory=Widths)
    sparse: frozenset[str] = frozenset()
    emulated: frozenset[str] = frozenset()
    is_whole: bool = False
    lacks_runs: bool = False


def figures(share: Share, forecast_error_pct: float | None) -> InventoryFigures:
    """Return energy and emissions of a row; `forecast_error_pct` is how far forecasts of this period were off."""
    others_kwh = 0.0 if share.is_whole else split_kwh(share.parts)
    used = energy(share.parts, share.held_s, share.widths, share.sparse, others_kwh, share.expected_s, share.emulated)
    emitted = emissions(share.parts)
    settled_width = emissions_pct(used.energy_uncertainty_pct, pue_pct(pues(share.parts), share.widths), 0.0)
    compared = avoided(share.parts, share.compared, share.succeeded, settled_width)
    return combined(InventoryFigures, used, emitted, compared, _quality(share, used, emitted, forecast_error_pct))


def _quality(
    share: Share, used: EnergyFigures, emitted: EmissionFigures, forecast_error_pct: float | None
) -> QualityFigures:
    is_known, by_forecast = emitted.emissions_location_g is not None, emitted.ci_forecast_ratio or None
    of_forecast = None if by_forecast is None or forecast_error_pct is None else by_forecast * forecast_error_pct
    is_told = not has_estimates(share.parts) and (by_forecast is None or of_forecast is not None)
    of_pue = pue_pct(pues(share.parts), share.widths)
    width = emissions_pct(used.energy_uncertainty_pct, of_pue, of_forecast or 0.0) if is_told else None
    flags = _flags(share, used, emitted)
    return QualityFigures(
        ci_uncertainty_pct=of_forecast if is_known and is_told else None,
        emissions_uncertainty_pct=width if is_known else None,
        flags=flags,
        complete=not INCOMPLETE & set(flags),
    )


def _flags(share: Share, used: EnergyFigures, emitted: EmissionFigures) -> list[str]:
    qualities = {part.quality for part in share.parts}
    signs = {
        "unknown_energy": Quality.UNKNOWN in qualities or used.it_energy_kwh is None,
        "not_metered": share.lacks_runs,
        "not_covered": _missing_s(share) > UNBOOKED_S * share.holds,
        "not_watched": not share.is_watched,
        "bridged": Quality.BRIDGED in qualities,
        "estimated": Quality.ESTIMATED in qualities,
        "emulated": Quality.EMULATED in qualities or any(part.device in share.emulated for part in share.parts),
        "no_intensity": emitted.unpriced_kwh > 0,
        "mixed": is_mixed(part.price for part in share.parts),
        "not_settled": not is_settled(share.parts),
    }
    return [name for name, is_so in signs.items() if is_so]


def _missing_s(share: Share) -> float:
    """Return for how much of the time that runs held GPUs there is no slice at all."""
    return (share.held_s or 0.0) - gpu_seconds(share.parts)

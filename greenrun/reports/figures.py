"""Compute the figures of rows and their quality: each is NaN where it is not known."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from greenrun.core.accounting.grouping import Codes, Truths
from greenrun.core.carbon.intensity import Floats
from greenrun.core.energy.ledger import UNBOOKED_S
from greenrun.core.energy.model import Quality
from greenrun.core.units import J_PER_KWH
from greenrun.reports.emissions import avoided, emissions, has_estimates, is_mixed, is_settled
from greenrun.reports.energy import energy, gpu_seconds
from greenrun.reports.rows.groups import Figures, GroupedParts, names, quadratures, ratios
from greenrun.reports.uncertainty import Widths

INCOMPLETE = frozenset({"unknown_energy", "not_metered", "not_covered", "not_watched", "no_intensity", "mixed"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Share:
    """What rows are made of; `held_s` are the GPU-seconds that their runs held, None where that is not known.

    `holds` is how often a run held a device: each may lack UNBOOKED_S, as where its first reading was late.
    `succeeded` are the parts of runs whose work counts as avoided emissions. `expected_s` are the device-seconds of the
    period that a row is about, where it is about all of it, and `is_watched` whether that was read without a gap.
    `widths` are the half-widths to go by, `sparse` the GPUs whose sensors see a part of the time only, `emulated` the
    devices that are not real. Rows that are `whole` have all who held a device in a gap, so that what of it was whose
    makes no difference to their sums. `lacks_runs` are rows that have runs of which nothing could be metered.
    """

    used: GroupedParts
    held_s: Floats | None = None
    holds: Codes | int = 0
    succeeded: Truths | bool = False
    expected_s: float = 0.0
    is_watched: bool = True
    widths: Widths = field(default_factory=Widths)
    sparse: frozenset[str] = frozenset()
    emulated: frozenset[str] = frozenset()
    is_whole: bool = False
    lacks_runs: Truths | bool = False


def figures(share: Share, forecast_error_pct: float | None) -> Figures:
    """Return energy and emissions of rows; `forecast_error_pct` is how far forecasts of this period were off."""
    used, count = share.used, share.used.by.count
    held_s = np.full(count, np.nan) if share.held_s is None else share.held_s
    others_kwh = 0.0 if share.is_whole else used.by.sums(used.parts.split_j) / J_PER_KWH
    of_energy = energy(used, held_s, share.widths, share.sparse, others_kwh, share.expected_s, share.emulated)
    emitted, of_pue = emissions(used), pue_pct(used, share.widths)
    settled_width = quadratures(of_energy["energy_uncertainty_pct"], of_pue)
    succeeded = np.broadcast_to(np.asarray(share.succeeded), (len(used.parts),))
    compared = avoided(used, succeeded, settled_width)
    quality = _quality(share, of_energy, emitted, of_pue, forecast_error_pct)
    return {**of_energy, **emitted, **compared, **quality}


def pue_pct(used: GroupedParts, widths: Widths) -> Floats:
    """Return the half-width of facility energy that its PUE makes; NaN for no energy.

    A PUE of 1 is one that is not set, so that no overhead is counted and none can be wrong.
    """
    parts, by = used.parts, used.by
    return ratios(100 * widths.pue * by.sums(parts.energy_j, parts.pue > 1), by.sums(parts.facility_j))


def _quality(
    share: Share, used: Figures, emitted: Figures, of_pue: Floats, forecast_error_pct: float | None
) -> Figures:
    is_known, by_forecast = ~np.isnan(emitted["emissions_location_g"]), np.nan_to_num(emitted["ci_forecast_ratio"])
    has_forecast = by_forecast > 0
    error_pct = np.nan if forecast_error_pct is None else forecast_error_pct
    of_forecast = np.where(has_forecast, by_forecast * error_pct, np.nan)
    is_told = ~has_estimates(share.used) & (~has_forecast | ~np.isnan(of_forecast))
    width = quadratures(used["energy_uncertainty_pct"], of_pue, np.nan_to_num(of_forecast))
    flags = _flags(share, used, emitted)
    return {
        "ci_uncertainty_pct": np.where(is_known & is_told, of_forecast, np.nan),
        "emissions_uncertainty_pct": np.where(is_known & is_told, width, np.nan),
        "flags": flags,
        "complete": _complete(flags),
    }


def _complete(flags: Sequence[list[str]]) -> list[bool]:
    """Return which rows lack nothing; equal sets of flags are one list."""
    known = {key: INCOMPLETE.isdisjoint(row) for key, row in {id(row): row for row in flags}.items()}
    return [known[id(row)] for row in flags]


def _flags(share: Share, used: Figures, emitted: Figures) -> list[list[str]]:
    parts, by = share.used.parts, share.used.by
    missing_s = 0.0 if share.held_s is None else np.nan_to_num(share.held_s) - gpu_seconds(share.used)
    signs = {
        "unknown_energy": by.any(parts.of_quality(Quality.UNKNOWN)) | np.isnan(used["it_energy_kwh"]),
        "not_metered": share.lacks_runs,
        "not_covered": missing_s > UNBOOKED_S * share.holds,
        "not_watched": not share.is_watched,
        "bridged": by.any(parts.of_quality(Quality.BRIDGED)),
        "estimated": by.any(parts.of_quality(Quality.ESTIMATED)),
        "emulated": by.any(parts.of_quality(Quality.EMULATED) | parts.on_devices(share.emulated)),
        "no_intensity": emitted["unpriced_kwh"] > 0,
        "mixed": is_mixed(share.used),
        "not_settled": ~is_settled(share.used),
    }
    columns = [np.broadcast_to(np.asarray(sign), (by.count,)) for sign in signs.values()]
    return names(np.column_stack(columns), list(signs))

"""Market-based emissions (GHG Protocol Scope 2): by the contracts that electricity is bought under."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import fsum
from typing import Any

from greenrun.core.accounting.market_based import ROUNDING, Matched
from greenrun.core.accounting.period import Part
from greenrun.reports.cost import facility_kwh

Figures = dict[str, Any]
ByHour = Mapping[datetime, Matched]

RESIDUAL = "residual mix"
METHOD = (
    "Market-based emissions are the facility's energy of each hour x the factors of the contracts that cover it, and "
    "the residual mix for what none covers; no location-based figure is in them."
)


def market(parts: Sequence[Part], matched: ByHour | None, residual_g_per_kwh: float | None) -> Figures:
    """Return the grams, whose factors they are, and the ratio of known energy that contracts cover.

    Without a residual mix there are no grams unless contracts cover everything; None where nothing is set at all.
    """
    used = [(facility_kwh(part), matched[part.hour]) for part in parts if part.energy_j is not None] if matched else []
    total = fsum(kwh for kwh, _ in used)
    if total <= 0:
        return {"emissions_market_g": None, "market_factor_source": None, "market_covered_ratio": None}
    covered = min(1.0, fsum(kwh * row.covered for kwh, row in used) / total)
    is_whole = covered >= 1 - ROUNDING
    by_contract = fsum(kwh * row.g_per_kwh for kwh, row in used)
    by_residual = fsum(kwh * max(0.0, 1 - row.covered) for kwh, row in used) * (residual_g_per_kwh or 0.0)
    sources = {source for kwh, row in used if kwh for source in row.sources}
    if not is_whole and residual_g_per_kwh is not None:
        sources.add(RESIDUAL)
    return {
        "emissions_market_g": by_contract + by_residual if is_whole or residual_g_per_kwh is not None else None,
        "market_factor_source": "; ".join(sorted(sources)) or None,
        "market_covered_ratio": covered,
    }


def why_missing(total: Figures) -> str:
    """Return why there are no market-based emissions."""
    covered = total["market_covered_ratio"]
    if covered is None:
        return "no contract factors are set, or no energy is known"
    return (
        f"contracts cover {100 * covered:.4g} % of the energy, and the residual mix of the rest "
        "(accounting.residual_g_per_kwh) is not set"
    )

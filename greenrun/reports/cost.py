"""What the energy of a row cost: facility energy of each hour times the mean price of that hour."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import fsum
from typing import Any

from greenrun.core.accounting.period import Part
from greenrun.core.units import J_PER_KWH

Figures = dict[str, Any]
Prices = Mapping[datetime, float | None]

METHOD = (
    "Costs are the facility's energy of each hour (UTC) x the mean price of that hour; where prices change within an "
    "hour, its energy counts as used evenly."
)


def cost(parts: Sequence[Part], prices: Prices | None, currency: str | None) -> Figures:
    """Return the cost of known energy, and the kWh whose price is not known; None where no price is set at all."""
    return cost_of([(part.hour, facility_kwh(part)) for part in parts if part.energy_j is not None], prices, currency)


def cost_of(used: Iterable[tuple[datetime, float]], prices: Prices | None, currency: str | None) -> Figures:
    """Return the same of facility energies in kWh, each with the hour in which it was used."""
    if prices is None:
        return {"cost": None, "currency": None, "cost_missing_kwh": None}
    priced = [(kwh, prices.get(hour)) for hour, kwh in used]
    known = [kwh * price for kwh, price in priced if price is not None]
    missing = fsum(kwh for kwh, price in priced if price is None)
    return {"cost": fsum(known) if known else None, "currency": currency, "cost_missing_kwh": missing}


def facility_kwh(part: Part) -> float:
    """Return the energy of a part with that of the facility (PUE), in kWh; 0 where it is not known."""
    return (part.energy_j or 0.0) * part.pue / J_PER_KWH


def note(total: Figures) -> str:
    """Return what a reader must know of the costs; empty when there is nothing."""
    if not total["cost_missing_kwh"]:
        return ""
    return f"No price of electricity is known for {total['cost_missing_kwh']:.4g} kWh, whose cost is in no figure."


def why_missing(is_set: bool) -> str:
    """Return why there is no cost."""
    return "no price is known for the hours in which energy was used" if is_set else "no price of electricity is set"

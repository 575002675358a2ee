"""What is counted beside the use of electricity: the making of GPUs, losses on the way to them, and water."""

from collections.abc import Callable, Mapping, Sequence
from math import fsum
from typing import Any

from greenrun.core.accounting.period import Part
from greenrun.core.energy.model import Component

Figures = dict[str, Any]
Factor = Callable[[str], float | None]  # g per hour of the GPU of this id

HOUR_S = 3600.0
METHOD = "Embodied emissions are the hours in which runs held GPUs x a factor per GPU and hour ({source})."


def embodied(held_s: Mapping[str, float], factor: Factor | None) -> Figures:
    """Return the part of the GPUs' making that falls to the time they were held; None where a factor is missing."""
    if factor is None:
        return {"embodied_g": None}
    parts = [(seconds / HOUR_S, factor(device)) for device, seconds in held_s.items() if seconds > 0]
    known = [hours * g_per_hour for hours, g_per_hour in parts if g_per_hour is not None]
    return {"embodied_g": fsum(known) if len(known) == len(parts) else None}


def beside(row: Figures, embodied_g: float | None, td_loss_ratio: float, water_l_per_kwh: float | None) -> Figures:
    """Return the losses of transmission and distribution, water, and the sum with the location-based emissions."""
    location_g, energy_kwh = row["emissions_location_g"], row["it_energy_kwh"]
    loss_g = location_g * td_loss_ratio if location_g is not None and td_loss_ratio else None
    is_whole = location_g is not None and embodied_g is not None
    return {
        "td_loss_g": loss_g,
        "emissions_total_g": location_g + (loss_g or 0.0) + embodied_g if is_whole else None,
        "water_l": energy_kwh * water_l_per_kwh if energy_kwh is not None and water_l_per_kwh is not None else None,
    }


def held_by_gpu(parts: Sequence[Part]) -> dict[str, float]:
    """Return for how many booked seconds runs held each GPU, be its energy known or not."""
    found: dict[str, float] = {}
    for part in parts:
        if part.run_id is not None and part.component is Component.GPU:
            found[part.device] = found.get(part.device, 0.0) + part.seconds
    return found

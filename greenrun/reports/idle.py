"""How much of what jobs used their GPUs would have drawn idle: told beside the energy, never subtracted from it."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from math import fsum
from typing import Any

from greenrun.core.accounting.period import Part
from greenrun.core.energy.model import Component
from greenrun.core.units import J_PER_KWH

LEARNED_OVER = timedelta(days=28)


def idle(parts: Iterable[Part], powers_w: Mapping[str, float]) -> dict[str, Any]:
    """Return the energy that the GPUs of runs would have used idle in the time of these parts, and what is above it.

    Both are None where a GPU's idle power is not known, or no GPU was held. What is above may be negative.
    """
    held = [
        part
        for part in parts
        if part.run_id is not None and part.component is Component.GPU and part.energy_j is not None
    ]
    if not held or any(part.device not in powers_w for part in held):
        return {"idle_energy_kwh": None, "energy_above_idle_kwh": None}
    idle_kwh = fsum(powers_w[part.device] * part.seconds for part in held) / J_PER_KWH
    used_kwh = fsum(part.energy_j or 0.0 for part in held) / J_PER_KWH
    return {"idle_energy_kwh": idle_kwh, "energy_above_idle_kwh": used_kwh - idle_kwh}

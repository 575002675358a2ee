"""How busy the GPUs were, and of how much of the devices' time the energy is known."""

from collections.abc import Iterable, Sequence
from math import fsum
from typing import Any

from greenrun.core.accounting.period import Part
from greenrun.core.energy.ledger import busy_ratio
from greenrun.core.energy.model import Component


def utilisation(parts: Iterable[Part]) -> dict[str, Any]:
    """Return in what part of their time GPUs did anything (0 to 1), and for what part of it that is told.

    Both are None where it is nowhere told.
    """
    on_gpus = [part for part in parts if part.component is Component.GPU]
    ratio, told = busy_ratio(
        fsum(part.busy_s for part in on_gpus),
        fsum(part.busy_known_s for part in on_gpus),
        fsum(part.seconds for part in on_gpus),
    )
    return {"gpu_utilization_avg": ratio, "gpu_utilization_coverage": told}


def coverage(parts: Sequence[Part], held_s: float | None) -> tuple[float | None, float | None]:
    """Return for what part of the devices' time their energy is known, and what part of all energy that should be.

    Of GPUs `held_s` device-seconds are expected, of what nobody holds (and where None is told) all that is booked. What
    is not known is taken to be as much a second as what is known of the same component; None where nothing of it is.
    """
    known_s = known_j = expected_s = expected_j = 0.0
    for component in Component:
        own = [part for part in parts if part.component is component]
        known = [part for part in own if part.energy_j is not None]
        own_s, own_j = fsum(part.seconds for part in known), fsum(part.energy_j or 0.0 for part in known)
        is_held = component is Component.GPU and held_s is not None
        wanted_s = max(held_s or 0.0, own_s) if is_held else fsum(part.seconds for part in own)
        known_s, known_j, expected_s = known_s + own_s, known_j + own_j, expected_s + wanted_s
        expected_j += own_j * wanted_s / own_s if own_s else float("inf") if wanted_s else 0.0
    return (known_s / expected_s if expected_s else None), (known_j / expected_j if expected_j else None)


def avg_power_w(parts: Iterable[Part]) -> float | None:
    """Return the mean power of one GPU while its energy is known, in watts; None without any."""
    known = [part for part in parts if part.component is Component.GPU and part.energy_j is not None]
    seconds = fsum(part.seconds for part in known)
    return fsum(part.energy_j or 0.0 for part in known) / seconds if seconds else None


def gpu_seconds(parts: Iterable[Part]) -> float:
    """Return how long GPUs were booked, in device-seconds."""
    return fsum(part.seconds for part in parts if part.component is Component.GPU)

"""What one more kWh emitted, beside the average and in no sum with it."""

from collections.abc import Sequence
from math import fsum
from typing import Any

from greenrun.core.accounting.period import Part
from greenrun.core.carbon.intensity import Signal


def marginal(parts: Sequence[Part]) -> dict[str, Any]:
    """Return grams by a marginal signal and the part of the known energy for which they are told; None without any.

    They are those of the source beside the average; where there is none, of the source that all is priced by.
    """
    beside = [part for part in parts if part.marginal_g is not None]
    alone = [part for part in parts if part.price is not None and part.price.series.signal is Signal.MARGINAL]
    if len({part.price.series.basis for part in alone if part.price is not None}) > 1 and not beside:
        return {"emissions_marginal_g": None, "marginal_ratio": None}
    grams = [part.marginal_g for part in beside] or [part.price.emissions_g for part in alone if part.price is not None]
    told_j = fsum(part.marginal_j or 0.0 for part in beside) or fsum(part.energy_j or 0.0 for part in alone)
    known_j = fsum(part.energy_j for part in parts if part.energy_j is not None)
    known = [each for each in grams if each is not None]
    return {
        "emissions_marginal_g": fsum(known) if known else None,
        "marginal_ratio": told_j / known_j if known and known_j else None,
    }

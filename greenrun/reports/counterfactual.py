"""What the runs of a period would have emitted, each started as soon as possible; apart from the inventory."""

from collections.abc import Iterable, Mapping, Sequence
from math import fsum
from typing import Any

from greenrun.core.accounting.period import Part


def avoided(parts: Sequence[Part], compared: Mapping[int, str | None], width_pct: float | None) -> dict[str, Any]:
    """Return the figures of a comparison with an earlier start, of those parts for which it is booked.

    `compared` tells of each run why it is not compared, None for one that is; `width_pct` is the half-width of both.
    """
    known = [part for part in parts if part.baseline_g is not None]
    baseline, actual = _sum(part.baseline_g for part in known), _sum(part.compared_g for part in known)
    difference = baseline - actual if baseline is not None and actual is not None else None
    whys = {why for why in compared.values() if why is not None}
    return {
        "baseline_emissions_g": baseline,
        "compared_emissions_g": actual,
        "avoided_g": difference,
        "avoided_pct": 100 * difference / baseline if difference is not None and baseline else None,
        "avoided_uncertainty_g": abs(difference) * width_pct / 100 if difference is not None and width_pct else None,
        "avoided_runs": sum(why is None for why in compared.values()),
        "avoided_missing": "; ".join(sorted(whys)) or None,
    }


def _sum(grams: Iterable[float | None]) -> float | None:
    known = [each for each in grams if each is not None]
    return fsum(known) if known else None

"""How grades of energy add up; apart from the ledger, so that a sampler process need not load what that needs."""

from collections.abc import Iterable

from greenrun.core.energy.model import Quality

_WORST_FIRST = (Quality.UNKNOWN, Quality.BRIDGED, Quality.ESTIMATED, Quality.INTEGRATED, Quality.MEASURED)


def worst(qualities: Iterable[Quality]) -> Quality:
    """Return the least trustworthy of these grades; UNKNOWN for none at all."""
    return min(qualities, key=_WORST_FIRST.index, default=Quality.UNKNOWN)

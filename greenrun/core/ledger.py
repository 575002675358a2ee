"""Price slices of energy with the mean intensity over their own interval, and sum them without inventing anything."""

from collections.abc import Iterable
from dataclasses import dataclass

from greenrun.core.energy import Quality, Slice
from greenrun.core.intensity import Kind, Series, SeriesId
from greenrun.core.units import emissions_g

_WORST_FIRST = (Quality.UNKNOWN, Quality.BRIDGED, Quality.ESTIMATED, Quality.INTEGRATED, Quality.MEASURED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """What a slice emitted, in g CO2e (facility energy, PUE included); None where intensity or energy is unknown."""

    intensity_g_per_kwh: float | None = None
    emissions_g: float | None = None
    kind: Kind | None = None
    series: SeriesId | None = None


UNPRICED = Priced()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A slice in the books: priced once when booked, with the best intensity known then, and once when settled."""

    slice: Slice
    pue: float
    booked: Priced
    settled: Priced | None = None
    id: int | None = None
    job_id: int | None = None
    project: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Sums over entries. `energy_j` adds what is known; `quality` is the worst of its parts (a missing one: UNKNOWN).

    `emissions_g` and `settled_g` are None as long as any part of the energy has no such price.
    """

    energy_j: float | None = None
    quality: Quality = Quality.UNKNOWN
    emissions_g: float | None = None
    settled_g: float | None = None


def price(piece: Slice, intensity: Series | None, pue: float) -> Priced:
    """Price a slice with the mean intensity over its interval; UNPRICED when that is not wholly known."""
    mean = intensity.mean(piece.start, piece.end) if intensity is not None else None
    if mean is None or intensity is None:
        return UNPRICED
    grams = None if piece.energy_j is None else emissions_g(piece.energy_j, mean, pue)
    return Priced(intensity_g_per_kwh=mean, emissions_g=grams, kind=intensity.kind_at(piece.start), series=intensity.id)


def total(entries: Iterable[Entry]) -> Total:
    """Sum entries; nothing at all sums to unknown, not to zero."""
    rows = list(entries)
    energies = [row.slice.energy_j for row in rows if row.slice.energy_j is not None]
    return Total(
        energy_j=sum(energies) if energies else None,
        quality=worst(row.slice.quality for row in rows),
        emissions_g=_sum_or_none(row.booked.emissions_g for row in rows),
        settled_g=_sum_or_none(row.settled.emissions_g if row.settled else None for row in rows),
    )


def worst(qualities: Iterable[Quality]) -> Quality:
    """Return the least trustworthy of these grades; UNKNOWN for none at all."""
    return min(qualities, key=_WORST_FIRST.index, default=Quality.UNKNOWN)


def _sum_or_none(parts: Iterable[float | None]) -> float | None:
    known = list(parts)
    return None if not known or any(part is None for part in known) else sum(part for part in known if part is not None)

"""Price slices of energy with the mean intensity over their own interval, and sum them without inventing anything."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf

from greenrun.core.energy import Quality, Slice
from greenrun.core.grading import worst
from greenrun.core.intensity import Kind, Series, SeriesId
from greenrun.core.job import Run
from greenrun.core.units import emissions_g

UNBOOKED_S = 1.0  # how much of a device's time may be missing from a run's slices, as where its first reading was late


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


def total(entries: Iterable[Entry], expected_s: Mapping[str, float] | None = None) -> Total:
    """Sum entries; nothing at all sums to unknown, not to zero, and see `complete` for `expected_s`."""
    rows = list(entries)
    booked_s: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        booked_s[row.slice.device] += (row.slice.end - row.slice.start).total_seconds()
    energies = [row.slice.energy_j for row in rows if row.slice.energy_j is not None]
    booked = Total(
        energy_j=sum(energies) if energies else None,
        quality=worst(row.slice.quality for row in rows),
        emissions_g=_sum_or_none(row.booked.emissions_g for row in rows),
        settled_g=_sum_or_none(row.settled.emissions_g if row.settled else None for row in rows),
    )
    return complete(booked, booked_s, expected_s or {})


def complete(booked: Total, booked_s: Mapping[str, float], expected_s: Mapping[str, float]) -> Total:
    """Return a sum as it is, or only its energy when a device has UNBOOKED_S fewer seconds booked than expected.

    A part that is in no slice has been used all the same: without it the rest must not pass for the whole.
    """
    if all(booked_s.get(device, 0.0) >= seconds - UNBOOKED_S for device, seconds in expected_s.items()):
        return booked
    return Total(energy_j=booked.energy_j)


def expected_seconds(run: Run, booked_until: datetime | None) -> dict[str, float]:
    """Return how many seconds of each of its devices must be in a run's slices; infinite where that cannot be told.

    While it runs, the time that counts ends where the latest of its slices does.
    """
    start, end = run.started_at, run.ended_at or booked_until
    if start is None or end is None or end < start:  # the last: the clock was set back meanwhile
        return dict.fromkeys(run.devices, inf)
    return dict.fromkeys(run.devices, (end - start).total_seconds())


def _sum_or_none(parts: Iterable[float | None]) -> float | None:
    known = list(parts)
    return None if not known or any(part is None for part in known) else sum(part for part in known if part is not None)

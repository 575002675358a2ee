"""Price slices of energy with the mean intensity over their own interval, and sum them without inventing anything."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from greenrun.core.carbon.intensity import Kind, Series, SeriesId, Signal
from greenrun.core.energy.model import Component, Quality, Slice, worst
from greenrun.core.units import emissions_g

UNBOOKED_S = 1.0  # how much of a device's time may be missing from a run's slices, as where its first reading was late


class Stage(StrEnum):
    """Which price of a slice: by the average, first with what is known, then as measured; and two beside it."""

    BOOKED = "booked"
    SETTLED = "settled"
    MARGINAL = "marginal"  # what one more kWh emitted
    BASELINE = "baseline"  # what the average would have been, had its job started as soon as it could


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


class UnsettledSlice(NamedTuple):
    """A booked slice that waits for a price, with its id in the store and the PUE that it was booked with."""

    id: int
    slice: Slice
    pue: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Sums over entries. `energy_j` adds what is known; `quality` is the worst of its parts (a missing one: UNKNOWN).

    Grams are of an average, as booked (`emissions_g`), as settled (`settled_g`), and each slice by the best of both
    (`location_g`, which reports call emissions_location_g); `marginal_g` are by a marginal signal, beside the average
    or in its place. Each is None as long as any part of the energy has no such price, or one that counts something
    else. `gpu_energy_j` is what GPUs used of the energy. `utilization` is in what part of their time they did anything
    (0 to 1), where that is told: for `utilization_coverage` of it. Both are None where it is nowhere told. `baseline_g`
    is what a run would have emitted, had its job started as soon as it could, and `avoided_g` how much more that is;
    None until that is booked.
    """

    energy_j: float | None = None
    quality: Quality = Quality.UNKNOWN
    emissions_g: float | None = None
    settled_g: float | None = None
    location_g: float | None = None
    marginal_g: float | None = None
    gpu_energy_j: float | None = None
    utilization: float | None = None
    utilization_coverage: float | None = None
    baseline_g: float | None = None
    avoided_g: float | None = None


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
        booked_s[row.slice.device] += device_seconds(row.slice)
    on_gpus = [row.slice for row in rows if row.slice.component is Component.GPU]
    told = [piece for piece in on_gpus if piece.busy_s is not None]
    utilization, coverage = busy_ratio(
        sum(piece.busy_s or 0.0 for piece in told), sum(map(device_seconds, told)), sum(map(device_seconds, on_gpus))
    )
    booked = Total(
        energy_j=sum_of_known(row.slice.energy_j for row in rows),
        gpu_energy_j=sum_of_known(piece.energy_j for piece in on_gpus),
        utilization=utilization,
        utilization_coverage=coverage,
        quality=worst(row.slice.quality for row in rows),
        emissions_g=average_g(_sum_of(row.booked) for row in rows),
        settled_g=average_g(_sum_of(row.settled) for row in rows),
        location_g=average_g(_sum_of(row.settled or row.booked) for row in rows),
        marginal_g=marginal_g(_sum_of(row.settled or row.booked) for row in rows),
    )
    return complete(booked, booked_s, expected_s or {})


def device_seconds(piece: Slice) -> float:
    """Return how long it is, weighed by its share: those of a device add up to the time that went by."""
    return (piece.end - piece.start).total_seconds() * piece.share


def busy_ratio(busy_s: float, told_s: float, whole_s: float) -> tuple[float | None, float | None]:
    """Return in what part of `told_s` devices were busy, and what part that is of the whole; None for nothing told."""
    return (min(1.0, busy_s / told_s), min(1.0, told_s / whole_s)) if told_s > 0 else (None, None)


def sum_of_known(parts: Iterable[float | None]) -> float | None:
    """Sum what is known; None when nothing is."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def complete(booked: Total, booked_s: Mapping[str, float], expected_s: Mapping[str, float]) -> Total:
    """Return a sum as it is, or only its energy when a device has UNBOOKED_S fewer seconds booked than expected.

    A part that is in no slice has been used all the same: without it the rest must not pass for the whole.
    """
    if all(booked_s.get(device, 0.0) >= seconds - UNBOOKED_S for device, seconds in expected_s.items()):
        return booked
    return Total(energy_j=booked.energy_j)


class PricedSum(NamedTuple):
    """What so many slices emitted by one series, and how many of them are priced; no series: one that is not stated."""

    slices: int
    priced: int
    grams: float | None
    series: SeriesId | None


def average_g(sums: Iterable[PricedSum]) -> float | None:
    """Add up what averages tell that count the same; None for nothing, or where any slice has no such price."""
    return _whole_g(sums, Signal.AVERAGE)


def marginal_g(sums: Iterable[PricedSum]) -> float | None:
    """Add up what marginal signals tell that count the same; None for nothing, or where a slice has no such price."""
    return _whole_g(sums, Signal.MARGINAL)


def _whole_g(sums: Iterable[PricedSum], signal: Signal) -> float | None:
    rows = list(sums)
    measures = {row.series.measure if row.series else (Signal.AVERAGE, None, None) for row in rows}
    if len(measures) != 1 or {measured for measured, *_ in measures} != {signal}:
        return None
    is_whole = all(row.priced == row.slices for row in rows)
    return sum(row.grams for row in rows if row.grams is not None) if is_whole else None


def _sum_of(price: Priced | None) -> PricedSum:
    priced = price or UNPRICED
    return PricedSum(1, int(priced.emissions_g is not None), priced.emissions_g, priced.series)

"""Merge slices that are priced for good: a run's slices inside one slot become one, and every sum stays what it was.

What is kept, and why it is enough:

- Energy, how far its split may be off, emissions by every price, busy seconds and device-seconds (length times share)
  are sums, so the sums stay, and with them what uncertainties are made of.
- Run, device, grade, PUE, and what priced the slices (series and kind) are the same for all that are merged. So are the
  settled and the marginal intensity: anybody can still multiply kWh, PUE and g/kWh. The intensities of the booked price
  (forecasts change within a slot) and of the baseline (which lies across slots) become means weighed by energy.
- Slices are merged inside one hour of UTC only, or, where local time is off by half an hour or a quarter, inside one
  quarter: so whatever begins at midnight or at a full hour still holds just what it did.
- The highest mean power of the parts is kept, as a peak would not survive a mean.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import fsum
from typing import Any

from greenrun.core.energy.ledger import Priced, Stage
from greenrun.core.energy.model import Quality, Slice

MERGE_AFTER = timedelta(days=1)  # the last day keeps its minutes, for those who look at what happened just now
AGED_AFTER = timedelta(days=6)  # ... more, when also those are merged, by quarters, that are not priced for good
WITHIN = timedelta(hours=1)
WITHIN_QUARTERS = timedelta(minutes=15)  # by which all time zones differ from UTC
PEAK_S = 10.0  # the shortest slice whose mean power counts as a peak
_SAME = 6  # decimals of g/kWh that are compared: the mean of a slot is one, up to the rounding of floats


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledSlice:
    """A slice in the books that has every price it will ever have; `peak_w` where it is made of several already."""

    id: int
    slice: Slice
    pue: float
    prices: Mapping[Stage, Priced]
    peak_w: float | None = None

    @property
    def highest_w(self) -> float | None:
        """The highest mean power that it is known to have seen, in watts; None where that says nothing."""
        if self.peak_w is not None:
            return self.peak_w
        piece, seconds = self.slice, (self.slice.end - self.slice.start).total_seconds()
        if piece.energy_j is None or piece.quality is Quality.BRIDGED or seconds < PEAK_S:
            return None
        return piece.energy_j / seconds


def within(utc_offset: timedelta) -> timedelta:
    """Return inside which steps of UTC to merge where local time differs from it by that much."""
    return WITHIN if not utc_offset % WITHIN else WITHIN_QUARTERS


def groups(slices: Iterable[SettledSlice], step: timedelta = WITHIN) -> list[list[SettledSlice]]:
    """Return what can be merged with what, in the order of time; a slice that nothing can join is a group of its own.

    Give all slices of the steps that they begin in.
    """
    found: list[list[SettledSlice]] = []
    last: dict[tuple[str, int | None], tuple[Any, list[SettledSlice]]] = {}
    for each in sorted(slices, key=lambda row: (row.slice.start, row.id)):
        whose, key = (each.slice.device, each.slice.run_id), _key(each, step.total_seconds())
        known, group = last.get(whose, (None, []))
        if group and known == key and group[-1].slice.end == each.slice.start:
            group.append(each)
        else:
            found.append([each])
            last[whose] = key, found[-1]
    return found


def merged(parts: Sequence[SettledSlice]) -> SettledSlice:
    """Return one slice that is to every sum what these parts of a group are together."""
    first, last = parts[0], parts[-1]
    if first is last:
        return first
    pieces = [part.slice for part in parts]
    lengths_s = [(piece.end - piece.start).total_seconds() for piece in pieces]
    share = fsum(length * piece.share for length, piece in zip(lengths_s, pieces, strict=True)) / fsum(lengths_s)
    return replace(
        first,
        slice=replace(
            first.slice,
            end=last.slice.end,
            energy_j=_sum(piece.energy_j for piece in pieces),
            busy_s=_sum(piece.busy_s for piece in pieces),
            split_j=fsum(piece.split_j for piece in pieces),
            share=first.slice.share if len({piece.share for piece in pieces}) == 1 else share,
        ),
        prices={stage: _together(parts, stage, lengths_s) for stage in first.prices},
        peak_w=max((peak for part in parts if (peak := part.highest_w) is not None), default=None),
    )


def _key(each: SettledSlice, step_s: float) -> tuple[Any, ...]:
    piece = each.slice
    number = piece.start.timestamp() // step_s
    return (
        number,
        piece.end.timestamp() > (number + 1) * step_s,
        piece.component,
        piece.quality,
        each.pue,
        piece.energy_j is None,
        piece.busy_s is None,
        *(_price_key(stage, each.prices.get(stage)) for stage in Stage),
    )


def _price_key(stage: Stage, price: Priced | None) -> tuple[Any, ...] | None:
    if price is None:
        return None
    told = price.intensity_g_per_kwh
    is_slots = stage in (Stage.SETTLED, Stage.MARGINAL) and told is not None
    intensity = round(told, _SAME) if is_slots and told is not None else told is None
    return price.series, price.kind, price.emissions_g is None, intensity


def _together(parts: Sequence[SettledSlice], stage: Stage, lengths_s: Sequence[float]) -> Priced:
    prices = [part.prices[stage] for part in parts]
    told = [price.intensity_g_per_kwh for price in prices if price.intensity_g_per_kwh is not None]
    return replace(
        prices[0],
        emissions_g=_sum(price.emissions_g for price in prices),
        intensity_g_per_kwh=told[0] if len(set(told)) == 1 else _mean(parts, told, lengths_s),
    )


def _mean(parts: Sequence[SettledSlice], told: Sequence[float], lengths_s: Sequence[float]) -> float | None:
    """Return the mean weighed by energy, or by time where no energy is known; None where nothing is told."""
    if len(told) < len(parts):
        return None
    energies = [part.slice.energy_j or 0.0 for part in parts]
    weights = energies if fsum(energies) > 0 else lengths_s
    return fsum(value * weight for value, weight in zip(told, weights, strict=True)) / fsum(weights)


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) if known else None

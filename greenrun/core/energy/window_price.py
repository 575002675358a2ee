"""Price what was used over a window with the intensity of each minute of it, and say of what kind that was."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import fsum

from greenrun.core.carbon.intensity import Kind, Series, SeriesId, Signal
from greenrun.core.energy.ledger import Priced, price
from greenrun.core.energy.model import Slice

_LEAST_CERTAIN_FIRST = (Kind.ESTIMATED, Kind.FORECAST, Kind.MEASURED)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEmissions:
    """What was emitted, in g CO2e (facility energy, PUE included), by which mean intensity over the energy.

    `kind` is the least certain that is in it, `kinds` the part of the energy (of the time, where the energy is
    unknown) that each has. `emissions_g` is None where any of the energy is.
    """

    emissions_g: float | None
    g_per_kwh: float
    kind: Kind
    series: SeriesId
    kinds: Mapping[Kind, float] = field(default_factory=dict)

    @property
    def is_marginal(self) -> bool:
        """Whether it is what one more kWh emitted, which is no part of any sum of averages."""
        return self.series.signal is Signal.MARGINAL


def price_window(
    pieces: Sequence[Slice], series: Series, start: datetime, end: datetime, pue: float
) -> WindowEmissions | None:
    """Price slices of `[start, end)` with a series; None unless it wholly covers that time.

    Without any slice it tells the intensity alone.
    """
    mean, first = series.mean(start, end), series.kind_at(start)
    if mean is None or first is None:
        return None
    if not pieces:
        return WindowEmissions(emissions_g=None, g_per_kwh=mean, kind=first, series=series.id, kinds={first: 1.0})
    rows = [(piece, price(piece, series, pue)) for piece in pieces]
    if any(priced.intensity_g_per_kwh is None for _, priced in rows):
        return None
    grams = [priced.emissions_g for _, priced in rows if priced.emissions_g is not None]
    is_known = len(grams) == len(rows)
    weights = [(piece.energy_j or 0.0) if is_known else _seconds(piece) for piece, _ in rows]
    if not fsum(weights):
        weights = [_seconds(piece) for piece, _ in rows]
    kinds = _shares(rows, weights)
    means = (weight * (priced.intensity_g_per_kwh or 0.0) for weight, (_, priced) in zip(weights, rows, strict=True))
    return WindowEmissions(
        emissions_g=fsum(grams) if is_known else None,
        g_per_kwh=fsum(means) / fsum(weights) if is_known else mean,
        kind=min(kinds, key=_LEAST_CERTAIN_FIRST.index),
        series=series.id,
        kinds=kinds,
    )


def _shares(rows: Sequence[tuple[Slice, Priced]], weights: Sequence[float]) -> dict[Kind, float]:
    sums: defaultdict[Kind, float] = defaultdict(float)
    for (_, priced), weight in zip(rows, weights, strict=True):
        if priced.kind is not None:
            sums[priced.kind] += weight
    return {kind: amount / fsum(weights) for kind, amount in sums.items()}


def _seconds(piece: Slice) -> float:
    return (piece.end - piece.start).total_seconds()

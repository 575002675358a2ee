"""The figures of a row: sums over the parts that belong to it, each None where it cannot honestly be told."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import Any

from greenrun.core.accounting.period import Part, Price
from greenrun.core.carbon.intensity import Kind, SeriesId, Signal
from greenrun.core.energy.ledger import UNBOOKED_S
from greenrun.core.energy.model import BOOKED, Component, Quality
from greenrun.core.units import J_PER_KWH
from greenrun.reports.counterfactual import avoided
from greenrun.reports.marginal import marginal
from greenrun.reports.uncertainty import SPARSE, Widths, emissions_pct, energy_pct
from greenrun.reports.utilisation import avg_power_w, coverage, gpu_seconds, utilisation

SETTLED = 1 - 1e-6  # the settled part from which on nothing is said to wait

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What a row is made of; `held_s` are the GPU-seconds that its runs held, None where that is not told.

    `holds` is how often a run held a device: each may lack UNBOOKED_S, as where its first reading was late.
    `widths` are the half-widths to go by, `sparse` the GPUs whose sensors see a part of the time only.
    """

    parts: Sequence[Part]
    held_s: float | None = None
    holds: int = 0
    compared: Mapping[int, str | None] = field(default_factory=dict)
    widths: Widths = field(default_factory=Widths)
    sparse: frozenset[str] = frozenset()


def figures(share: Share, forecast_error_pct: float | None) -> Figures:
    """Return every figure of a row; `forecast_error_pct` is how far forecasts of this period were off."""
    energy, emissions = _energy(share), _emissions(share.parts)
    energy_width = energy["energy_uncertainty_pct"]
    unsettled = 1 - (emissions["settled_ratio"] or 0.0)
    intensity_width = 0.0 if unsettled <= 0 else None if forecast_error_pct is None else unsettled * forecast_error_pct
    known = emissions["emissions_location_g"] is not None
    width = emissions_pct(energy_width, energy["pue"], intensity_width, share.widths) if known else None
    settled_width = emissions_pct(energy_width, energy["pue"], 0.0, share.widths)
    row = {**energy, **emissions, **avoided(share.parts, share.compared, settled_width)}
    row |= {"ci_uncertainty_pct": intensity_width if known else None, "emissions_uncertainty_pct": width}
    row["flags"] = _flags(share, row)
    row["complete"] = not {"unknown_energy", "not_covered", "no_intensity", "mixed"} & set(row["flags"])
    return row


def brief(parts: Sequence[Part]) -> Figures:
    """Return only the energy, the emissions and the intensity between them."""
    grams = location_g(part.price for part in parts)
    facility = _facility(part for part in parts if _is_average(part.price))
    return {
        "it_energy_kwh": kwh(parts),
        "facility_energy_kwh": _facility(parts) if any(part.energy_j is not None for part in parts) else None,
        "ci_avg_g_per_kwh": grams / facility if grams is not None and facility else None,
        "emissions_location_g": grams,
    }


def fold(parts: Iterable[float | None]) -> float | None:
    """Sum what is known; None when nothing is."""
    known = [part for part in parts if part is not None]
    return fsum(known) if known else None


def kwh(parts: Iterable[Part]) -> float | None:
    """Return the known IT energy of these parts in kWh; None when none of it is known."""
    joules = fold(part.energy_j for part in parts)
    return None if joules is None else joules / J_PER_KWH


def location_g(prices: Iterable[Price | None]) -> float | None:
    """Sum the grams of averages that count the same; None when there are none, or they count different things."""
    sums = by_measure(prices)
    averages = [grams for (signal, *_), grams in sums.items() if signal is Signal.AVERAGE]
    return averages[0] if len(averages) == 1 else None


def by_measure(prices: Iterable[Price | None]) -> dict[tuple[Any, ...], float]:
    """Sum known grams by what their series count, whoever tells it and wherever."""
    found: defaultdict[int, list[Price]] = defaultdict(list)
    for price in prices:
        if price is not None and price.emissions_g is not None:
            found[id(price.series)].append(price)  # few series, told apart without a look into each
    sums: defaultdict[tuple[Any, ...], list[float]] = defaultdict(list)
    for same in found.values():
        sums[measure(same[0].series)] += [price.emissions_g for price in same if price.emissions_g is not None]
    return {key: fsum(grams) for key, grams in sums.items()}


def measure(series: SeriesId) -> tuple[Any, ...]:
    """Return what a series counts: grams of series that agree in this may be summed over zones and sources."""
    return series.signal, series.accounting, series.basis


def _energy(share: Share) -> Figures:
    parts = share.parts
    total = kwh(parts)
    facility = fold(part.energy_j * part.pue / J_PER_KWH for part in parts if part.energy_j is not None)
    of_time, of_energy = coverage(parts, share.held_s)
    graded = [
        (SPARSE if part.device in share.sparse else part.component.value, part.quality, part.energy_j / J_PER_KWH)
        for part in parts
        if part.energy_j is not None
    ]
    row: Figures = {f"{each.value}_energy_kwh": kwh(_of(parts, each)) for each in BOOKED}
    row |= {"it_energy_kwh": total, "facility_energy_kwh": facility}
    row["pue"] = facility / total if total and facility is not None else None
    row["avg_power_w"] = avg_power_w(parts)
    for grade in Quality:
        if grade is not Quality.UNKNOWN:
            row[f"{grade.value}_kwh"] = kwh([part for part in parts if part.quality is grade])
    row |= {f"{each.value}_method": _join(part.quality.value for part in _of(parts, each)) for each in BOOKED}
    row["coverage_ratio"] = of_time
    row["gap_seconds"] = fsum(part.seconds for part in parts if part.quality in (Quality.BRIDGED, Quality.UNKNOWN))
    row["energy_uncertainty_pct"] = energy_pct(graded, of_energy, share.widths)
    return {**row, **utilisation(parts)}


def _emissions(parts: Sequence[Part]) -> Figures:
    priced = [(part, part.price) for part in parts if part.energy_j is not None]
    known = [(part, price) for part, price in priced if price is not None and _is_average(price)]
    grams = location_g(part.price for part in parts)
    facility = _facility(part for part, _ in known)
    series = {id(price.series): price.series for _, price in known}.values()
    same = grams is not None
    return {
        "grid_zone": _join(row.zone for row in series),
        "ci_provider": _join(row.provider for row in series),
        "ci_signal": _join(row.signal.value for row in series),
        "ci_accounting": _join(row.accounting.value for row in series if row.accounting),
        "ci_basis": _join(row.basis.value for row in series if row.basis),
        "ci_avg_g_per_kwh": grams / facility if grams is not None and facility else None,
        "ci_min_g_per_kwh": min((price.lowest_g_per_kwh for _, price in known), default=None) if same else None,
        "ci_max_g_per_kwh": max((price.highest_g_per_kwh for _, price in known), default=None) if same else None,
        "ci_estimated_ratio": _ratio([part for part, price in known if price.kind is Kind.ESTIMATED], facility),
        "ci_forecast_ratio": _ratio([part for part, price in known if price.kind is Kind.FORECAST], facility),
        "settled_ratio": _ratio([part for part, _ in known if part.settled is not None], facility),
        "unpriced_kwh": kwh([part for part, price in priced if not _is_average(price)]) or 0.0,
        "emissions_location_g": grams,
        "emissions_booked_g": location_g(part.booked for part in parts),
        "emissions_settled_g": location_g(part.settled for part in parts),
        **marginal(parts),
    }


def _flags(share: Share, row: Mapping[str, Any]) -> list[str]:
    qualities = {part.quality for part in share.parts}
    measures = [key for key in by_measure(part.price for part in share.parts) if key[0] is Signal.AVERAGE]
    signs = {
        "unknown_energy": Quality.UNKNOWN in qualities or row["it_energy_kwh"] is None,
        "not_covered": _missing_s(share) > UNBOOKED_S * share.holds,
        "bridged": Quality.BRIDGED in qualities,
        "estimated": Quality.ESTIMATED in qualities,
        "no_intensity": row["unpriced_kwh"] > 0,
        "mixed": len(measures) > 1,
        "not_settled": (row["settled_ratio"] or 0.0) < SETTLED,
    }
    return [name for name, is_so in signs.items() if is_so]


def _missing_s(share: Share) -> float:
    """Return for how much of the time that runs held GPUs there is no slice at all."""
    return (share.held_s or 0.0) - gpu_seconds(share.parts)


def _of(parts: Iterable[Part], component: Component) -> list[Part]:
    return [part for part in parts if part.component is component]


def _is_average(price: Price | None) -> bool:
    return price is not None and price.series.signal is Signal.AVERAGE


def _facility(parts: Iterable[Part]) -> float:
    return fsum(part.energy_j * part.pue / J_PER_KWH for part in parts if part.energy_j is not None)


def _ratio(parts: Sequence[Part], whole: float) -> float | None:
    return _facility(parts) / whole if whole else None


def _join(words: Iterable[str]) -> str | None:
    return "; ".join(sorted(set(words))) or None

"""The emissions of a row: location-based, marginal beside them, and what an earlier start would have emitted."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from math import fsum

from greenrun.core.accounting.period import Part, Price
from greenrun.core.carbon.intensity import Kind, Measure, SeriesId, Signal
from greenrun.core.reference.gases import GASES, NOT_STATED
from greenrun.core.units import J_PER_KWH, difference_of, significant
from greenrun.reports.energy import facility_kwh, kwh
from greenrun.reports.figure_models import AvoidedFigures, BriefFigures, EmissionFigures
from greenrun.reports.model import ForecastComparison, SeriesRow

NOT_SUCCEEDED = "its job did not succeed"


def emissions(parts: Sequence[Part]) -> EmissionFigures:
    """Return the location-based emissions of these parts, the intensity that they are made of, and marginal ones."""
    priced = [(part, part.price) for part in parts if part.energy_j is not None]
    known = [(part, price) for part, price in priced if price is not None and _is_average(price)]
    grams, is_average = location_g(part.price for part in parts), [part for part, _ in known]
    facility = facility_kwh(is_average) or 0.0
    series = {id(price.series): price.series for _, price in known}.values()
    marginal_g, marginal_g_per_kwh, marginal_ratio = marginal(parts)
    lowest = min((price.lowest_g_per_kwh for _, price in known), default=None)
    highest = max((price.highest_g_per_kwh for _, price in known), default=None)
    return EmissionFigures(
        grid_zone=_join(row.zone for row in series),
        ci_provider=_join(row.provider for row in series),
        ci_signal=_join(row.signal.value for row in series),
        ci_accounting=_join(row.accounting.value for row in series if row.accounting),
        ci_basis=_join(row.basis.value for row in series if row.basis),
        ci_avg_g_per_kwh=significant(grams / facility) if grams is not None and facility else None,
        ci_min_g_per_kwh=lowest if grams is not None else None,
        ci_max_g_per_kwh=highest if grams is not None else None,
        ci_estimated_ratio=_ratio([part for part, price in known if price.kind is Kind.ESTIMATED], facility),
        ci_forecast_ratio=_ratio([part for part, price in known if price.kind is Kind.FORECAST], facility),
        settled_ratio=_ratio([part for part, _ in known if part.settled is not None], facility),
        unpriced_kwh=kwh([part for part, price in priced if not _is_average(price)]) or 0.0,
        emissions_location_g=grams,
        emissions_booked_g=location_g(part.booked for part in parts),
        emissions_settled_g=location_g(part.settled for part in parts),
        emissions_marginal_g=marginal_g,
        ci_marginal_g_per_kwh=marginal_g_per_kwh,
        marginal_ratio=marginal_ratio,
    )


def brief(parts: Sequence[Part]) -> BriefFigures:
    """Return only the energy, the emissions and the intensity between them."""
    grams = location_g(part.price for part in parts)
    facility = facility_kwh(part for part in parts if _is_average(part.price))
    return BriefFigures(
        it_energy_kwh=kwh(parts),
        facility_energy_kwh=facility_kwh(parts),
        ci_avg_g_per_kwh=significant(grams / facility) if grams is not None and facility else None,
        emissions_location_g=grams,
    )


def avoided(
    parts: Sequence[Part], compared: Mapping[int, str | None], succeeded: Collection[int], width_pct: float | None
) -> AvoidedFigures:
    """Return the figures of a comparison with an earlier start, of those parts for which it is booked.

    `compared` has why each run is not compared, None for one that is. Only runs that `succeeded` count: what a failed
    or cancelled one emitted was for nothing, whenever it ran. `width_pct` is the half-width of both.
    """
    known = [part for part in parts if part.baseline_g is not None]
    baseline, actual, _ = _differences(known)
    own_baseline, _, difference = _differences([part for part in known if part.run_id in succeeded])
    _, _, others = _differences([part for part in known if part.run_id not in succeeded])
    reasons = [why if run_id in succeeded else why or NOT_SUCCEEDED for run_id, why in compared.items()]
    return AvoidedFigures(
        baseline_emissions_g=baseline,
        compared_emissions_g=actual,
        avoided_g=difference,
        avoided_baseline_g=own_baseline,
        avoided_pct=percent_of(difference, own_baseline),
        avoided_uncertainty_g=None if difference is None or width_pct is None else abs(difference) * width_pct / 100,
        avoided_runs=sum(why is None for why in reasons),
        avoided_missing=_join(why for why in reasons if why is not None),
        avoided_not_counted_g=others,
    )


def compared_figures(parts: Sequence[Part]) -> tuple[float | None, float | None, float | None]:
    """Return baseline, actual and avoided grams of the parts for which they are booked; None without any."""
    return _differences([part for part in parts if part.baseline_g is not None])


def percent_of(difference: float | None, whole: float | None) -> float | None:
    """Return a difference in percent of a whole; None where one is not known or the whole is nothing."""
    return significant(100 * difference / whole) if difference is not None and whole else None


def _differences(known: Sequence[Part]) -> tuple[float | None, float | None, float | None]:
    baseline, actual = _fold(part.baseline_g for part in known), _fold(part.compared_g for part in known)
    difference = difference_of(baseline, actual) if baseline is not None and actual is not None else None
    return baseline, actual, difference


def marginal(parts: Sequence[Part]) -> tuple[float | None, float | None, float | None]:
    """Return grams by a marginal signal, per kWh, and the part of the known energy that they are of; None without any.

    They are those of the source beside the average; where there is none, of the source that all is priced by.
    """
    beside = [part for part in parts if part.marginal_g is not None]
    alone = [
        (part, part.price) for part in parts if part.price is not None and part.price.series.signal is Signal.MARGINAL
    ]
    if len({price.series.basis for _, price in alone}) > 1 and not beside:
        return None, None, None
    told = [(part.marginal_g, part.marginal_j, part.pue) for part in beside]
    told = told or [(price.emissions_g, part.energy_j, part.pue) for part, price in alone]
    grams = _fold(each_g for each_g, _, _ in told)
    told_j = fsum(each_j or 0.0 for _, each_j, _ in told)
    facility_j = fsum((each_j or 0.0) * pue for _, each_j, pue in told)
    known_j = fsum(part.energy_j for part in parts if part.energy_j is not None)
    if grams is None or not known_j or not facility_j:
        return grams, None, None
    return grams, significant(grams * J_PER_KWH / facility_j), significant(told_j / known_j)


def is_settled(parts: Sequence[Part]) -> bool:
    """Whether something has the average's settled price, and nothing that has a price of it waits for that."""
    priced = [part for part in parts if part.energy_j is not None and _is_average(part.price)]
    return any(part.settled for part in priced) and all(part.settled or not part.energy_j for part in priced)


def has_estimates(parts: Iterable[Part]) -> bool:
    """Whether something has only an estimate's price, such as a yearly mean, of which nobody says how good it is."""
    booked = (part.booked for part in parts if part.energy_j and part.settled is None and _is_average(part.booked))
    return any(price is not None and price.kind is Kind.ESTIMATED for price in booked)


def location_g(prices: Iterable[Price | None]) -> float | None:
    """Sum the grams of averages that count the same; None when there are none, or they count different things."""
    averages = [grams for (signal, *_), grams in by_measure(prices).items() if signal is Signal.AVERAGE]
    return averages[0] if len(averages) == 1 else None


def is_mixed(prices: Iterable[Price | None]) -> bool:
    """Whether averages that count different things are among these prices, so that they have no sum."""
    return sum(signal is Signal.AVERAGE for signal, *_ in by_measure(prices)) > 1


def by_measure(prices: Iterable[Price | None]) -> dict[Measure, float]:
    """Sum known grams by what their series count, over all sources and zones."""
    found: defaultdict[int, list[Price]] = defaultdict(list)
    for price in prices:
        if price is not None and price.emissions_g is not None:
            found[id(price.series)].append(price)  # few series, distinguished by identity, without comparing fields
    sums: defaultdict[Measure, list[float]] = defaultdict(list)
    for same in found.values():
        sums[same[0].series.measure] += [price.emissions_g for price in same if price.emissions_g is not None]
    return {key: fsum(grams) for key, grams in sums.items()}


def by_series(parts: Sequence[Part]) -> list[SeriesRow]:
    """Return each series that priced something, with its energy and grams as booked and as settled, largest first."""
    ids = dict.fromkeys(price.series for part in parts for price in (part.booked, part.settled) if price is not None)
    found = [_series_row(parts, each) for each in ids]
    return sorted(found, key=lambda row: -(row.settled_kwh or row.booked_kwh or 0.0))


def _series_row(parts: Sequence[Part], series: SeriesId) -> SeriesRow:
    booked = [(part, part.booked) for part in parts if part.booked and part.booked.series == series]
    settled = [(part, part.settled) for part in parts if part.settled and part.settled.series == series]
    return SeriesRow(
        provider=series.provider,
        zone=series.zone,
        signal=series.signal,
        accounting=series.accounting,
        basis=series.basis,
        gases=GASES.get(series.provider, NOT_STATED),
        booked_kwh=kwh(part for part, _ in booked),
        emissions_booked_g=_fold(price.emissions_g for _, price in booked),
        settled_kwh=kwh(part for part, _ in settled),
        emissions_settled_g=_fold(price.emissions_g for _, price in settled),
    )


def forecast_comparison(parts: Sequence[Part]) -> ForecastComparison:
    """Compare what was booked by a forecast of averages with what settled it, where both count the same."""
    both = [
        (part, part.booked.emissions_g, part.settled.emissions_g)
        for part in parts
        if part.booked is not None and part.settled is not None and part.booked.kind is Kind.FORECAST
        if part.booked.series.measure == part.settled.series.measure and _is_average(part.booked)
    ]
    known = [(part, booked, settled) for part, booked, settled in both if booked is not None and settled is not None]
    booked_g, settled_g = fsum(booked for _, booked, _ in known), fsum(settled for _, _, settled in known)
    error = fsum(abs(booked - settled) for _, booked, settled in known)
    return ForecastComparison(
        energy_kwh=fsum((part.energy_j or 0.0) / J_PER_KWH for part, _, _ in known) if known else None,
        booked_g=booked_g if known else None,
        settled_g=settled_g if known else None,
        difference_g=difference_of(booked_g, settled_g) if known else None,
        mean_absolute_error_pct=100 * error / settled_g if settled_g else None,
    )


def _is_average(price: Price | None) -> bool:
    return price is not None and price.series.signal is Signal.AVERAGE


def _ratio(parts: Sequence[Part], whole: float) -> float | None:
    return (facility_kwh(parts) or 0.0) / whole if whole else None


def _fold(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fsum(known) if known else None


def _join(words: Iterable[str]) -> str | None:
    return "; ".join(sorted(set(words))) or None

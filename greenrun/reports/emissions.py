"""The emissions of rows: location-based, marginal beside them, and what an earlier start would have emitted."""

from math import fsum, isnan

import numpy as np

from greenrun.core.accounting.grouping import Codes, Grouping, Truths, grouped
from greenrun.core.accounting.parts import KINDS, NO_SERIES, Parts, SmallIntegers
from greenrun.core.carbon.intensity import Floats, Kind, SeriesId, Signal
from greenrun.core.reference.gases import GASES, NOT_STATED
from greenrun.core.units import J_PER_KWH, difference_of, significant
from greenrun.reports.model import ForecastComparison, SeriesRow
from greenrun.reports.rows.groups import (
    Figures,
    GroupedParts,
    differences,
    ratios,
    series_names,
    series_sets,
    significants,
)

NOT_SUCCEEDED = "its job did not succeed"


def emissions(used: GroupedParts) -> Figures:
    """Return the location-based emissions of each group, the intensity that they are made of, and marginal ones."""
    parts, by = used.parts, used.by
    known = parts.is_known & is_average(parts)
    grams, facility = location_g(used), np.nan_to_num(used.facility_kwh(known))
    sets, has_grams = series_sets(used, known), ~np.isnan(grams)
    marginal_g, marginal_g_per_kwh, marginal_ratio = marginal(used)
    is_estimated, is_forecast = (parts.kind == KINDS.index(kind) for kind in (Kind.ESTIMATED, Kind.FORECAST))
    is_settled = parts.settled != NO_SERIES

    def part_of(where: Truths) -> Floats:
        return ratios(np.nan_to_num(used.facility_kwh(known & where)), facility)

    return {
        "grid_zone": series_names(sets, parts, lambda each: each.zone),
        "ci_provider": series_names(sets, parts, lambda each: each.provider),
        "ci_signal": series_names(sets, parts, lambda each: each.signal.value),
        "ci_accounting": series_names(sets, parts, lambda each: each.accounting and each.accounting.value),
        "ci_basis": series_names(sets, parts, lambda each: each.basis and each.basis.value),
        "ci_avg_g_per_kwh": significants(ratios(grams, facility)),
        "ci_min_g_per_kwh": np.where(has_grams, by.lowest(parts.lowest, known), np.nan),
        "ci_max_g_per_kwh": np.where(has_grams, by.highest(parts.highest, known), np.nan),
        "ci_estimated_ratio": part_of(is_estimated),
        "ci_forecast_ratio": part_of(is_forecast),
        "settled_ratio": part_of(is_settled),
        "unpriced_kwh": np.nan_to_num(used.kwh(~is_average(parts))),
        "emissions_location_g": grams,
        "emissions_booked_g": _average_g(used, parts.booked, parts.booked_g),
        "emissions_settled_g": _average_g(used, parts.settled, parts.settled_g),
        "emissions_marginal_g": marginal_g,
        "ci_marginal_g_per_kwh": marginal_g_per_kwh,
        "marginal_ratio": marginal_ratio,
    }


def brief(used: GroupedParts) -> Figures:
    """Return only the energy, the emissions and the intensity between them."""
    grams, facility = location_g(used), used.facility_kwh(is_average(used.parts))
    return {
        "it_energy_kwh": used.kwh(),
        "facility_energy_kwh": used.facility_kwh(),
        "ci_avg_g_per_kwh": significants(ratios(grams, np.nan_to_num(facility))),
        "emissions_location_g": grams,
    }


def compared_figures(used: GroupedParts, where: Truths | None = None) -> tuple[Floats, Floats, Floats]:
    """Return baseline, actual and avoided grams of the parts for which they are booked; NaN without any."""
    known = ~np.isnan(used.parts.baseline_g)
    known = known if where is None else known & where
    baseline, actual = (used.by.known_sums(grams, known) for grams in (used.parts.baseline_g, used.parts.compared_g))
    return baseline, actual, differences(baseline, actual)


def avoided(used: GroupedParts, succeeded: Truths, width_pct: Floats) -> Figures:
    """Return the figures of a comparison with an earlier start, of those parts for which it is booked.

    Only parts of runs that `succeeded` count: what a failed or cancelled one emitted was for nothing, whenever it ran.
    `width_pct` is the half-width of both.
    """
    baseline, actual, _ = compared_figures(used)
    own_baseline, _, difference = compared_figures(used, succeeded)
    _, _, others = compared_figures(used, ~succeeded)
    return {
        "baseline_emissions_g": baseline,
        "compared_emissions_g": actual,
        "avoided_g": difference,
        "avoided_baseline_g": own_baseline,
        "avoided_pct": percents(difference, own_baseline),
        "avoided_uncertainty_g": np.abs(difference) * width_pct / 100,
        "avoided_not_counted_g": others,
    }


def percents(differences_g: Floats, wholes_g: Floats) -> Floats:
    """Return differences in percent of wholes; NaN where one is not known or the whole is nothing."""
    return significants(ratios(100 * differences_g, wholes_g))


def percent_of(difference: float | None, whole: float | None) -> float | None:
    """Return a difference in percent of a whole; None where one is not known or the whole is nothing."""
    return significant(100 * difference / whole) if difference is not None and whole else None


def marginal(used: GroupedParts) -> tuple[Floats, Floats, Floats]:
    """Return grams by a marginal signal, per kWh, and the part of the known energy that they are of; NaN without any.

    They are those of the source beside the average; where there is none, of the source that all is priced by.
    """
    parts, by = used.parts, used.by
    beside = ~np.isnan(parts.marginal_g)
    alone = parts.is_priced(parts.priced_by, lambda each: each.signal is Signal.MARGINAL)
    has_beside = by.any(beside)
    bases, basis = grouped(each.basis for each in parts.series)
    of_bases = by.sets(basis[parts.priced_by], len(bases), alone) if len(bases) else np.zeros((by.count, 0))
    is_told = has_beside | (of_bases.sum(axis=1) <= 1)

    def either(of_beside: Floats, of_alone: Floats) -> Floats:
        return np.where(has_beside, by.known_sums(of_beside, beside), by.known_sums(of_alone, alone))

    grams = np.where(is_told, either(parts.marginal_g, parts.priced_g), np.nan)
    told_j = np.nan_to_num(either(parts.marginal_j, parts.energy_j))
    facility_j = np.nan_to_num(either(parts.marginal_j * parts.pue, parts.facility_j))
    known_j = by.sums(parts.energy_j)
    has_all = ~np.isnan(grams) & (known_j != 0) & (facility_j != 0)
    per_kwh, of_energy = ratios(grams * J_PER_KWH, facility_j), ratios(told_j, known_j)
    return (
        grams,
        np.where(has_all, significants(per_kwh), np.nan),
        np.where(has_all, significants(of_energy), np.nan),
    )


def is_average(parts: Parts) -> Truths:
    """Return where the best price is by a series of averages."""
    return parts.is_priced(parts.priced_by, _counts_averages)


def is_settled(used: GroupedParts) -> Truths:
    """Whether something has the average's settled price, and nothing that has a price of it waits for that."""
    priced = used.parts.is_known & is_average(used.parts)
    settled = used.parts.settled != NO_SERIES
    waits = priced & ~settled & (used.parts.energy_j != 0)
    return used.by.any(priced & settled) & ~used.by.any(waits)


def has_estimates(used: GroupedParts) -> Truths:
    """Whether something has only an estimate's price, such as a yearly mean, of which nobody says how good it is."""
    parts = used.parts
    by_estimate = (parts.booked_kind == KINDS.index(Kind.ESTIMATED)) & parts.is_priced(parts.booked, _counts_averages)
    has_energy = parts.is_known & (parts.energy_j != 0)
    return used.by.any(has_energy & (parts.settled == NO_SERIES) & by_estimate)


def location_g(used: GroupedParts) -> Floats:
    """Sum the grams of averages that count the same; NaN when there are none, or they count different things."""
    return _average_g(used, used.parts.priced_by, used.parts.priced_g)


def is_mixed(used: GroupedParts) -> Truths:
    """Whether averages that count different things are among the best prices, so that they have no sum."""
    return _measures(used, used.parts.priced_by, used.parts.priced_g) > 1


def by_series(parts: Parts) -> list[SeriesRow]:
    """Return each series that priced something, with its energy and grams as booked and as settled, largest first."""
    found = [_series_row(GroupedParts.whole(parts), at) for at in _series_in_turn(parts)]
    return sorted(found, key=lambda row: -(row.settled_kwh or row.booked_kwh or 0.0))


def forecast_comparison(parts: Parts) -> ForecastComparison:
    """Compare what was booked by a forecast of averages with what settled it, where both count the same."""
    measures, measure = grouped(each.measure for each in parts.series)
    both = (parts.booked != NO_SERIES) & (parts.settled != NO_SERIES)
    both &= (parts.booked_kind == KINDS.index(Kind.FORECAST)) & parts.is_priced(parts.booked, _counts_averages)
    if len(measures):
        both &= measure[parts.booked] == measure[parts.settled]
    both &= ~np.isnan(parts.booked_g) & ~np.isnan(parts.settled_g)
    if not both.any():
        return ForecastComparison(
            energy_kwh=None, booked_g=None, settled_g=None, difference_g=None, mean_absolute_error_pct=None
        )
    sums = GroupedParts.whole(parts).by.sums
    booked_g, settled_g = float(sums(parts.booked_g, both)[0]), float(sums(parts.settled_g, both)[0])
    hours, hour = np.unique(parts.hour, return_inverse=True)  # so that it is the same of slices that were merged
    error_g = fsum(np.abs(Grouping(hour, len(hours)).sums(parts.booked_g - parts.settled_g, both)).tolist())
    return ForecastComparison(
        energy_kwh=float(sums(parts.energy_j, both)[0]) / J_PER_KWH,
        booked_g=booked_g,
        settled_g=settled_g,
        difference_g=difference_of(booked_g, settled_g),
        mean_absolute_error_pct=100 * error_g / settled_g if settled_g else None,
    )


def _counts_averages(series: SeriesId) -> bool:
    return series.signal is Signal.AVERAGE


def _average_g(used: GroupedParts, priced_by: SmallIntegers, grams: Floats) -> Floats:
    is_one = _measures(used, priced_by, grams) == 1
    averages = used.parts.is_priced(priced_by, _counts_averages)
    return np.where(is_one, used.by.known_sums(grams, averages), np.nan)


def _measures(used: GroupedParts, priced_by: SmallIntegers, grams: Floats) -> Codes:
    """Return how many kinds of averages have grams in each group: what differs in what it counts is never summed."""
    measures, measure = grouped(each.measure for each in used.parts.series)
    if not measures:
        return np.zeros(used.by.count, dtype=np.int64)
    told = used.parts.is_priced(priced_by, _counts_averages) & ~np.isnan(grams)
    return np.asarray(used.by.sets(measure[priced_by], len(measures), told).sum(axis=1))


def _series_in_turn(parts: Parts) -> list[int]:
    return [at for at in range(len(parts.series)) if ((parts.booked == at) | (parts.settled == at)).any()]


def _series_row(used: GroupedParts, at: int) -> SeriesRow:
    parts, series = used.parts, used.parts.series[at]
    booked, settled = parts.booked == at, parts.settled == at
    return SeriesRow(
        provider=series.provider,
        zone=series.zone,
        signal=series.signal,
        accounting=series.accounting,
        basis=series.basis,
        gases=GASES.get(series.provider, NOT_STATED),
        booked_kwh=only(used.kwh(booked)),
        emissions_booked_g=only(used.by.known_sums(parts.booked_g, booked)),
        settled_kwh=only(used.kwh(settled)),
        emissions_settled_g=only(used.by.known_sums(parts.settled_g, settled)),
    )


def only(values: Floats) -> float | None:
    """Return the value of the only group; None where it is not known."""
    value = float(values[0])
    return None if isnan(value) else value

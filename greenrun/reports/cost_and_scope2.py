"""Figures in addition to location-based emissions: cost, market-based and embodied emissions, losses, water.

Each is a basis of its own, unknown unless it is set, and in no sum with another but `emissions_total_g`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from math import fsum, isfinite

import numpy as np

from greenrun.core.accounting.embodied import Embodied
from greenrun.core.accounting.grouping import Codes, Grouping, Truths, grouped
from greenrun.core.accounting.market_based import ROUNDING, Contract, Contracts, Matched
from greenrun.core.accounting.parts import COMPONENTS, Integers, Parts, hour_of
from greenrun.core.accounting.step_function import Steps
from greenrun.core.carbon.intensity import Floats
from greenrun.core.energy.model import Component, Device
from greenrun.core.formatting import energy_text, precise_percent_text
from greenrun.core.units import J_PER_KWH, significant
from greenrun.reports.figure_models import CostFigures
from greenrun.reports.model import Note, Row
from greenrun.reports.period_models import Instrument
from greenrun.reports.rows.groups import Figures, GroupedParts, joined_names, ratios
from greenrun.reports.rows.members import Held

HOUR = timedelta(hours=1)
RESIDUAL = "residual mix"

COST_METHOD = (
    "Costs are the facility's energy of each hour (UTC) x the mean price of that hour; where prices change within an "
    "hour, its energy counts as used evenly."
)
MARKET_METHOD = (
    "Market-based emissions are the facility's energy of each hour x the factors of the contracts that cover it, and "
    "the residual mix for what none covers; no location-based figure is in them."
)
EMBODIED_METHOD = "Embodied emissions are the hours in which runs held GPUs x a factor per GPU and hour ({source})."

Prices = Mapping[datetime, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """What is set: the price of a kWh over a time, contracts (read again for each report), embodied grams, ratios.

    `attribution` is what the source of prices asks to be shown.
    """

    price: Callable[[datetime, datetime], Steps] | None = None
    currency: str | None = None
    attribution: str | None = None
    contracts: Callable[[], Contracts] | None = None
    embodied: Embodied | None = None
    td_loss_ratio: float = 0.0
    water_l_per_kwh: float | None = None

    def rates(self, hours: Integers, devices: Mapping[str, Device]) -> "Rates":
        """Return what is known of these hours (counted from 1970, in order) and devices; raise StoreError."""
        starts = [hour_of(hour) for hour in hours.tolist()]
        contracts, prices = self.contracts() if self.contracts else None, self.prices(starts)
        return Rates(
            bases=self,
            hours=hours,
            prices=None if prices is None else np.array([prices[start] for start in starts], dtype=np.float64),
            matched=contracts.matched_each(starts, HOUR) if contracts else None,
            residual_g_per_kwh=contracts.residual_g_per_kwh if contracts else None,
            by_contract=_by_contract(contracts, starts) if contracts else (),
            devices=devices,
        )

    def prices(self, hours: Iterable[datetime]) -> dict[datetime, float | None] | None:
        """Return the mean price of each hour, None where it is not known; None where no price is set."""
        if self.price is None:
            return None
        hours = sorted(hours)
        if not hours:
            return {}
        starts_s = np.array([hour.timestamp() for hour in hours])
        means = self.price(hours[0], hours[-1] + HOUR).means(starts_s, starts_s + HOUR.total_seconds())
        priced = zip(hours, means.tolist(), strict=True)
        return {hour: mean if isfinite(mean) else None for hour, mean in priced}


@dataclass(frozen=True, kw_only=True, eq=False)  # without slots: what is looked up often is kept
class Rates:
    """What is set, with the prices and contracts of each of `hours`; None where none are set."""

    bases: Bases = field(default_factory=Bases)
    hours: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    prices: Floats | None = None
    matched: Sequence[Matched] | None = None
    residual_g_per_kwh: float | None = None
    devices: Mapping[str, Device] = field(default_factory=dict)
    by_contract: Sequence[tuple[Contract, Sequence[Matched]]] = ()

    def rated(self, parts: Parts) -> Parts:
        """Return parts with their costs and what contracts make of them, so that these, too, are sums of columns."""
        at = np.searchsorted(self.hours, parts.hour)
        kwh = parts.facility_j / J_PER_KWH
        cost = np.full(len(parts), np.nan) if self.prices is None else kwh * self.prices[at]
        sources, source, *matched = self._by_hour
        covered, g_per_kwh = (column[at] for column in matched)
        return replace(
            parts,
            sources=sources or ((),),
            cost=cost,
            covered_j=parts.facility_j * covered,
            uncovered_j=parts.facility_j * np.maximum(0.0, 1 - covered),
            market_g=kwh * g_per_kwh,
            source=source[at].astype(np.int16),
        )

    @cached_property
    def _by_hour(self) -> tuple[Sequence[tuple[str, ...]], Codes, Floats, Floats]:
        """The sources that contracts have, and of each hour which of these, what part is covered, and its factor."""
        matched = self.matched if self.matched is not None else [Matched(covered=0.0, g_per_kwh=0.0)] * len(self.hours)
        sources, source = grouped(row.sources for row in matched)
        covered = np.array([row.covered for row in matched], dtype=np.float64)
        return sources, source, covered, np.array([row.g_per_kwh for row in matched], dtype=np.float64)

    def instruments(self, parts: Parts) -> list[Instrument]:
        """Return what market-based emissions of these parts are made of: each contract, and the residual mix."""
        if self.matched is None:
            return []
        by_hour = Grouping(np.searchsorted(self.hours, parts.hour), len(self.hours))
        used = by_hour.sums(parts.facility_j) / J_PER_KWH
        total = float(fsum(used.tolist()))
        if total <= 0:
            return []
        found = [_instrument(row.source, row.instrument, total, used, hours) for row, hours in self.by_contract]
        rest = fsum(kwh * max(0.0, 1 - row.covered) for kwh, row in zip(used.tolist(), self.matched, strict=True))
        if rest > ROUNDING * total:
            factor = self.residual_g_per_kwh
            found.append(
                Instrument(
                    source=RESIDUAL,
                    instrument=None,
                    facility_kwh=rest,
                    share_ratio=rest / total,
                    g_per_kwh=factor,
                    emissions_g=None if factor is None else rest * factor,
                )
            )
        return found

    def figures(self, used: GroupedParts, rows: Figures, held: Held) -> Figures:
        """Return the figures of all bases for rows of which the others are known; `held`: for how long which GPUs."""
        return {**self._cost(used), **self._market(used), **self._lifecycle(rows, used, held)}

    def _cost(self, used: GroupedParts) -> Figures:
        if self.prices is None:
            none = np.full(used.by.count, np.nan)
            return {"cost": none, "currency": None, "cost_missing_kwh": none}
        parts = used.parts
        missing = parts.is_known & np.isnan(parts.cost)
        return {
            "cost": used.by.known_sums(parts.cost),
            "currency": self.bases.currency,
            "cost_missing_kwh": used.by.sums(parts.facility_j, missing) / J_PER_KWH,
        }

    def missing(self, total: Row) -> dict[str, str]:
        """Return of each of these figures that the total lacks why that is so."""
        why_cost, why_market = _why_no_cost(is_set=self.prices is not None), _why_no_market(total.market_covered_ratio)
        is_made = self.bases.embodied is not None
        reasons = {
            "cost": why_cost,
            "currency": why_cost,
            "cost_missing_kwh": why_cost,
            "emissions_market_g": why_market,
            "market_factor_source": why_market,
            "market_covered_ratio": why_market,
            "embodied_g": f"no embodied emissions are set for {'all hardware in use' if is_made else 'the hardware'}",
            "emissions_total_g": "it needs the location-based and the embodied emissions",
            "td_loss_g": "no ratio of losses is set, or the location-based emissions are not known",
            "water_l": "no water factor is set, or no energy is known",
        }
        return {name: why for name, why in reasons.items() if getattr(total, name) is None}

    def method(self) -> list[str]:
        """Return how those of these figures are made that are set."""
        methods = [COST_METHOD] if self.prices is not None else []
        methods += [MARKET_METHOD] if self.matched is not None else []
        if self.bases.embodied is not None:
            methods.append(EMBODIED_METHOD.format(source=self.bases.embodied.source))
        return methods

    def notes(self, total: Row) -> list[Note]:
        """Return what a reader must know of them."""
        if self.prices is None or not total.cost_missing_kwh:
            return []
        missing = energy_text(total.cost_missing_kwh * J_PER_KWH)
        note = f"No price of electricity is known for {missing}, whose cost is in no figure."
        return [Note(field="cost", note=note)]

    def attribution(self, total: Row) -> list[str]:
        """Return what the source of prices asks to be shown, where its prices are in the figures."""
        return [self.bases.attribution] if self.bases.attribution and total.cost is not None else []

    def _market(self, used: GroupedParts) -> Figures:
        """Return the grams, whose factors they are, and the ratio of known energy that contracts cover.

        Without a residual mix there are no grams unless contracts cover everything.
        """
        parts, by = used.parts, used.by
        total_j = by.sums(parts.facility_j)
        has_any = np.full(by.count, self.matched is not None) & (total_j > 0)
        covered = np.where(has_any, np.minimum(1.0, ratios(by.sums(parts.covered_j), total_j)), np.nan)
        residual = self.residual_g_per_kwh
        is_whole = covered >= 1 - ROUNDING
        grams = by.sums(parts.market_g) + by.sums(parts.uncovered_j) / J_PER_KWH * (residual or 0.0)
        is_told = has_any & (is_whole | (residual is not None))
        names = sorted({name for each in parts.sources for name in each})
        of_source = np.array([[name in each for name in names] for each in parts.sources], dtype=np.int64)
        of_source = of_source.reshape(len(parts.sources), len(names))
        has_energy = parts.is_known & (parts.facility_j != 0)
        counted = by.sets(parts.source, len(parts.sources), has_energy).astype(np.int64) @ of_source
        by_residual = ~is_whole & (residual is not None)
        sets = np.column_stack([counted > 0, by_residual]) & has_any[:, np.newaxis]
        return {
            "emissions_market_g": np.where(is_told, grams, np.nan),
            "market_factor_source": joined_names(sets, [*names, RESIDUAL]),
            "market_covered_ratio": covered,
        }

    def _lifecycle(self, rows: Figures, used: GroupedParts, held: Held) -> Figures:
        parts, by = used.parts, used.by
        users = by.sets(parts.component, len(COMPONENTS), parts.is_held)
        made_g = self._embodied_g(held)
        embodied_g = np.where(users.any(axis=1) & ~held.is_listed.any(axis=1), np.nan, made_g)  # only GPUs have factors
        location_g, loss_ratio = rows["emissions_location_g"], self.bases.td_loss_ratio
        loss_g = location_g * loss_ratio if loss_ratio else np.full(by.count, np.nan)
        litres = self.bases.water_l_per_kwh
        return {
            "embodied_g": embodied_g,
            "embodied_lacks": self._without_factor(users & ~np.isnan(embodied_g)[:, np.newaxis]),
            "td_loss_g": loss_g,
            "emissions_total_g": location_g + np.nan_to_num(loss_g) + embodied_g,
            "water_l": rows["it_energy_kwh"] * (np.nan if litres is None else litres),
        }

    def _without_factor(self, users: Truths) -> list[str | None]:
        """Return which of the components that runs used have no factor, so that their making is in no figure."""
        is_whole = self.bases.embodied is not None and self.bases.embodied.is_whole
        others = np.array([each is not Component.GPU and not is_whole for each in COMPONENTS])
        return joined_names(users & others, [each.value for each in COMPONENTS])

    def _embodied_g(self, held: Held) -> Floats:
        """Return the part of the GPUs' making that falls to the time they were held; NaN where a factor is missing."""
        if self.bases.embodied is None:
            return np.full(len(held.seconds), np.nan)
        factors = [self._g_per_hour(self.bases.embodied, device) for device in held.devices]
        grams = held.seconds / HOUR.total_seconds() * np.array(factors, dtype=np.float64)
        return np.asarray(np.where(held.seconds > 0, grams, 0.0).sum(axis=1))

    def _g_per_hour(self, embodied: Embodied, device: str) -> float | None:
        known = self.devices.get(device)
        return embodied.factor(known.model if known else None)


def _by_contract(contracts: Contracts, starts: Sequence[datetime]) -> list[tuple[Contract, Sequence[Matched]]]:
    alone = zip(contracts.rows, contracts.each(), strict=True)
    return [(row, one.matched_each(starts, HOUR)) for row, one in alone]


def _instrument(
    source: str, instrument: str | None, total: float, used: Floats, hours: Sequence[Matched]
) -> Instrument:
    pairs = list(zip(used.tolist(), hours, strict=True))
    covered, grams = fsum(kwh * row.covered for kwh, row in pairs), fsum(kwh * row.g_per_kwh for kwh, row in pairs)
    return Instrument(
        source=source,
        instrument=instrument,
        facility_kwh=covered,
        share_ratio=covered / total,
        g_per_kwh=significant(grams / covered) if covered else None,
        emissions_g=grams,
    )


def cost(used: Iterable[tuple[datetime, float]], prices: Prices | None, currency: str | None) -> CostFigures:
    """Return what facility energies in kWh cost, each used in an hour, and the kWh whose price is not known.

    All is None where no price is set.
    """
    if prices is None:
        return CostFigures()
    priced = [(kwh, prices.get(hour)) for hour, kwh in used]
    known = [kwh * price for kwh, price in priced if price is not None]
    missing = fsum(kwh for kwh, price in priced if price is None)
    return CostFigures(cost=fsum(known) if known else None, currency=currency, cost_missing_kwh=missing)


def _why_no_cost(*, is_set: bool) -> str:
    return "no price is known for the hours in which energy was used" if is_set else "no price of electricity is set"


def _why_no_market(covered: float | None) -> str:
    if covered is None:
        return "no contract factors are set, or no energy is known"
    return (
        f"contracts cover {precise_percent_text(covered)} of the energy, and the residual mix of the rest "
        "(accounting.residual_g_per_kwh) is not set"
    )

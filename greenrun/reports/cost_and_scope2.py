"""Figures in addition to location-based emissions: cost, market-based and embodied emissions, losses, water.

Each is a basis of its own, unknown unless it is set, and in no sum with another but `emissions_total_g`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import fsum, isfinite

import numpy as np

from greenrun.core.accounting.embodied import Embodied
from greenrun.core.accounting.market_based import ROUNDING, Contract, Contracts, Matched
from greenrun.core.accounting.period import Part
from greenrun.core.accounting.step_function import Steps
from greenrun.core.energy.model import Component, Device
from greenrun.core.formatting import energy_text, precise_percent_text
from greenrun.core.units import J_PER_KWH, significant
from greenrun.reports.energy import held_by_gpu
from greenrun.reports.figure_models import CostFigures, InventoryFigures, LifecycleFigures, MarketFigures
from greenrun.reports.model import Note, Row
from greenrun.reports.period_models import Instrument

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

    def rates(self, hours: Iterable[datetime], devices: Mapping[str, Device]) -> "Rates":
        """Return what is known of these hours (starts, UTC) and of these devices; raise StoreError."""
        starts = sorted(set(hours))
        contracts = self.contracts() if self.contracts else None
        return Rates(
            bases=self,
            prices=self.prices(starts),
            matched=dict(zip(starts, contracts.matched_each(starts, HOUR), strict=True)) if contracts else None,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What is set, with the prices and contracts of each hour of a period; None where none are set."""

    bases: Bases = field(default_factory=Bases)
    prices: Prices | None = None
    matched: Mapping[datetime, Matched] | None = None
    residual_g_per_kwh: float | None = None
    devices: Mapping[str, Device] = field(default_factory=dict)
    by_contract: Sequence[tuple[Contract, Mapping[datetime, Matched]]] = ()

    def instruments(self, parts: Sequence[Part]) -> list[Instrument]:
        """Return what market-based emissions of these parts are made of: each contract, and the residual mix."""
        used = [(_facility_kwh(part), part.hour) for part in _known(parts)]
        total = fsum(kwh for kwh, _ in used)
        if self.matched is None or total <= 0:
            return []
        found = [
            _instrument(row.source, row.instrument, total, [(kwh, hours[hour]) for kwh, hour in used])
            for row, hours in self.by_contract
        ]
        rest = fsum(kwh * max(0.0, 1 - self.matched[hour].covered) for kwh, hour in used)
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

    def figures(
        self, parts: Sequence[Part], row: InventoryFigures, gpu_s: Mapping[str, float] | None
    ) -> tuple[CostFigures, MarketFigures, LifecycleFigures]:
        """Return the figures of all bases for a row; `gpu_s`: how long each GPU was held, None: as the parts say."""
        return (
            cost([(part.hour, _facility_kwh(part)) for part in _known(parts)], self.prices, self.bases.currency),
            self._market(parts),
            self._lifecycle(row, parts, held_by_gpu(parts) if gpu_s is None else gpu_s),
        )

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

    def _market(self, parts: Sequence[Part]) -> MarketFigures:
        """Return the grams, whose factors they are, and the ratio of known energy that contracts cover.

        Without a residual mix there are no grams unless contracts cover everything.
        """
        used = [(_facility_kwh(part), self.matched[part.hour]) for part in _known(parts)] if self.matched else []
        total = fsum(kwh for kwh, _ in used)
        if total <= 0:
            return MarketFigures()
        covered = min(1.0, fsum(kwh * row.covered for kwh, row in used) / total)
        is_whole, residual = covered >= 1 - ROUNDING, self.residual_g_per_kwh
        by_contract = fsum(kwh * row.g_per_kwh for kwh, row in used)
        by_residual = fsum(kwh * max(0.0, 1 - row.covered) for kwh, row in used) * (residual or 0.0)
        sources = {source for kwh, row in used if kwh for source in row.sources}
        if not is_whole and residual is not None:
            sources.add(RESIDUAL)
        return MarketFigures(
            emissions_market_g=by_contract + by_residual if is_whole or residual is not None else None,
            market_factor_source="; ".join(sorted(sources)) or None,
            market_covered_ratio=covered,
        )

    def _lifecycle(self, row: InventoryFigures, parts: Sequence[Part], held_s: Mapping[str, float]) -> LifecycleFigures:
        users = {part.component for part in parts if part.run_id is not None}
        embodied_g = None if users and not held_s else self._embodied_g(held_s)  # only GPUs have factors
        location_g, energy_kwh = row.emissions_location_g, row.it_energy_kwh
        loss_ratio, water_l_per_kwh = self.bases.td_loss_ratio, self.bases.water_l_per_kwh
        loss_g = location_g * loss_ratio if location_g is not None and loss_ratio else None
        total_g = None if location_g is None or embodied_g is None else location_g + (loss_g or 0.0) + embodied_g
        return LifecycleFigures(
            embodied_g=embodied_g,
            embodied_lacks=None if embodied_g is None else self._without_factor(users),
            td_loss_g=loss_g,
            emissions_total_g=total_g,
            water_l=energy_kwh * water_l_per_kwh if energy_kwh is not None and water_l_per_kwh is not None else None,
        )

    def _without_factor(self, users: Iterable[Component]) -> str | None:
        """Return which of the components that runs used have no factor, so that their making is in no figure."""
        is_whole = self.bases.embodied is not None and self.bases.embodied.is_whole
        others = [] if is_whole else sorted(each.value for each in users if each is not Component.GPU)
        return "; ".join(others) or None

    def _embodied_g(self, held_s: Mapping[str, float]) -> float | None:
        """Return the part of the GPUs' making that falls to the time they were held; None where a factor is missing."""
        if self.bases.embodied is None:
            return None
        grams = [
            self._made_g(self.bases.embodied, device, seconds) for device, seconds in held_s.items() if seconds > 0
        ]
        known = [each for each in grams if each is not None]
        return fsum(known) if len(known) == len(grams) else None

    def _made_g(self, embodied: Embodied, device: str, seconds: float) -> float | None:
        known = self.devices.get(device)
        g_per_hour = embodied.factor(known.model if known else None)
        return None if g_per_hour is None else seconds / HOUR.total_seconds() * g_per_hour


def _by_contract(contracts: Contracts, starts: Sequence[datetime]) -> list[tuple[Contract, Mapping[datetime, Matched]]]:
    alone = zip(contracts.rows, contracts.each(), strict=True)
    return [(row, dict(zip(starts, one.matched_each(starts, HOUR), strict=True))) for row, one in alone]


def _instrument(source: str, instrument: str | None, total: float, used: Sequence[tuple[float, Matched]]) -> Instrument:
    covered = fsum(kwh * row.covered for kwh, row in used)
    grams = fsum(kwh * row.g_per_kwh for kwh, row in used)
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


def _known(parts: Iterable[Part]) -> list[Part]:
    return [part for part in parts if part.energy_j is not None]


def _facility_kwh(part: Part) -> float:
    return (part.energy_j or 0.0) * part.pue / J_PER_KWH


def _why_no_cost(*, is_set: bool) -> str:
    return "no price is known for the hours in which energy was used" if is_set else "no price of electricity is set"


def _why_no_market(covered: float | None) -> str:
    if covered is None:
        return "no contract factors are set, or no energy is known"
    return (
        f"contracts cover {precise_percent_text(covered)} of the energy, and the residual mix of the rest "
        "(accounting.residual_g_per_kwh) is not set"
    )

"""The bases of accounting beside the location's average, as they are set, and what they are in a report's period."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

import numpy as np

from greenrun.core.accounting.embodied import Embodied
from greenrun.core.accounting.market_based import Contracts, Matched
from greenrun.core.accounting.period import Part
from greenrun.core.accounting.step_function import Steps
from greenrun.core.energy.model import Device
from greenrun.reports import cost, embodied, market

Figures = dict[str, Any]

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bases:
    """What is set: the price of a kWh over a time, contracts (read anew for each report), embodied grams, ratios.

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
        told = zip(hours, means.tolist(), strict=True)
        return {hour: mean if isfinite(mean) else None for hour, mean in told}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What is set, with the prices and contracts of each hour of a period; None where none are set."""

    bases: Bases = field(default_factory=Bases)
    prices: Mapping[datetime, float | None] | None = None
    matched: Mapping[datetime, Matched] | None = None
    residual_g_per_kwh: float | None = None
    devices: Mapping[str, Device] = field(default_factory=dict)

    def figures(self, parts: Sequence[Part], row: Figures, gpu_s: Mapping[str, float] | None) -> Figures:
        """Return the figures of all bases for a row; `gpu_s`: how long each GPU was held, None: as the parts say."""
        held_s = embodied.held_by_gpu(parts) if gpu_s is None else gpu_s
        made = embodied.embodied(held_s, self._factor if self.bases.embodied else None)
        ratios = self.bases.td_loss_ratio, self.bases.water_l_per_kwh
        return {
            **cost.cost(parts, self.prices, self.bases.currency),
            **market.market(parts, self.matched, self.residual_g_per_kwh),
            **made,
            **embodied.beside(row, made["embodied_g"], *ratios),
        }

    def missing(self, total: Figures) -> dict[str, str]:
        """Return of each of these figures that the total lacks why that is so."""
        why_cost, why_market = cost.why_missing(self.prices is not None), market.why_missing(total)
        is_made = self.bases.embodied is not None
        reasons = {
            "cost": why_cost,
            "currency": why_cost,
            "cost_missing_kwh": why_cost,
            "emissions_market_g": why_market,
            "market_factor_source": why_market,
            "market_covered_ratio": why_market,
            "embodied_g": f"no embodied emissions are set for {'a model in use' if is_made else 'the hardware'}",
            "emissions_total_g": "it needs the location-based and the embodied emissions",
            "td_loss_g": "no ratio of losses is set, or the location-based emissions are not known",
            "water_l": "no water factor is set, or no energy is known",
        }
        return {name: why for name, why in reasons.items() if total[name] is None}

    def method(self) -> list[str]:
        """Return how those of these figures are made that are set."""
        told = [cost.METHOD] if self.prices is not None else []
        told += [market.METHOD] if self.matched is not None else []
        if self.bases.embodied is not None:
            told.append(embodied.METHOD.format(source=self.bases.embodied.source))
        return told

    def notes(self, total: Figures) -> list[dict[str, str]]:
        """Return what a reader must know of them."""
        told = cost.note(total) if self.prices is not None else ""
        return [{"field": "cost", "note": told}] if told else []

    def attribution(self, total: Figures) -> list[str]:
        """Return what the source of prices asks to be shown, where its prices are in the figures."""
        return [self.bases.attribution] if self.bases.attribution and total["cost"] is not None else []

    def _factor(self, device: str) -> float | None:
        known = self.devices.get(device)
        return self.bases.embodied.factor(known.model if known else None) if self.bases.embodied else None

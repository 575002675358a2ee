"""Where carbon intensity comes from: one file per source, and one table that lists them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from greenrun.core.errors import ConfigError
from greenrun.providers.cached import Cached, at_source
from greenrun.providers.carbon_aware_sdk import CarbonAwareSdk, CarbonAwareSdkSettings
from greenrun.providers.electricity_maps import ElectricityMaps, ElectricityMapsSettings
from greenrun.providers.energinet import Energinet, EnerginetSettings
from greenrun.providers.energy_charts import EnergyCharts, EnergyChartsSettings
from greenrun.providers.entsoe.entsoe import Entsoe, EntsoeSettings
from greenrun.providers.file import FileProvider
from greenrun.providers.json_rates import JsonRates, JsonSettings
from greenrun.providers.provider import Anchor, Provider
from greenrun.providers.settings import FileSettings, ProviderSettings
from greenrun.providers.static import Static, StaticSettings
from greenrun.providers.uk_carbon_intensity import UkCarbonIntensity, UkCarbonIntensitySettings
from greenrun.providers.watttime import WattTime, WattTimeSettings

__all__ = ["SOURCES", "Anchor", "Provider", "Source", "at_source", "open_provider"]

SETTLE_AFTER = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A kind of provider: what it can be told, and how it is opened (name, settings, anchor, settle_after)."""

    settings: type[ProviderSettings]
    open: Callable[[str, Any, Anchor, timedelta], Provider]


SOURCES: dict[str, Source] = {
    "file": Source(settings=FileSettings, open=FileProvider),
    "static": Source(settings=StaticSettings, open=Static),
    "uk_carbon_intensity": Source(settings=UkCarbonIntensitySettings, open=UkCarbonIntensity),
    "electricity_maps": Source(settings=ElectricityMapsSettings, open=ElectricityMaps),
    "watttime": Source(settings=WattTimeSettings, open=WattTime),
    "energinet": Source(settings=EnerginetSettings, open=Energinet),
    "carbon_aware_sdk": Source(settings=CarbonAwareSdkSettings, open=CarbonAwareSdk),
    "json": Source(settings=JsonSettings, open=JsonRates),
    "energy_charts": Source(settings=EnergyChartsSettings, open=EnergyCharts),
    "entsoe": Source(settings=EntsoeSettings, open=Entsoe),
}


def open_provider(
    name: str, settings: ProviderSettings, anchor: Anchor, settle_after: timedelta = SETTLE_AFTER
) -> Provider:
    """Open the provider called `name`; raise ConfigError for an unknown kind, ProviderError when it is no use.

    `anchor(key)` returns the instant first given for a key (`Store.anchor`); a value measured by a live source counts
    as final `settle_after` past its slot's end. What is asked over HTTP is cached for as long as it can have no news.
    """
    source = SOURCES.get(settings.kind)
    if source is None:
        raise ConfigError(f"provider.{name}.kind: unknown kind {settings.kind!r}; known are {', '.join(SOURCES)}")
    opened = source.open(name, settings, anchor, settle_after)
    return Cached(opened) if opened.web is not None else opened

"""ENTSO-E's Transparency Platform: the generation mix and its forecast, from which greenrun computes emissions.

The method is in docs/providers.md. In doubt there is no value: where a significant part is missing, the slot is a hole.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from math import isnan, nan
from typing import Literal

from greenrun.core.carbon.intensity import Accounting, Basis, Forecast, Kind, Series, SeriesId
from greenrun.core.errors import ProviderUnavailable
from greenrun.core.reference.emission_factors import Fuel, intensity_g_per_kwh
from greenrun.providers.entsoe.areas import AREAS
from greenrun.providers.entsoe.document import CELL, LOAD, Cells, cell_of, power_of
from greenrun.providers.payload import Point, forecast_of, history_of
from greenrun.providers.provider import Anchor, ProviderKind, refuse_other
from greenrun.providers.settings import KeySettings, Url, read_key
from greenrun.providers.web import Web

# The fuels of the platform's kinds of generation; other kinds are UNKNOWN.
FUELS = {
    "B01": Fuel.BIOMASS, "B02": Fuel.COAL, "B03": Fuel.COAL, "B04": Fuel.GAS, "B05": Fuel.COAL, "B06": Fuel.OIL,
    "B07": Fuel.COAL, "B08": Fuel.COAL, "B09": Fuel.GEOTHERMAL, "B11": Fuel.HYDRO, "B12": Fuel.HYDRO,
    "B13": Fuel.HYDRO, "B14": Fuel.NUCLEAR, "B15": Fuel.BIOMASS, "B16": Fuel.SOLAR, "B18": Fuel.WIND, "B19": Fuel.WIND,
}  # fmt: skip
STORES = frozenset({"B10", "B25"})  # pumped storage and batteries generate no power
LABEL = "computed by greenrun"
ATTRIBUTION = "Source: ENTSO-E Transparency Platform (transparency.entsoe.eu), CC BY 4.0; factors: IPCC AR5"
AHEAD = timedelta(days=2)
DAY = timedelta(days=1)
MISSING_SHARE = 0.01  # of the usual generation; where kinds with a larger share are missing, there is no value
MOST_OF_LOAD = 10  # wind and solar may exceed a small zone's load several times; beyond this, a unit must be wrong
PACE = timedelta(seconds=1)  # 400 requests in a minute get the IP address banned for ten

_LATER = "what is known stays in use"


class EntsoeSettings(KeySettings):
    """[provider.NAME] with kind "entsoe"; `basis` selects the emission factors."""

    kind: Literal["entsoe"] = "entsoe"
    url: Url = "https://web-api.tp.entsoe.eu"
    basis: Basis = Basis.LIFECYCLE


class Entsoe:
    """The intensity of a European zone's generation, from its forecast and measured mix, in g CO2/kWh."""

    zones: Mapping[str, str] = {zone: name for zone, (_, name) in AREAS.items()}
    refresh_every = timedelta(minutes=30)

    def __init__(self, name: str, settings: EntsoeSettings, anchor: Anchor, settle_after: timedelta) -> None:
        self.name, self.label, self.settle_after = name, settings.label or LABEL, settle_after
        self.attribution = settings.attribution or ATTRIBUTION
        self._key, self._own, self._basis = read_key(settings.key_file), settings.zone, settings.basis
        self.web = Web(name, settings, every=PACE, secrets=(self._key,), headers={"Accept": "application/xml"})

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the forecast from day-ahead wind, solar and load, and the last day's mix; raise ProviderError."""
        area = self._area(zone)
        renewable = self._asked("A69", "A01", area, now, now + AHEAD)
        load = self._asked("A65", "A01", area, now, now + AHEAD, used=True)[LOAD]
        mix = rest_of(self._asked("A75", "A16", area, now - 2 * DAY, now), renewable)
        if not any(mix.values()):
            raise ProviderUnavailable(f"{self.name} does not tell how {zone} generated power of late; {_LATER}")
        points = expected(load, renewable, mix, self._basis)
        return forecast_of(self._id(zone), points, now, dropped=self.web.dropped, step=CELL)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the intensity of the mix measured in `[start, end)`; raise ProviderError.

        The day before is fetched too, to notice a kind that is no longer reported.
        """
        power = self._asked("A75", "A16", self._area(zone), start - DAY, min(end, now) + CELL)
        points = generated(power, self._basis)
        return history_of(self._id(zone), points, start, end, now, dropped=self.web.dropped, step=CELL)

    def _asked(
        self, document: str, process: str, area: str, start: datetime, end: datetime, *, used: bool = False
    ) -> dict[str, Cells]:
        between = {"periodStart": f"{cell_of(start):%Y%m%d%H%M}", "periodEnd": f"{cell_of(end):%Y%m%d%H%M}"}
        asked = {
            "documentType": document,
            "processType": process,
            "outBiddingZone_Domain" if used else "in_Domain": area,
        }
        answer = self.web.get("/api", {"securityToken": self._key, **asked, **between})
        return power_of(answer, area, start, end, used=used, tell=self.web.warn)

    def _area(self, zone: str) -> str:
        refuse_other(self.name, self._own, zone, AREAS)
        return AREAS[zone][0]

    def _id(self, zone: str) -> SeriesId:
        return SeriesId(provider=self.name, zone=zone, accounting=Accounting.PRODUCTION, basis=self._basis)


PROVIDER = ProviderKind(settings=EntsoeSettings, open=Entsoe, zones=Entsoe.zones, computes=True)


def expected(load: Cells, renewable: Mapping[str, Cells], mix: Mapping[Fuel, float], basis: Basis) -> Iterator[Point]:
    """Yield the intensity of each forecast cell: wind and solar as forecast, the rest of the load from `mix`.

    None if one of the forecasts is missing, NaN if one is implausible. If wind and solar exceed the load, nothing else
    is generated.
    """
    for at in sorted(load.keys() & set().union(*renewable.values())):
        forecast = {kind: cells[at] for kind, cells in renewable.items() if at in cells}
        renewable_mw = sum(forecast.values())
        if len(forecast) < len(renewable):
            yield Point(at, None)
        elif not (
            all(mw >= 0 for mw in forecast.values()) and load[at] > 0 and renewable_mw <= MOST_OF_LOAD * load[at]
        ):
            yield Point(at, nan)  # comparisons with NaN are false, too
        else:
            yield Point(at, intensity_g_per_kwh(_with_rest(forecast, max(0.0, load[at] - renewable_mw), mix), basis))


def _with_rest(forecast: Mapping[str, float], rest_mw: float, mix: Mapping[Fuel, float]) -> dict[Fuel, float]:
    parts, per_mw = _by_fuel(forecast), rest_mw / sum(mix.values())
    for fuel, mw in mix.items():
        parts[fuel] = parts.get(fuel, 0.0) + mw * per_mw
    return parts


def rest_of(power: Mapping[str, Cells], forecast: Mapping[str, object]) -> dict[Fuel, float]:
    """Return the generation by fuel over the last known day, without the kinds in `forecast`."""
    rest: dict[Fuel, float] = {}
    for at in _complete(power)[-(DAY // CELL) :]:
        now_mw = {kind: cells[at] for kind, cells in power.items() if at in cells and kind not in forecast}
        for fuel, mw in _by_fuel(now_mw).items():
            rest[fuel] = rest.get(fuel, 0.0) + mw
    return rest


def generated(power: Mapping[str, Cells], basis: Basis) -> Iterator[Point]:
    """Yield the intensity of each cell in which all significant kinds are known."""
    for at in _complete(power):
        mix = _by_fuel({kind: cells[at] for kind, cells in power.items() if at in cells})
        yield Point(at, intensity_g_per_kwh(mix, basis), Kind.MEASURED)


def _by_fuel(power: Mapping[str, float]) -> dict[Fuel, float]:
    """Return MW by fuel. A kind that consumes more than it generates counts as 0."""
    mix: dict[Fuel, float] = {}
    for kind, mw in power.items():
        if kind not in STORES:
            fuel = FUELS.get(kind, Fuel.UNKNOWN)
            mix[fuel] = mix.get(fuel, 0.0) + max(0.0, mw)
    return mix


def _complete(power: Mapping[str, Cells]) -> list[datetime]:
    """Return the cells, in order, without implausible values and without significant kinds missing."""
    usual = {kind: _usual_mw(cells) for kind, cells in power.items() if kind not in STORES}
    bearable_mw = MISSING_SHARE * sum(usual.values())
    cells = sorted({at for kind in usual for at in power[kind]})
    return [
        at
        for at in cells
        if not any(isnan(power[kind].get(at, 0.0)) for kind in usual)
        and sum(mw for kind, mw in usual.items() if at not in power[kind]) <= bearable_mw
    ]


def _usual_mw(cells: Cells) -> float:
    known = [max(0.0, mw) for mw in cells.values() if not isnan(mw)]
    return sum(known) / len(known) if known else 0.0

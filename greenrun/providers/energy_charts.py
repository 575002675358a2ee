"""Energy-Charts of Fraunhofer ISE: measured and forecast intensity of most European countries; open, without a key."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal, Self

import structlog
from pydantic import BaseModel, StrictBool, StrictInt, model_validator

from greenrun.core.carbon.intensity import Accounting, Basis, Forecast, Kind, Series, SeriesId
from greenrun.core.errors import ProviderGarbage
from greenrun.providers.payload import Number, Point, forecast_of, from_epoch, history_of
from greenrun.providers.provider import Anchor, ProviderKind, refuse_other
from greenrun.providers.settings import Url, WebSettings
from greenrun.providers.web import Web

log = structlog.get_logger("greenrun.providers")

ZONES = {
    "AT": "Austria", "BA": "Bosnia and Herzegovina", "BE": "Belgium", "BG": "Bulgaria", "CH": "Switzerland",
    "CY": "Cyprus", "CZ": "Czechia", "DE": "Germany", "DK": "Denmark", "EE": "Estonia", "ES": "Spain", "FI": "Finland",
    "FR": "France", "GB": "United Kingdom", "GE": "Georgia", "GR": "Greece", "HR": "Croatia", "HU": "Hungary",
    "IE": "Ireland", "IT": "Italy", "LT": "Lithuania", "LU": "Luxembourg", "LV": "Latvia", "MD": "Moldova",
    "ME": "Montenegro", "MK": "North Macedonia", "NL": "Netherlands", "NO": "Norway", "PL": "Poland", "PT": "Portugal",
    "RO": "Romania", "RS": "Serbia", "SE": "Sweden", "SI": "Slovenia", "SK": "Slovakia", "UA": "Ukraine",
    "XK": "Kosovo",
}  # fmt: skip
CODES = {"GB": "uk"}  # where the source's code differs from the country's
ATTRIBUTION = "Source: Energy-Charts.info (Fraunhofer ISE), CC BY 4.0"
STEPS = (timedelta(minutes=15), timedelta(hours=1))
AROUND = timedelta(hours=2)  # margin of requests, so that there are two values to infer the step from
AHEAD = timedelta(days=3)  # further than it ever reaches
PACE = timedelta(seconds=7.5)


class EnergyChartsSettings(WebSettings):
    """[provider.NAME] with kind "energy_charts"."""

    kind: Literal["energy_charts"] = "energy_charts"
    url: Url = "https://api.energy-charts.info"


class Intensities(BaseModel):
    """Parallel lists: the start of each slot, and its measured value or its forecast."""

    unix_seconds: list[StrictInt]
    co2eq: list[Number]
    co2eq_forecast: list[Number]
    deprecated: StrictBool = False

    @model_validator(mode="after")
    def _are_parallel(self) -> Self:
        lengths = {len(self.unix_seconds), len(self.co2eq), len(self.co2eq_forecast)}
        if len(lengths) > 1:
            raise ValueError(f"its lists, which belong together, are of different lengths: {sorted(lengths)}")
        return self

    def points(self, source: str, *, known_until: datetime) -> Iterator[Point]:
        """Yield a point for each start: measured where it has been by `known_until`, else the forecast."""
        for seconds, measured, forecast in zip(self.unix_seconds, self.co2eq, self.co2eq_forecast, strict=True):
            start = from_epoch(seconds, source)
            is_measured = measured is not None and start < known_until
            yield Point(start, measured if is_measured else forecast, Kind.MEASURED if is_measured else Kind.FORECAST)


class EnergyCharts:
    """Measured values and forecast (co2eq) of a country's generation, in g CO2e/kWh, life cycle included."""

    zones: Mapping[str, str] = ZONES
    refresh_every = timedelta(minutes=30)

    def __init__(self, name: str, settings: EnergyChartsSettings, anchor: Anchor, settle_after: timedelta) -> None:
        self.name, self.label, self.settle_after = name, settings.label, settle_after
        self.attribution = settings.attribution or ATTRIBUTION
        self.web = Web(name, settings, every=PACE)
        self._own, self._warned = settings.zone, False

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the forecast from now to the end of today, or tomorrow's from the evening on; raise ProviderError."""
        points = self._points(zone, now - AROUND, now + AHEAD, now)
        ahead = [Point(point.start, point.g_per_kwh) for point in points]  # no slot in progress has been measured
        return forecast_of(self._id(zone), ahead, now, dropped=self.web.dropped)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the measured slots in `[start, end)`; raise ProviderError."""
        points = self._points(zone, start - AROUND, min(end, now) + AROUND, now)
        return history_of(self._id(zone), points, start, end, now, dropped=self.web.dropped)

    def _points(self, zone: str, start: datetime, end: datetime, now: datetime) -> list[Point]:
        """Request by epoch seconds: dates, which it also accepts, are in the country's local time."""
        refuse_other(self.name, self._own, zone, ZONES)
        between = {"start": f"{start.timestamp():.0f}", "end": f"{end.timestamp():.0f}"}
        said = self.web.get("/co2eq", {"country": CODES.get(zone, zone.lower()), **between}).read(Intensities)
        self._warn(said.deprecated)
        points = list(said.points(self.name, known_until=now))
        self._check_steps(points)
        return points

    def _check_steps(self, points: Sequence[Point]) -> None:
        """Raise ProviderGarbage unless slots are a quarter of an hour or an hour long; that may change from one on."""
        starts = sorted({point.start for point in points})
        steps = {after - before for before, after in pairwise(starts)}
        if points and (not steps or min(steps) not in STEPS):
            found = f"are {min(steps)} long" if steps else "have a length that one value does not tell"
            text = f"its slots {found}, where a quarter of an hour or an hour is known"
            raise ProviderGarbage(f"greenrun does not use what {self.name} answered: {text}")

    def _warn(self, deprecated: bool) -> None:
        if deprecated and not self._warned:
            log.warning("the source says that this interface will end; update greenrun", provider=self.name)
        self._warned = self._warned or deprecated

    def _id(self, zone: str) -> SeriesId:
        return SeriesId(provider=self.name, zone=zone, accounting=Accounting.PRODUCTION, basis=Basis.LIFECYCLE)


PROVIDER = ProviderKind(settings=EnergyChartsSettings, open=EnergyCharts, zones=ZONES)

"""Great Britain's Carbon Intensity API, the one source that forecasts without a key and says what came true."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from greenrun.core.carbon.intensity import Accounting, Basis, Forecast, Kind, Series, SeriesId
from greenrun.core.errors import ProviderGarbage, ProviderRefused
from greenrun.providers.payload import Instant, Number, Point, forecast_of, history_of
from greenrun.providers.provider import Anchor, ProviderKind, refuse_other
from greenrun.providers.settings import Url, WebSettings
from greenrun.providers.web import Web

NATIONAL = "GB"
_REGIONS = (
    "North Scotland", "South Scotland", "North West England", "North East England", "Yorkshire",
    "North Wales and Merseyside", "South Wales", "West Midlands", "East Midlands", "East England", "South West England",
    "South England", "London", "South East England", "England", "Scotland", "Wales",
)  # fmt: skip
ZONES = {NATIONAL: "Great Britain"} | {f"{NATIONAL}:{number}": name for number, name in enumerate(_REGIONS, start=1)}
ATTRIBUTION = "Contains data from the NESO Carbon Intensity API (carbonintensity.org.uk), CC BY 4.0"
STEP = timedelta(minutes=30)
LONGEST = timedelta(days=13)  # of a request for history; the service allows 14, both ends included
INSIDE = timedelta(
    minutes=1
)  # offset of a request's start: exactly on a half hour, the previous slot is returned first
PACE = timedelta(seconds=1)  # no limit is published

_NUMBERS = frozenset(str(number) for number in range(1, len(_REGIONS) + 1))
_OUTWARD = re.compile(r"[A-Z]{1,2}[0-9][A-Z0-9]?", re.ASCII)


class UkCarbonIntensitySettings(WebSettings):
    """[provider.NAME] with kind "uk_carbon_intensity"."""

    kind: Literal["uk_carbon_intensity"] = "uk_carbon_intensity"
    url: Url = "https://api.carbonintensity.org.uk"


class Values(BaseModel):
    """The forecast and the actual value; regions have no actual values."""

    forecast: Number = None
    actual: Number = None


class HalfHour(BaseModel):
    """One half hour."""

    start: Instant = Field(alias="from")
    end: Instant = Field(alias="to")
    intensity: Values

    @model_validator(mode="after")
    def _is_half_an_hour(self) -> Self:
        if self.end - self.start != STEP:
            raise ValueError(f"a row lasts {self.end - self.start}, not half an hour")
        return self


class Region(BaseModel):
    """One region's rows; `postcode` is that of the request, if any."""

    regionid: int | None = None
    postcode: str | None = None
    data: list[HalfHour]

    def is_of(self, part: str) -> bool:
        """Whether this is the region requested by number, or by postcode unless it states another."""
        return str(self.regionid) == part if part in _NUMBERS else self.postcode in (None, part)


def _listed(data: object) -> object:
    """Return a list: one region comes bare or in a list, depending on the request."""
    return [data] if isinstance(data, dict) else data


class IntensityResponse(BaseModel):
    """A response; an empty one, which has been seen where nothing more was known, is like an empty list."""

    @model_validator(mode="before")
    @classmethod
    def _of_nothing(cls, said: object) -> object:
        return {"data": []} if said == {} else said


class NationalResponse(IntensityResponse):
    """The response for Great Britain."""

    data: list[HalfHour]


class RegionalResponse(IntensityResponse):
    """The response for a region or a postcode."""

    data: Annotated[list[Region], BeforeValidator(_listed)]


class UkCarbonIntensity:
    """Forecasts of GB, its regions (GB:13) and postcodes (GB:RG41), measured values of GB alone; in g CO2/kWh."""

    zones: Mapping[str, str] = ZONES
    refresh_every = timedelta(minutes=30)

    def __init__(self, name: str, settings: UkCarbonIntensitySettings, anchor: Anchor, settle_after: timedelta) -> None:
        self.name, self.label, self.settle_after = name, settings.label, settle_after
        self.attribution = settings.attribution or ATTRIBUTION
        self._own = settings.zone
        self.web = Web(name, settings, every=PACE)

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the forecast from now on, up to 48 h and often less; raise ProviderError."""
        place = self._place(zone)
        path = f"/intensity/{_written(_floor(now) + INSIDE)}/fw48h"
        rows = (
            self._region(f"/regional{path}{place}", zone) if place else self.web.get(path).read(NationalResponse).data
        )
        points = [Point(row.start, row.intensity.forecast) for row in rows]
        return forecast_of(self._id(zone), points, now, dropped=self.web.dropped, step=STEP)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the measured slots in `[start, end)`, for GB only; raise ProviderError."""
        if self._place(zone):
            raise ProviderRefused(
                f"the UK Carbon Intensity API has measured values of {NATIONAL} alone and none of {zone!r}, so greenrun"
                f' settles nothing; set [grid] zone = "{NATIONAL}", or a history_provider that measures {zone!r}'
            )
        points = [
            Point(row.start, row.intensity.actual, Kind.MEASURED)
            for begin, until in _parts(start, min(end, _floor(now)))
            for row in self.web.get(f"/intensity/{_written(begin)}/{_written(until)}").read(NationalResponse).data
            if begin <= row.start < until  # adjacent slots are returned too
        ]
        return history_of(self._id(zone), points, start, end, now, dropped=self.web.dropped, step=STEP)

    def _place(self, zone: str) -> str:
        refuse_other(self.name, self._own, zone)
        return _place(zone)

    def _region(self, path: str, zone: str) -> list[HalfHour]:
        """Return the rows of the requested region; raise ProviderGarbage if the response is for another."""
        regions = self.web.get(path).read(RegionalResponse).data
        part = zone.partition(":")[2]
        if len(regions) > 1 or not all(each.is_of(part) for each in regions):
            found = ", ".join(str(each.regionid) for each in regions[:20])
            raise ProviderGarbage(f"{self.name} answered for regions {found} and not for {zone}; greenrun uses nothing")
        return regions[0].data if regions else []

    def _id(self, zone: str) -> SeriesId:
        return SeriesId(provider=self.name, zone=zone, accounting=Accounting.CONSUMPTION, basis=Basis.DIRECT)


PROVIDER = ProviderKind(settings=UkCarbonIntensitySettings, open=UkCarbonIntensity, zones=ZONES)


def _place(zone: str) -> str:
    """Return the path segment of a zone, "" for all of Great Britain; raise ProviderRefused."""
    country, _, part = zone.partition(":")
    if zone == NATIONAL:
        return ""
    if country == NATIONAL and part in _NUMBERS:
        return f"/regionid/{part}"
    if country == NATIONAL and _OUTWARD.fullmatch(part):
        return f"/postcode/{part}"
    raise ProviderRefused(
        f'the UK Carbon Intensity API serves "GB", its regions "GB:1" to "GB:17" and the first half of a postcode, such'
        f' as "GB:RG41", not {zone!r}; set [grid] zone to one of them'
    )


def _parts(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield intervals of whole half hours that cover `[start, end)`, none longer than one request allows."""
    begin = _floor(start)
    while begin < end:
        until = min(begin + LONGEST, _floor(end - timedelta.resolution) + STEP)
        yield begin, until
        begin = until


def _floor(at: datetime) -> datetime:
    """Return the start of the half hour that contains an instant, in UTC."""
    utc = at.astimezone(UTC)
    return utc.replace(minute=utc.minute // 30 * 30, second=0, microsecond=0)


def _written(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%MZ")

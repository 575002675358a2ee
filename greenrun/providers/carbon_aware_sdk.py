"""The Carbon Aware SDK's WebAPI, self-hosted: it passes on the forecasts of whatever source stands behind it."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, Field

from greenrun.core.carbon.intensity import Accounting, Basis, Forecast, Series, SeriesId, Signal
from greenrun.core.errors import ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers.payload import Instant, Number, Point, forecast_of
from greenrun.providers.provider import Anchor, ProviderKind, refuse_other
from greenrun.providers.settings import Url, WebSettings
from greenrun.providers.web import Web

CANNOT_FORECAST = 501
NEVER = "0001-01-01"  # how it writes an unset instant
LONGEST_MIN = 7 * 24 * 60
PACE = timedelta(seconds=1)

Text = Annotated[str, Field(min_length=1)]


class CarbonAwareSdkSettings(WebSettings):
    """[provider.NAME] with kind "carbon_aware_sdk"; its source's signal is not reported, so `signal` is required."""

    kind: Literal["carbon_aware_sdk"] = "carbon_aware_sdk"
    url: Url
    location: Annotated[dict[Text, Text], Field(min_length=1)]
    signal: Signal
    accounting: Accounting | None = None
    basis: Basis | None = None


class Datum(BaseModel):
    """The mean over `duration` minutes from `timestamp` on, in g/kWh; 0 minutes: the length is not stated."""

    timestamp: Instant
    duration: Annotated[float, Field(ge=0, le=LONGEST_MIN)]
    value: Number

    @property
    def end(self) -> datetime | None:
        """The end of the slot, None if not stated."""
        return self.timestamp + timedelta(minutes=self.duration) if self.duration else None


def _stated(instant: object) -> object:
    return None if isinstance(instant, str) and instant.startswith(NEVER) else instant


class LocationForecast(BaseModel):
    """The forecast of one location; the optimal start that it suggests is not used."""

    location: str
    issued_at: Annotated[Instant | None, BeforeValidator(_stated)] = Field(None, alias="generatedAt")
    data: list[Datum] | None = Field(alias="forecastData")


class CarbonAwareSdk:
    """Forecasts of the zones that the settings map to a location."""

    refresh_every = timedelta(minutes=15)

    def __init__(self, name: str, settings: CarbonAwareSdkSettings, anchor: Anchor, settle_after: timedelta) -> None:
        self.name, self.label, self.attribution = name, settings.label, settings.attribution
        self.settle_after = settle_after
        self.zones = settings.location
        self._settings = settings
        self.web = Web(name, settings, every=PACE)

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the forecast from now on; raise ProviderError."""
        answer = self._ask(self._location(zone))
        points = _apart(Point(each.timestamp, each.value, end=each.end) for each in answer.data or ())
        return forecast_of(self._id(zone), points, now, dropped=self.web.dropped, issued_at=answer.issued_at)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Raise ProviderRefused: past values are not marked as measured or estimated."""
        self._location(zone)
        raise ProviderRefused(
            f"the Carbon Aware SDK behind {self.name!r} does not say which values were measured, so greenrun settles"
            " nothing with them; name a history_provider in [grid] that has measured values"
        )

    def _ask(self, location: str) -> LocationForecast:
        """Return the answer for a location, with the shortest means: `windowSize` would make rolling ones."""
        try:
            answers = self.web.get("/emissions/forecasts/current", {"location": location}).read(list[LocationForecast])
        except ProviderUnavailable as exc:
            if exc.status != CANNOT_FORECAST:
                raise
            raise ProviderRefused(
                f"the source behind {self.name!r} has no forecasts; set up another one in the Carbon Aware SDK, or"
                " another provider here",
                status=exc.status,
            ) from exc
        if [each.location.casefold() for each in answers] != [location.casefold()]:
            found = ", ".join(repr(each.location) for each in answers[:5]) or "nothing"
            raise ProviderGarbage(
                f"{self.name} was asked for {location!r} and answered {found:.200}; greenrun uses nothing"
            )
        return answers[0]

    def _location(self, zone: str) -> str:
        refuse_other(self.name, self._settings.zone, zone)
        known = self._settings.location
        if zone not in known:
            raise ProviderRefused(
                f"provider {self.name!r} has locations for {', '.join(known)}, not for {zone!r};"
                f" add it to location of [provider.{self.name}]"
            )
        return known[zone]

    def _id(self, zone: str) -> SeriesId:
        stated = self._settings
        return SeriesId(
            provider=self.name, zone=zone, signal=stated.signal, accounting=stated.accounting, basis=stated.basis
        )


PROVIDER = ProviderKind(settings=CarbonAwareSdkSettings, open=CarbonAwareSdk)


def _apart(points: Iterable[Point]) -> Iterator[Point]:
    """Yield windows that do not overlap, from the first on: only those of rolling means can be slots."""
    kept = None
    for point in sorted(points, key=lambda each: each.start):
        if kept is None or kept.end is None or point.start >= kept.end or point.start == kept.start:
            kept = point
            yield point

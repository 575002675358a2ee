"""Electricity Maps (needs a key): hourly forecasts and measured values for most of the world."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from greenrun.core.carbon.intensity import Accounting, Basis, Forecast, Kind, Series, SeriesId
from greenrun.core.errors import ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers.payload import Instant, Number, Point, forecast_of, history_of
from greenrun.providers.provider import Anchor, ProviderKind, refuse_other
from greenrun.providers.settings import KeySettings, PositiveDuration, Url, read_key
from greenrun.providers.web import Web, WebAnswer

ATTRIBUTION = "Source: Electricity Maps (www.electricitymaps.com), all rights reserved"
STEP = timedelta(hours=1)
RANGE, LAST_DAY = "past-range", "history"  # measured hours of any time, and of the last 24 hours
DENIED = (401, 403)
DENIED_FOR = timedelta(days=1)  # until a question that the key may not ask is asked again: plans change
PACE = timedelta(seconds=1)  # concurrent requests have been answered as if the key were invalid
HORIZONS = tuple(timedelta(hours=hours) for hours in (24, 48, 72))
SIGNAL = "carbon-intensity"
# An unknown zone must be an error: by default the values are those of the caller's location.
NO_GUESS = {"v4": {"disableCallerLookup": "true"}, "v3": {"shouldUseFallbackCallerLookup": "false"}}

_SANDBOX = re.compile(rb"SANDBOX[ _]MODE", re.IGNORECASE)


def _one_it_has(horizon: timedelta) -> timedelta:
    if horizon not in HORIZONS:
        raise ValueError("must be 24h, 48h or 72h")
    return horizon


class ElectricityMapsSettings(KeySettings):
    """[provider.NAME] with kind "electricity_maps"; accounting "consumption" is what they call flow-traced."""

    kind: Literal["electricity_maps"] = "electricity_maps"
    url: Url = "https://api.electricitymaps.com"
    version: Literal["v4", "v3"] = "v4"
    basis: Basis = Basis.LIFECYCLE
    accounting: Accounting = Accounting.CONSUMPTION
    horizon: Annotated[PositiveDuration, AfterValidator(_one_it_has)] = timedelta(hours=48)

    @model_validator(mode="after")
    def _as_the_version_can(self) -> Self:
        if self.version == "v3" and self.accounting is not Accounting.CONSUMPTION:
            raise ValueError('version "v3" knows no other accounting than "consumption"; set version = "v4"')
        return self


class CamelCaseModel(BaseModel):
    """A model whose fields the API writes in camel case."""

    model_config = ConfigDict(alias_generator=to_camel)


class ZoneAnswer(CamelCaseModel):
    """A zone; `access` lists the endpoints that the key may call for it, None if not stated."""

    zone_name: str = ""
    access: list[str] | None = None

    def allows(self, question: str) -> bool:
        """Whether this request is allowed, or may be, as far as known: the source decides."""
        return self.access is None or any("*" in entry or f"{SIGNAL}/{question}" in entry for entry in self.access)


class ZonesAnswer(RootModel[dict[str, ZoneAnswer]]):
    """All zones, by their key."""

    @field_validator("root", mode="before")
    @classmethod
    def _without_remarks(cls, raw: object) -> object:
        return {key: zone for key, zone in raw.items() if key[:1] != "_"} if isinstance(raw, dict) else raw


class HourAnswer(CamelCaseModel):
    """One hour. Only history states what was estimated, and which emissions are counted."""

    start: Instant = Field(alias="datetime")
    carbon_intensity: Number
    is_estimated: bool | None = None
    estimation_method: str | None = None
    emission_factor_type: str | None = None
    flow_traced: bool | None = None

    @property
    def is_measured(self) -> bool:
        """Whether the source states that nothing about it is estimated."""
        return self.is_estimated is False and self.estimation_method is None


class IntensityAnswer(CamelCaseModel):
    """Hours of a forecast or of history. `updatedAt` is ignored: it is the time of the request."""

    zone: str
    hours: list[HourAnswer] = Field(validation_alias=AliasChoices("forecast", "data", "history"))
    temporal_granularity: Literal["hourly"] = "hourly"


class ElectricityMaps:
    """Hourly forecasts and measured values, in g CO2e/kWh; the first request is for what the key may access."""

    refresh_every = timedelta(hours=1)

    def __init__(
        self, name: str, settings: ElectricityMapsSettings, anchor: Anchor, settle_after: timedelta
    ) -> None:  # fmt: skip
        self.name, self.label, self.settle_after = name, settings.label, settle_after
        self.attribution = settings.attribution or ATTRIBUTION
        key = read_key(settings.key_file)
        self.web = Web(name, settings, every=PACE, secrets=[key], headers={"auth-token": key})
        self._settings = settings
        self._known: dict[str, ZoneAnswer] = {}
        self._denied: dict[str, datetime] = {}  # when a zone's range of measured hours was refused

    @property
    def zones(self) -> Mapping[str, str]:
        """The zones that the key gives access to, with their names; empty before the first request."""
        return {zone: known.zone_name for zone, known in self._known.items() if known.access != []}

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the forecast from the hour that contains `now` on; raise ProviderError."""
        hours = self._ask("forecast", zone, {"horizonHours": str(self._settings.horizon // STEP)})
        points = [Point(hour.start, hour.carbon_intensity) for hour in hours]
        return forecast_of(self._id(zone), points, now, dropped=self.web.dropped, step=STEP)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the measured slots in `[start, end)`, nine days at most; raise ProviderError.

        An hour that is still estimated is left out. A key without access to any time gets what there is of the last 24
        hours.
        """
        hours = self._measured(zone, start, min(end, now), now)
        points = [Point(hour.start, hour.carbon_intensity, Kind.MEASURED) for hour in hours if hour.is_measured]
        return history_of(self._id(zone), points, start, end, now, dropped=self.web.dropped, step=STEP)

    def _measured(self, zone: str, start: datetime, end: datetime, now: datetime) -> list[HourAnswer]:
        at = self._denied.get(zone)
        if at is None or not at <= now < at + DENIED_FOR:
            try:
                return self._ask(RANGE, zone, {"start": _written(start - STEP), "end": _written(end)})
            except ProviderRefused as exc:
                if exc.status not in (None, *DENIED) or not self._may_ask(zone, LAST_DAY):
                    raise
                self._denied[zone] = now
        return self._ask(LAST_DAY, zone, {})

    def _may_ask(self, zone: str, question: str) -> bool:
        return self._settings.zone in (None, zone) and self._allows(zone, question)

    def _ask(self, question: str, zone: str, params: Mapping[str, str]) -> list[HourAnswer]:
        self._look_up(zone, question)
        version, basis = self._settings.version, self._settings.basis
        traced = {"flowTraced": str(self._is_traced).lower()} if version == "v4" else {}
        asked = {"zone": zone, "emissionFactorType": basis.value, **traced, **NO_GUESS[version], **params}
        said = self._get(f"/{SIGNAL}/{question}", asked).read(IntensityAnswer)
        others = [hour for hour in said.hours if hour.emission_factor_type not in (None, basis.value)]
        others += [hour for hour in said.hours if hour.flow_traced not in (None, self._is_traced)]
        if said.zone != zone or others:
            raise ProviderGarbage(
                f"greenrun does not use what {self.name} answered: it is of another zone than {zone}, or counts other"
                f" emissions than those of {self._settings.accounting} ({basis})"
            )
        return said.hours

    def _look_up(self, zone: str, question: str) -> None:
        """Fetch the key's access rights, again if this request is not among them: plans change.

        If the source lists no zone at all, nothing is known, and the request is tried.
        """
        refuse_other(self.name, self._settings.zone, zone)
        if self._allows(zone, question):
            return
        self._known = self._get("/zones", {}).read(ZonesAnswer).root
        if self._known and not self._allows(zone, question):
            raise ProviderRefused(self._no_access(zone, question))

    def _no_access(self, zone: str, question: str) -> str:
        """Return what the key lacks, and what helps: another zone only where that would have more."""
        lacks = f"the key of {self.name} gives no access to {question} of {zone!r}"
        open_to = [other for other, known in self._known.items() if known.access != [] and known.allows(question)]
        if open_to and zone not in self.zones:
            zones = f"{len(open_to)} zones are open to it"
            return f"{lacks} ({zones}); set [grid] zone to one of them, or have the plan changed"
        setting = "provider" if question == "forecast" else "history_provider"
        return f"{lacks}; name another source in [grid] {setting}, or have the plan changed"

    def _allows(self, zone: str, question: str) -> bool:
        known = self._known.get(zone)
        return known is not None and known.allows(question)

    def _get(self, path: str, params: Mapping[str, str]) -> WebAnswer:
        try:
            answer = self.web.get(f"/{self._settings.version}{path}", params)
        except ProviderRefused as exc:
            if exc.status == 404 and "No recent data" in str(exc):
                text = f"{self.name} has no recent data of {params.get('zone')}; what is known stays in use"
                raise ProviderUnavailable(text, status=404) from exc
            raise
        if _SANDBOX.search(answer.body):
            raise ProviderRefused(
                f"{self.name} answers with made-up numbers, because its key is one for the sandbox; greenrun uses none"
                f" of them: write a key of a plan into {self._settings.key_file}"
            )
        return answer

    @property
    def _is_traced(self) -> bool:
        return self._settings.accounting is Accounting.CONSUMPTION

    def _id(self, zone: str) -> SeriesId:
        settings = self._settings
        return SeriesId(provider=self.name, zone=zone, accounting=settings.accounting, basis=settings.basis)


PROVIDER = ProviderKind(settings=ElectricityMapsSettings, open=ElectricityMaps)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

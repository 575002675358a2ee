"""A zone's yearly mean, optionally with a daily profile: the last fallback, marked as estimated."""

import csv
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, NamedTuple, NoReturn, Self

from pydantic import Field, model_validator

from greenrun.core.carbon.intensity import Accounting, Basis, FallbackLevel, Forecast, Kind, Series, SeriesId, Slot
from greenrun.core.carbon.plausibility import LOWEST_LIFECYCLE_G_PER_KWH, believable
from greenrun.core.errors import ProviderRefused
from greenrun.core.formatting import intensity_text, number_text
from greenrun.core.reference.countries import COUNTRIES
from greenrun.providers.payload import HIGHEST_G_PER_KWH
from greenrun.providers.provider import Anchor, ProviderKind
from greenrun.providers.settings import ProviderSettings

ATTRIBUTION = "Yearly mean: Ember, Yearly Electricity Data (2025), CC BY 4.0, via Our World in Data"
HOURS = 24
AHEAD = timedelta(hours=72)
STEP = timedelta(hours=1)

GramsPerKwh = Annotated[float, Field(ge=0, le=HIGHEST_G_PER_KWH, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class StaticSettings(ProviderSettings):
    """[provider.NAME] with kind "static"; `profile` is relative to the mean, hour by hour from midnight UTC."""

    kind: Literal["static"] = "static"
    g_per_kwh: GramsPerKwh | None = None
    profile: tuple[Share, ...] = ()
    accounting: Accounting | None = None
    basis: Basis | None = None

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        found = [*_profile_problems(self.profile), *_height_problems(self.g_per_kwh or 0.0, self.profile)]
        if self.g_per_kwh is not None and not found:
            found += _depth_problems(self.g_per_kwh, self.profile, self.basis)
        if self.g_per_kwh is None and (self.accounting or self.basis):
            found.append("accounting and basis describe your own g_per_kwh; state it, or leave them out")
        if found:
            raise ValueError("; ".join(found))
        return self


class YearlyMean(NamedTuple):
    """A country's mean intensity of generation over a year, life cycle included, in g CO2e/kWh."""

    year: int
    g_per_kwh: float


class Static:
    """The same day repeated: every slot is ESTIMATED, and there is no history, since nothing was measured.

    Without a configured `g_per_kwh` it uses the yearly means of countries, which do not hold for their parts.
    """

    web = None
    refresh_every = STEP

    def __init__(self, name: str, settings: StaticSettings, anchor: Anchor, settle_after: timedelta) -> None:
        self.name, self.label, self.settle_after = name, settings.label, settle_after
        own = settings.g_per_kwh is not None
        self.attribution = settings.attribution or ("" if own else ATTRIBUTION)
        known = {} if own else packaged_zones()
        self.zones: Mapping[str, str] = {settings.zone: settings.label} if settings.zone else known
        self._settings = settings

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return hourly slots of the mean, with the profile if any, for three days; raise ProviderRefused."""
        mean, profile = self._mean(zone), self._settings.profile or (1.0,) * HOURS
        first = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        starts = [first + number * STEP for number in range(AHEAD // STEP)]
        slots = [Slot(start, start + STEP, mean * profile[start.hour], Kind.ESTIMATED) for start in starts]
        return Forecast(series=Series.of(self._id(zone), slots), fetched_at=now, fallback_level=FallbackLevel.STATIC)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Raise ProviderRefused: a yearly mean is no measurement."""
        self._mean(zone)
        raise ProviderRefused(
            f"a yearly mean is no measurement, so greenrun settles nothing with {self.name!r};"
            " name a history_provider in [grid] that has measured values"
        )

    def _mean(self, zone: str) -> float:
        own = self._settings
        if own.zone not in (None, zone):
            raise ProviderRefused(
                f"provider {self.name!r} serves {own.zone!r}, not {zone!r}; change grid.zone or name another provider"
            )
        if own.g_per_kwh is not None:
            return own.g_per_kwh
        known = yearly_means().get(zone)
        mean = known.g_per_kwh if known else _refuse(zone)
        problems = [*_height_problems(mean, own.profile), *_depth_problems(mean, own.profile, Basis.LIFECYCLE)]
        if problems:
            raise ProviderRefused(f"greenrun does not use {self.name!r} for {zone}: {problems[0]}")
        return mean

    def _id(self, zone: str) -> SeriesId:
        own = self._settings
        if own.g_per_kwh is not None:
            return SeriesId(provider=self.name, zone=zone, accounting=own.accounting, basis=own.basis)
        return SeriesId(provider=self.name, zone=zone, accounting=Accounting.PRODUCTION, basis=Basis.LIFECYCLE)


PROVIDER = ProviderKind(settings=StaticSettings, open=Static)


def packaged_zones() -> Mapping[str, str]:
    """Return the countries with a packaged mean, with their names."""
    return {zone: COUNTRIES.get(zone, "") for zone in yearly_means()}


@cache
def yearly_means() -> Mapping[str, YearlyMean]:
    """Return the packaged means by country: Ember's latest year of each, without very small grids."""
    text = files("greenrun.providers").joinpath("yearly_means.csv").read_text(encoding="ascii")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {row["zone"]: YearlyMean(int(row["year"]), float(row["g_per_kwh"])) for row in rows}


def usual_g_per_kwh(zone: str) -> float | None:
    """Return the yearly mean of a zone or of its country, to tell another unit by; None where it is not known."""
    known = yearly_means().get(zone) or yearly_means().get(zone[:2])
    return known.g_per_kwh if known else None


def _refuse(zone: str) -> NoReturn:
    country = zone[:2]
    mean = yearly_means().get(country)
    hint = f" ({country}'s, {mean.g_per_kwh:g}, is not that of its parts)" if mean else ""
    raise ProviderRefused(f"greenrun knows no yearly mean of {zone}{hint}; set g_per_kwh to one that you trust")


def _profile_problems(profile: tuple[float, ...]) -> list[str]:
    if not profile:
        return []
    if len(profile) != HOURS:
        return [f"profile has {len(profile)} values; write {HOURS}, one for each hour from midnight UTC on"]
    mean = sum(profile) / HOURS
    return (
        []
        if abs(mean - 1) < 0.01
        else [f"profile has the mean {number_text(mean)}; divide its values by it, so that it is 1"]
    )


def _depth_problems(mean: float, profile: tuple[float, ...], basis: Basis | None) -> list[str]:
    """Return what would not be believed of the answers, at whatever hour they begin."""
    if not mean:
        why = "it looks like a missing value, and no power is free of emissions over its life cycle"
        advice = "give what it emits (wind some 11 g/kWh), or leave it out for a country's mean"
        return [f"g_per_kwh is 0, which is not believed: {why}; {advice}"]
    lowest = mean * min(profile, default=1.0)
    if basis is Basis.LIFECYCLE and lowest < LOWEST_LIFECYCLE_G_PER_KWH:
        least = f"{LOWEST_LIFECYCLE_G_PER_KWH:g} g/kWh, the least that is believed over a life cycle"
        cause = f"profile makes {lowest:.3g} g/kWh of an hour" if lowest < mean else f"g_per_kwh is {mean:g}"
        return [f'{cause}, below {least}: make it larger, or say basis = "direct" where that is what it counts']
    if lowest:
        return []
    for hour in range(HOURS):
        _, dropped = believable(Series.of(SeriesId(provider="", zone="", basis=basis), _slots(mean, profile, hour)))
        if dropped:
            return ["profile has zeros for so long that they are not believed: they look like missing values"]
    return []


def _slots(mean: float, profile: tuple[float, ...], hour: int) -> list[Slot]:
    starts = [datetime(2000, 1, 1, hour, tzinfo=UTC) + number * STEP for number in range(AHEAD // STEP)]
    return [Slot(start, start + STEP, mean * profile[start.hour], Kind.ESTIMATED) for start in starts]


def _height_problems(mean: float, profile: tuple[float, ...]) -> list[str]:
    highest = mean * max(profile, default=1.0)
    if highest <= HIGHEST_G_PER_KWH:
        return []
    return [
        f"profile makes {intensity_text(highest)} of an hour, more than any zone emits; make its highest value lower"
    ]

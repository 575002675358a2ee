"""Any other source that can publish `[{start, end, value}]`, the format that evcc reads too, over HTTP or in a file."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, RootModel, model_validator

from greenrun.core.carbon.intensity import Accounting, Basis, Forecast, Kind, Series, SeriesId, Signal
from greenrun.core.errors import ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.providers.payload import Instant, Number, Point, forecast_of, history_of
from greenrun.providers.provider import Anchor, ProviderKind, refuse_other
from greenrun.providers.settings import (
    ExpandedPath,
    PositiveDuration,
    ProviderSettings,
    UrlWithQuery,
    WebSettings,
    keys_in,
)
from greenrun.providers.web import SIZE_CAP_BYTES, Web, WebAnswer

PACE = timedelta(seconds=1)


def _not_without_end(every: timedelta) -> timedelta:
    if every < PACE:
        raise ValueError("must be 1s or longer")
    return every


class JsonSettings(ProviderSettings):
    """[provider.NAME] with kind "json": forecasts from `url` or `path`, measured values from the other two, if any."""

    kind: Literal["json"] = "json"
    url: UrlWithQuery | None = None
    path: ExpandedPath | None = None
    history_url: UrlWithQuery | None = None
    history_path: ExpandedPath | None = None
    refresh_every: Annotated[PositiveDuration, AfterValidator(_not_without_end)] = timedelta(minutes=15)
    timeout: PositiveDuration = timedelta(seconds=20)
    signal: Signal = Signal.AVERAGE
    accounting: Accounting | None = None
    basis: Basis | None = None

    @model_validator(mode="after")
    def _one_place_each(self) -> Self:
        if (self.url is None) == (self.path is None):
            raise ValueError("needs either a url or a path to read forecasts from")
        if self.history_url is not None and self.history_path is not None:
            raise ValueError("has a history_url and a history_path; measured values are read from one of them")
        return self


class Rate(BaseModel):
    """The mean over a slot, in g/kWh."""

    start: Instant
    end: Instant
    value: Number


def _unwrapped(body: object) -> object:
    """Return the list that evcc itself wraps in an object."""
    return body["rates"] if isinstance(body, dict) and "rates" in body else body


class RateList(RootModel[Annotated[list[Rate], BeforeValidator(_unwrapped)]]):
    """The whole document."""


class JsonRates:
    """Forecasts, and measured values if configured; slots may be of any lengths."""

    def __init__(self, name: str, settings: JsonSettings, anchor: Anchor, settle_after: timedelta) -> None:
        self.name, self.label, self.attribution = name, settings.label, settings.attribution
        self.refresh_every, self.settle_after = settings.refresh_every, settle_after
        self.zones = {settings.zone: settings.label} if settings.zone else {}
        self._settings = settings
        ahead = self._web(settings.url)
        behind = self._web(settings.history_url, ahead)
        self.web = ahead or behind
        self._dropped = self.web.dropped if self.web else Counter()
        self._forecasts = self._place(ahead, settings.url, settings.path)
        self._measured = self._place(behind, settings.history_url, settings.history_path)

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the forecast from now on; raise ProviderError."""
        points = self._points(zone, self._forecasts, Kind.FORECAST)
        return forecast_of(self._id(zone), points, now, dropped=self._dropped)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the slots in `[start, end)`, which the settings declare to be measured; raise ProviderError."""
        points = self._points(zone, self._measured, Kind.MEASURED)
        return history_of(self._id(zone), points, start, end, now, dropped=self._dropped)

    def _points(self, zone: str, place: Callable[[], WebAnswer] | None, kind: Kind) -> list[Point]:
        refuse_other(self.name, self._settings.zone, zone)
        if place is None:
            raise ProviderRefused(
                f"provider {self.name!r} has forecasts alone, so greenrun settles nothing with it; set its history_url"
                " or history_path, or name a history_provider in [grid] that has measured values"
            )
        return [Point(rate.start, rate.value, kind, rate.end) for rate in place().read(RateList).root]

    def _id(self, zone: str) -> SeriesId:
        stated = self._settings
        return SeriesId(
            provider=self.name, zone=zone, signal=stated.signal, accounting=stated.accounting, basis=stated.basis
        )

    def _web(self, url: str | None, beside: Web | None = None) -> Web | None:
        if url is None:
            return None
        parts = urlsplit(url)
        host = WebSettings(
            kind=self._settings.kind, url=f"{parts.scheme}://{parts.netloc}", timeout=self._settings.timeout
        )
        return Web(self.name, host, every=PACE, secrets=keys_in(url), beside=beside)

    def _place(self, web: Web | None, url: str | None, path: Path | None) -> Callable[[], WebAnswer] | None:
        if web is not None and url is not None:
            asked = urlsplit(url)._replace(scheme="", netloc="").geturl() or "/"
            return lambda: web.get(asked)
        return (lambda: _read(self.name, path)) if path is not None else None


PROVIDER = ProviderKind(settings=JsonSettings, open=JsonRates)


def _read(name: str, path: Path) -> WebAnswer:
    """Return the present content of a file, which may be written later or again; raise ProviderError."""
    try:
        if not path.is_file():
            raise ProviderUnavailable(f"{path} is no file yet; greenrun reads it again, correct the path or write it")
        with path.open("rb") as file:
            body = file.read(SIZE_CAP_BYTES + 1)
    except OSError as exc:
        raise ProviderUnavailable(f"{path} cannot be read ({exc.strerror}); correct its permissions") from exc
    if len(body) > SIZE_CAP_BYTES:
        raise ProviderGarbage(f"greenrun does not use {path}: it has more than {SIZE_CAP_BYTES >> 20} MiB")
    return WebAnswer(source=f"{name} ({path})", body=body, shown=body[:200].decode("utf-8", "replace"), redacted=str)

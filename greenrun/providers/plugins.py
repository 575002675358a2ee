"""Isolate providers of other packages: any failure of one becomes a ProviderError of that provider."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ConfigDict

from greenrun.core.carbon.intensity import Accounting, Basis, FallbackLevel, Forecast, Kind, Series, SeriesId, Signal
from greenrun.core.errors import ProviderError, ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.core.formatting import duration_text
from greenrun.providers.payload import checked
from greenrun.providers.provider import Anchor, Provider, ProviderKind
from greenrun.providers.settings import ProviderSettings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from greenrun.providers.web import Web

T = TypeVar("T")

_HOURLY = timedelta(hours=1)
_WANTED: Mapping[str, type] = {
    "label": str, "attribution": str, "refresh_every": timedelta, "settle_after": timedelta, "zones": Mapping,
}  # fmt: skip
_LIMITS: Mapping[str, tuple[timedelta, timedelta]] = {
    "refresh_every": (timedelta(seconds=1), timedelta(days=366)), "settle_after": (timedelta(0), timedelta(days=366)),
}  # fmt: skip

# What third-party code may raise. Not KeyboardInterrupt: on the command line it comes from the user.
FAILURES = (Exception, SystemExit)


def package_of(entry: "EntryPoint") -> str:
    """Return the name and version of an entry point's package."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def error_text(exc: BaseException) -> str:
    """Return the type and message of an exception from third-party code, for use in a sentence."""
    try:
        said = str(exc)
    except FAILURES:
        said = ""
    return f"{type(exc).__name__}: {said}" if said else type(exc).__name__


def checked_zones(zones: Mapping[str, str]) -> Mapping[str, str]:
    """Return zones with their names, copied; raise TypeError for what is not text."""
    copied = dict(zones)
    if not all(isinstance(text, str) for text in (*copied, *copied.values())):
        raise TypeError("zones that are not text")
    return copied


class UnusableSettings(ProviderSettings):
    """The settings of a kind that cannot be used; unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore")


def unusable(package: str, problem: str) -> ProviderKind:
    """Return a kind whose providers refuse every request with this problem."""
    return ProviderKind(
        settings=UnusableSettings,
        open=lambda name, settings, anchor, settle_after: _Unusable(name, settle_after, problem),
        package=package,
        problem=problem,
    )


def usable(kind: ProviderKind, package: str) -> Callable[[str, Any, Anchor, timedelta], Provider]:
    """Return an `open` for a kind whose providers raise nothing but ProviderError."""

    def opened(name: str, settings: Any, anchor: Anchor, settle_after: timedelta) -> Provider:
        try:
            source = kind.open(name, settings, anchor, settle_after)
            lacks = list(_lacks(source))
            if not lacks:
                return _Guarded(name, source, package)
        except ProviderError:
            raise
        except FAILURES as exc:
            problem = f"provider {name!r} of {package} cannot be opened ({error_text(exc)})"
            return _Unusable(name, settle_after, f"{problem}; correct its settings, or ask its author")
        problem = f"provider {name!r} of {package} lacks what a provider has, or has it in another form"
        return _Unusable(name, settle_after, f"{problem}: {', '.join(lacks)}; ask its author to correct that")

    return opened


def _lacks(source: object) -> Iterator[str]:
    """Yield what a provider lacks of the port, or has in a form that the daemon cannot use."""
    for what, wanted in _WANTED.items():
        if not isinstance(getattr(source, what, None), wanted):
            yield what
    for what, (least, most) in _LIMITS.items():
        value = getattr(source, what, None)
        if isinstance(value, timedelta) and not least <= value <= most:
            yield f"{what} (from {duration_text(least)} to {duration_text(most)})"
    for what in ("forecast", "history"):
        if not callable(getattr(source, what, None)):
            yield what
    if not hasattr(source, "web"):
        yield "web"
    elif not _is_web(source.web):
        yield "web (a greenrun.providers.web.Web, or None)"


def _is_web(web: object) -> bool:
    if web is None:
        return True
    from greenrun.providers.web import Web  # with httpx, which whoever made one has loaded already

    return isinstance(web, Web)


class _Unusable:
    """A provider that refuses every request."""

    def __init__(self, name: str, settle_after: timedelta, problem: str) -> None:
        self.name, self.label, self.attribution = name, "", ""
        self.refresh_every, self.settle_after = _HOURLY, settle_after
        self.zones: Mapping[str, str] = {}
        self.web: Web | None = None
        self._problem = problem

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Raise ProviderRefused with the problem."""
        raise ProviderRefused(self._problem)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Raise ProviderRefused with the problem."""
        raise ProviderRefused(self._problem)


class _Guarded:
    """A plug-in's provider: other exceptions than ProviderError, and answers of other types, become ProviderGarbage."""

    def __init__(self, name: str, source: Provider, package: str) -> None:
        self.name, self.label, self.attribution = name, source.label, source.attribution
        self.refresh_every, self.settle_after = source.refresh_every, source.settle_after
        self.web = source.web
        self._source, self._package = source, package
        self._zones = checked_zones(source.zones)

    @property
    def zones(self) -> Mapping[str, str]:
        """The zones that the plug-in says it serves; what it said before, where it now fails to say."""
        try:
            self._zones = checked_zones(self._source.zones)
        except FAILURES:
            return self._zones
        return self._zones

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the plug-in's forecast; raise ProviderError."""
        return self._asked(lambda: self._checked_forecast(self._source.forecast(zone, now), zone, now))

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the plug-in's measured values; raise ProviderError."""
        return self._asked(lambda: self._measured(self._source.history(zone, start, end, now), zone, now))

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except ProviderError:
            raise
        except _UnusableAnswer as exc:
            raise ProviderGarbage(f"provider {self.name!r} of {self._package} answered with {exc}") from None
        except FAILURES as exc:
            raise ProviderGarbage(
                f"provider {self.name!r} of {self._package} failed ({error_text(exc)}); ask its author to correct that"
            ) from exc

    def _checked_forecast(self, answer: object, zone: str, now: datetime) -> Forecast:
        """Return the forecast, its clock held to ours; raise ProviderUnavailable where nothing of it is ahead."""
        forecast = _of_form(answer, Forecast)
        series = self._checked_series(forecast.series, zone, now)
        if series.end is None or series.end <= now:
            raise ProviderUnavailable(f"{self.name} has no values for {zone} from now on; what is known stays in use")
        issued_at = None if forecast.issued_at is None else _instant(forecast.issued_at, "issued_at")
        return Forecast(
            series=series, fetched_at=min(_instant(forecast.fetched_at, "fetched_at"), now),
            issued_at=issued_at and min(issued_at, now),
            fallback_level=_of_form(forecast.fallback_level, FallbackLevel),
        )  # fmt: skip

    def _measured(self, answer: object, zone: str, now: datetime) -> Series:
        series = self._checked_series(_of_form(answer, Series), zone, now)
        if set(series.kinds) - {Kind.MEASURED}:
            raise _UnusableAnswer("slots of a kind other than measured, where it was asked what was measured")
        return series

    def _checked_series(self, answer: object, zone: str, now: datetime) -> Series:
        """Return the series built anew; raise _UnusableAnswer unless it is valid and of what was asked."""
        series = _of_form(answer, Series)
        series_id = _checked_id(series.id)
        if (series_id.provider, series_id.zone) != (self.name, zone):
            other = f"{series_id.provider!r} and zone {series_id.zone!r}"
            raise _UnusableAnswer(f"a series of provider {other} where {self.name!r} and {zone!r} were asked")
        try:
            slots = [replace(slot, kind=_of_form(slot.kind, Kind)) for slot in series]
            rebuilt = Series.of(series_id, slots)
            for slot in slots[:1] + slots[-1:]:
                checked(slot.start)
        except (ValueError, TypeError, OverflowError, OSError) as exc:
            raise _UnusableAnswer(f"a series that is not valid ({exc})") from exc
        if any(slot.kind is Kind.MEASURED and slot.end > now for slot in slots):
            raise _UnusableAnswer("a slot that is called measured and has not ended")
        return rebuilt


class _UnusableAnswer(Exception):
    """An answer that is not what was asked for; the message completes "answered with"."""


def _of_form(value: object, form: type[T]) -> T:
    if not isinstance(value, form):
        raise _UnusableAnswer(f"a {type(value).__name__} instead of a {form.__name__}")
    return value


def _checked_id(value: object) -> SeriesId:
    series_id = _of_form(value, SeriesId)
    _of_form(series_id.signal, Signal)
    if series_id.accounting is not None:
        _of_form(series_id.accounting, Accounting)
    if series_id.basis is not None:
        _of_form(series_id.basis, Basis)
    return series_id


def _instant(value: object, what: str) -> datetime:
    instant = _of_form(value, datetime)
    if instant.utcoffset() is None:
        raise _UnusableAnswer(f"an instant ({what}) without a time zone: {instant.isoformat()}")
    try:
        return checked(instant)
    except ValueError as exc:
        raise _UnusableAnswer(f"an instant ({what}) that cannot be meant: {exc}") from exc

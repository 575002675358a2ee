"""Isolate providers of other packages: any failure of one becomes a ProviderError of that provider."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ConfigDict

from greenrun.core.carbon.intensity import Forecast, Series
from greenrun.core.errors import ProviderError, ProviderGarbage, ProviderRefused
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


def package_of(entry: "EntryPoint") -> str:
    """Return the name and version of an entry point's package."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value


def error_text(exc: BaseException) -> str:
    """Return the type and message of an exception from third-party code, for use in a sentence."""
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


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
        except ProviderError:
            raise
        except Exception as exc:  # noqa: BLE001 - third-party code may fail in any way
            problem = f"provider {name!r} of {package} cannot be opened ({error_text(exc)})"
            return _Unusable(name, settle_after, f"{problem}; correct its settings, or ask its author")
        lacks = [what for what, wanted in _WANTED.items() if not isinstance(getattr(source, what, None), wanted)]
        lacks += [what for what in ("forecast", "history") if not callable(getattr(source, what, None))]
        lacks += [] if hasattr(source, "web") else ["web"]
        if lacks:
            problem = f"provider {name!r} of {package} lacks what a provider has, or has it in another form"
            return _Unusable(name, settle_after, f"{problem}: {', '.join(lacks)}; ask its author to correct that")
        return _Guarded(name, source, package)

    return opened


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
        self._source, self._package = source, package

    @property
    def zones(self) -> Mapping[str, str]:
        """The zones that the plug-in says it serves."""
        return self._source.zones

    @property
    def web(self) -> "Web | None":
        """The plug-in's HTTP client, None without one."""
        return self._source.web

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Return the plug-in's forecast; raise ProviderError."""
        return self._asked(lambda: self._source.forecast(zone, now), Forecast)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Return the plug-in's measured values; raise ProviderError."""
        return self._asked(lambda: self._source.history(zone, start, end, now), Series)

    def _asked(self, ask: Callable[[], T], form: type[T]) -> T:
        try:
            answer = ask()
        except ProviderError:
            raise
        except Exception as exc:
            raise ProviderGarbage(
                f"provider {self.name!r} of {self._package} failed ({error_text(exc)}); ask its author to correct that"
            ) from exc
        if not isinstance(answer, form):
            what = f"a {type(answer).__name__} instead of a {form.__name__}"
            raise ProviderGarbage(f"provider {self.name!r} of {self._package} answered with {what}")
        return answer

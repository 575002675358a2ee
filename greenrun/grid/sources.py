"""The configured sources of carbon intensity: their state, and a check that queries one now."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

from greenrun.core.carbon.intensity import Series, SeriesId
from greenrun.core.carbon.plausibility import unit_doubt
from greenrun.core.errors import ProviderError, ProviderRefused
from greenrun.engine.polling import RequestCounts
from greenrun.providers import Provider, at_source, find_kind
from greenrun.providers.plausible import Plausible
from greenrun.providers.settings import KEY_FILE, ProviderSettings, read_key
from greenrun.providers.static import usual_g_per_kwh
from greenrun.store import Reach

T = TypeVar("T")

DAY = timedelta(days=1)
NEVER = datetime.min.replace(tzinfo=UTC)


class KnownSeries(Protocol):
    """The part of the store that the list of sources needs."""

    def reaches(self) -> Sequence[Reach]:
        """Return the extent of every stored series; raise StoreError."""


class Role(StrEnum):
    """What a configured source is used for."""

    FORECAST = "forecast"
    HISTORY = "history"
    BOTH = "both"
    MARGINAL = "marginal"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSummary:
    """A source's requests since the daemon's start: their number, failures by cause, dropped values by cause."""

    requests: int
    failures: Mapping[str, int]
    dropped: Mapping[str, int]
    quota_left: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """A configured source. `reach` is the extent of its stored values for the zone; `asked` is None without a daemon.

    `zones` are those that it is known to serve, empty where that depends on a file or a key. `package` declares its
    kind, and `problem` says why that cannot be used. `key_problem` says why its key cannot be read; the key itself is
    never shown.
    """

    name: str
    kind: str
    role: Role
    label: str
    attribution: str
    zones: Mapping[str, str]
    needs_key: bool
    key_problem: str | None
    package: str
    problem: str | None
    reach: Reach | None = None
    asked: RequestSummary | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The coverage of a series: first start, last end, usual step, number of slots, and the holes."""

    start: datetime
    end: datetime
    step: timedelta
    slots: int
    holes: Sequence[tuple[datetime, datetime]]

    @classmethod
    def of(cls, series: Series) -> "Coverage | None":
        """Return the coverage of a series; None if it is empty."""
        if series.start is None or series.end is None or series.step is None:
            return None
        return cls(start=series.start, end=series.end, step=series.step, slots=len(series), holes=series.holes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a source answered when it was checked, or why it did not; `known_at` is when its forecast was made.

    `history` covers its measured values of the last day. `zeros` counts the values of 0 g/kWh in both, believed or not,
    and `doubts` says why they may be of another unit. `warnings` are what the source itself says to watch out for.
    """

    name: str
    zone: str | None
    label: str = ""
    attribution: str = ""
    series: SeriesId | None = None
    known_at: datetime | None = None
    forecast: Coverage | None = None
    forecast_problem: str | None = None
    history: Coverage | None = None
    history_problem: str | None = None
    quota_left: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    zeros: int = 0
    doubts: Sequence[str] = ()
    warnings: Sequence[str] = ()

    @property
    def answers(self) -> bool:
        """Whether it returned any values."""
        return self.forecast is not None or self.history is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenProviders:
    """The providers that the settings name for each purpose, preferred ones first; one object for each name."""

    forecasts: Sequence[Provider] = ()
    histories: Sequence[Provider] = ()
    marginal: Sequence[Provider] = ()

    @property
    def all(self) -> Sequence[Provider]:
        """Every provider once."""
        providers = (*self.forecasts, *self.histories, *self.marginal)
        return list({provider.name: provider for provider in providers}.values())


class Sources:
    """The states of a daemon's sources; `counts` are its request counters."""

    def __init__(
        self, store: KnownSeries, zone: str | None, settings: Mapping[str, ProviderSettings], providers: OpenProviders,
        counts: RequestCounts,
    ) -> None:  # fmt: skip
        self._store = store
        self._zone = zone
        self._settings = settings
        self._marginal = tuple(provider.name for provider in providers.marginal)
        self._forecasts = tuple(provider.name for provider in providers.forecasts)
        self._histories = tuple(provider.name for provider in providers.histories)
        self._opened = {provider.name: provider for provider in providers.all}
        self._counts = counts

    def states(self) -> list[SourceState]:
        """Return every configured source, in the order of the settings; raise StoreError."""
        reaches = self._store.reaches()
        states = []
        for name in self._settings:
            opened = self._opened.get(name)
            zone = self._zone if name not in self._marginal else self._settings[name].zone or self._zone
            known = [reach for reach in reaches if (reach.id.provider, reach.id.zone) == (name, zone)]
            states.append(
                state_of(
                    name, self._settings[name], self._forecasts, self._histories, opened=opened,
                    reach=_furthest(known), asked=self._asked(opened) if opened else None, marginal=self._marginal,
                )
            )  # fmt: skip
        return states

    def _asked(self, provider: Provider) -> RequestSummary:
        failures = {
            cause: count for (name, cause), count in dict(self._counts.failures).items() if name == provider.name
        }
        web = provider.web
        return RequestSummary(
            requests=self._counts.requests[provider.name], failures=failures,
            dropped=dict(web.dropped) if web else {}, quota_left=web.quota_left if web else None,
        )  # fmt: skip


def state_of(
    name: str, settings: ProviderSettings, forecasts: Iterable[str], histories: Iterable[str], *,
    marginal: Iterable[str] = (), opened: Provider | None = None, reach: Reach | None = None,
    asked: RequestSummary | None = None,
) -> SourceState:  # fmt: skip
    """Return the state of a source, from its settings alone if it was not opened."""
    kind = find_kind(settings.kind)
    role = Role.MARGINAL if name in marginal else _role(name in forecasts, name in histories)
    return SourceState(
        name=name,
        kind=settings.kind,
        role=role,
        label=settings.label,
        attribution=opened.attribution if opened else settings.attribution,
        zones=opened.zones if opened else kind.zones,
        package=kind.package,
        problem=kind.problem,
        needs_key=kind.needs_key,
        key_problem=_key_problem(settings),
        reach=reach,
        asked=asked,
    )


def check(provider: Provider, zone: str, now: datetime) -> Checked:
    """Query a source now for its forecast and the last day, bypassing the cache; never raise ProviderError."""
    source = at_source(provider)
    issue, forecast_problem = _answer(lambda: source.forecast(zone, now))
    measured, history_problem = _answer(lambda: source.history(zone, now - DAY, now, now))
    history = Coverage.of(measured) if measured is not None else None
    if measured is not None and history is None:
        history_problem = f"{source.name} has nothing measured in the last day that it tells of yet"
    told = [answer for answer in (issue.series if issue else None, measured) if answer is not None]
    web = source.web
    usual = usual_g_per_kwh(zone)
    return Checked(
        name=source.name,
        zone=zone,
        label=source.label,
        attribution=source.attribution,
        series=told[0].id if told else None,
        known_at=issue.known_at if issue else None,
        forecast=Coverage.of(issue.series) if issue else None,
        forecast_problem=forecast_problem,
        history=history,
        history_problem=history_problem,
        quota_left=web.quota_left if web else None,
        dropped=dict(source.dropped if isinstance(source, Plausible) else web.dropped if web else {}),
        zeros=_zeros(source, told),
        warnings=list(web.warnings) if web else [],
        doubts=list(dict.fromkeys(doubt for answer in told if (doubt := unit_doubt(answer, usual)))),
    )


def _zeros(source: Provider, told: Sequence[Series]) -> int:
    """Return how many values of 0 g/kWh a source answered, those that are not believed included."""
    if isinstance(source, Plausible):
        return sum(source.zeros.values())
    return sum(int((answer.values == 0).sum()) for answer in told)


def _answer(ask: Callable[[], T]) -> tuple[T | None, str | None]:
    """Return what a source answered, or why it did not."""
    try:
        return ask(), None
    except ProviderError as exc:
        return None, str(exc)


def _key_problem(settings: ProviderSettings) -> str | None:
    """Return why a file with a secret cannot be read; None if all can."""
    for name, path in settings:
        if name.endswith(KEY_FILE) and isinstance(path, Path):
            try:
                read_key(path)
            except ProviderRefused as exc:
                return str(exc)
    return None


def _role(has_forecasts: bool, has_history: bool) -> Role:
    if has_forecasts and has_history:
        return Role.BOTH
    if has_forecasts or has_history:
        return Role.FORECAST if has_forecasts else Role.HISTORY
    return Role.UNUSED


def _furthest(reaches: Sequence[Reach]) -> Reach | None:
    """Return the extent of the latest forecasts and measured values: a source may have several series."""
    if not reaches:
        return None
    ahead = max(reaches, key=lambda reach: reach.forecast_at or NEVER)
    back = max(reaches, key=lambda reach: reach.measured_at or NEVER)
    return replace(
        ahead, measured_from=back.measured_from, measured_until=back.measured_until, measured_at=back.measured_at
    )

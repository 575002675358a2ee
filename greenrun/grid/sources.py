"""The configured sources of carbon intensity: what each is and last gave, and what it answers when asked at once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeVar

from greenrun.core.carbon.intensity import Series, SeriesId
from greenrun.core.errors import ProviderError, ProviderRefused
from greenrun.engine.polling import RequestCounts
from greenrun.providers import Provider, at_source, find_kind
from greenrun.providers.settings import KEY_FILE, ProviderSettings, read_key
from greenrun.store import Reach

T = TypeVar("T")

DAY = timedelta(days=1)
NEVER = datetime.min.replace(tzinfo=UTC)


class KnownSeries(Protocol):
    """What is needed of the store."""

    def reaches(self) -> Sequence[Reach]:
        """Return how far every known series reaches; raise StoreError."""


class Role(StrEnum):
    """What a configured source is asked for."""

    FORECAST = "forecast"
    HISTORY = "history"
    BOTH = "both"
    MARGINAL = "marginal"
    UNUSED = "unused"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSummary:
    """What came of asking a source since the daemon's start: questions, failures by cause, values that were none."""

    requests: int
    failures: Mapping[str, int]
    dropped: Mapping[str, int]
    quota_left: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """A configured source. `reach` is what is known by it of the zone; `asked` is None where no daemon told.

    `zones` are those that it is known to serve, empty where that depends on a file or a key. `package` is what declares
    its kind, and `problem` says why that cannot be used. `key_problem` says why its key cannot be read; the key itself
    is never told.
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
    """What a series covers: first start, last end, usual step, how many slots, and the intervals without one."""

    start: datetime
    end: datetime
    step: timedelta
    slots: int
    holes: Sequence[tuple[datetime, datetime]]

    @classmethod
    def of(cls, series: Series) -> "Coverage | None":
        """Return what a series covers; None where it is empty."""
        if series.start is None or series.end is None or series.step is None:
            return None
        return cls(start=series.start, end=series.end, step=series.step, slots=len(series), holes=series.holes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a source answered when it was asked at once, or why it did not; `known_at` is when its forecast was made.

    `history` is what it has measured of the last day.
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

    @property
    def answers(self) -> bool:
        """Whether it gave anything at all."""
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
    """Tells of a daemon's sources; `counts` is what it asked them by itself."""

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
    """Return what is known of a source, from its settings alone where it was not opened."""
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
    """Ask a source for its forecast and for the last day at once, past any cache; never raises ProviderError."""
    source = at_source(provider)
    issue, forecast_problem = _answer(lambda: source.forecast(zone, now))
    told, history_problem = _answer(lambda: source.history(zone, now - DAY, now, now))
    history = Coverage.of(told) if told is not None else None
    if told is not None and history is None:
        history_problem = f"{source.name} has nothing measured in the last day that it tells of yet"
    series = [answer.id for answer in (issue.series if issue else None, told) if answer is not None]
    web = source.web
    return Checked(
        name=source.name,
        zone=zone,
        label=source.label,
        attribution=source.attribution,
        series=series[0] if series else None,
        known_at=issue.known_at if issue else None,
        forecast=Coverage.of(issue.series) if issue else None,
        forecast_problem=forecast_problem,
        history=history,
        history_problem=history_problem,
        quota_left=web.quota_left if web else None,
        dropped=dict(web.dropped) if web else {},
    )


def _answer(ask: Callable[[], T]) -> tuple[T | None, str | None]:
    """Return what a source answered, or why it did not."""
    try:
        return ask(), None
    except ProviderError as exc:
        return None, str(exc)


def _key_problem(settings: ProviderSettings) -> str | None:
    """Say why a file with a secret cannot be read."""
    for name, path in settings:
        if name.endswith(KEY_FILE) and isinstance(path, Path):
            try:
                read_key(path)
            except ProviderRefused as exc:
                return str(exc)
    return None


def _role(tells_ahead: bool, tells_back: bool) -> Role:
    if tells_ahead and tells_back:
        return Role.BOTH
    if tells_ahead or tells_back:
        return Role.FORECAST if tells_ahead else Role.HISTORY
    return Role.UNUSED


def _furthest(reaches: Sequence[Reach]) -> Reach | None:
    """Return how far the forecasts that were got last reach, and the measured values: a source may have several."""
    if not reaches:
        return None
    ahead = max(reaches, key=lambda reach: reach.forecast_at or NEVER)
    back = max(reaches, key=lambda reach: reach.measured_at or NEVER)
    return replace(
        ahead, measured_from=back.measured_from, measured_until=back.measured_until, measured_at=back.measured_at
    )

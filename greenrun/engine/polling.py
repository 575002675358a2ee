"""Ask the providers of one zone, in the order of the settings; what fails is counted, and told once."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from greenrun.clock import stopwatch
from greenrun.core.carbon.intensity import Forecast, Series
from greenrun.core.errors import ProviderError, ProviderRefused
from greenrun.core.histogram import REQUEST_DURATION, Histogram
from greenrun.engine.ports import ForecastProvider, HistoryProvider

log = structlog.get_logger("greenrun.engine.polling")

AT_ONCE = timedelta(days=7)  # so much history is asked for in one question at most

FORECAST, HISTORY, EARLIER = "forecast", "history", "earlier history"
FAILED, LACKS = "provider failed, what is known stays in use", "provider has none of this"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCounts:
    """How often each provider was asked, and by (provider, cause) how often there was no usable answer.

    What a source by itself knows that it lacks, such as a zone, was no question. `seconds` is how long it took each
    provider to answer the daemon's own questions, or to fail.
    """

    requests: Counter[str] = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: dict[str, Histogram] = field(default_factory=dict)

    def asked(self, provider: str, took_s: float) -> None:
        """Count a question that took so long."""
        self.requests[provider] += 1
        self.seconds.setdefault(provider, Histogram(REQUEST_DURATION)).add(took_s)


class ProviderPolling:
    """Questions about one zone; without a zone nobody is asked. Each provider is asked by one thread at a time."""

    def __init__(
        self,
        zone: str | None,
        forecasts: Sequence[ForecastProvider],
        histories: Sequence[HistoryProvider],
        tally: RequestCounts,
    ) -> None:
        self._zone = zone or ""
        self._forecasts = tuple(forecasts) if zone else ()
        self._histories = tuple(histories) if zone else ()
        self._tally = tally
        self._answered: set[tuple[str, str]] = set()
        self._failing: dict[tuple[str, str], str] = {}

    @property
    def order(self) -> tuple[str, ...]:
        """The providers of forecasts, the preferred one first."""
        return tuple(provider.name for provider in self._forecasts)

    @property
    def settle_after(self) -> timedelta | None:
        """How long past its slot's end a measured value is final; None without a source of measured values."""
        return max((source.settle_after for source in self._histories), default=None)

    def forecasts(self, now: datetime, only: Collection[str] | None = None) -> Iterator[Forecast]:
        """Yield what each provider says of the hours to come (of those in `only`, if given)."""
        for provider in self._forecasts:
            if only is None or provider.name in only:
                took_s = stopwatch()
                try:
                    told = provider.forecast(self._zone, now)
                except ProviderError as exc:
                    self._failed(provider, FORECAST, exc, took_s())
                else:
                    self._tally.asked(provider.name, took_s())
                    self._succeeded(provider.name, FORECAST)
                    yield told

    def history(
        self, start: datetime, end: datetime, now: datetime, only: Collection[str] | None = None, what: str = HISTORY
    ) -> Series | None:
        """Return what was measured in `[start, end)` as the first provider that answers has it; None where none does.

        With `only`, others are not asked: one that is preferred to them is waited for, unless it failed when it was
        asked for `what` last: a source may fail where it is asked for what it never had, and answer otherwise.
        """
        for provider in self._histories:
            if only is None or provider.name in only:
                told = self._history(provider, start, end, now, what)
                if told is not None:
                    return told
            elif (provider.name, what) not in self._failing:
                return None
        return None

    def fail(self, what: str) -> bool:
        """Whether nobody had an answer when asked for `what` last."""
        return all((provider.name, what) in self._failing for provider in self._histories)

    def _history(
        self, provider: HistoryProvider, start: datetime, end: datetime, now: datetime, what: str
    ) -> Series | None:
        try:
            told = self._piece(provider, start, min(end, start + AT_ONCE), now, what)
            while (start := start + AT_ONCE) < end:
                told = told.followed_by(self._piece(provider, start, min(end, start + AT_ONCE), now, what))
        except ProviderError:
            return None
        self._succeeded(provider.name, what)
        return told

    def _piece(self, provider: HistoryProvider, start: datetime, end: datetime, now: datetime, what: str) -> Series:
        took_s = stopwatch()
        try:
            told = provider.history(self._zone, start, end, now)
        except ProviderError as exc:
            self._failed(provider, what, exc, took_s())
            raise
        self._tally.asked(provider.name, took_s())
        return told

    def _succeeded(self, provider: str, what: str) -> None:
        self._answered.add((provider, what))
        if self._failing.pop((provider, what), None) is not None:
            log.info("provider answers again", provider=provider, zone=self._zone, asked=what)

    def _failed(
        self, provider: ForecastProvider | HistoryProvider, what: str, exc: ProviderError, took_s: float
    ) -> None:
        """Count and tell a failure; one that the source could not but refuse is told alone, and less loudly."""
        name, cause = provider.name, type(exc).__name__
        is_failure = not self._lacks(provider, what, exc)
        if is_failure:
            self._tally.asked(name, took_s)
            self._tally.failures[name, cause] += 1
        if self._failing.get((name, what)) != cause:
            tell, text = (log.warning, FAILED) if is_failure else (log.info, LACKS)
            tell(text, provider=name, zone=self._zone, asked=what, error=str(exc))
        self._failing[name, what] = cause

    def _lacks(self, provider: ForecastProvider | HistoryProvider, what: str, exc: ProviderError) -> bool:
        """Whether a source says by itself, without asking anybody, that it has no such thing, and never had."""
        if not isinstance(exc, ProviderRefused) or exc.status is not None or (provider.name, what) in self._answered:
            return False
        zones = getattr(provider, "zones", ())
        return what in (HISTORY, EARLIER) or bool(zones and self._zone not in zones)

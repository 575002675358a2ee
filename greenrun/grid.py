"""Ask the providers what the grid will emit and what it did emit, and keep every answer."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from greenrun.accounting import Books
from greenrun.core.errors import ProviderError
from greenrun.core.intensity import Forecast, Series
from greenrun.ports import ForecastProvider, HistoryProvider, Store

log = structlog.get_logger("greenrun.grid")

LOOK_BACK = timedelta(days=14)  # how far back measured values are asked for on behalf of energy not settled yet
FIRST_LOOK_BACK = timedelta(hours=1)  # how much measured history the first refresh asks for
RELEARN = timedelta(days=2)  # how far back a restarted daemon rereads its forecasts, to price what it did not book yet


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What one round of asking brought; None where a provider is absent or failed."""

    fetched_at: datetime
    forecast: Forecast | None = None
    measured: Series | None = None


class Grid:
    """The latest forecast of one zone, and the flow of forecasts and measured values into store and books."""

    def __init__(
        self,
        store: Store,
        books: Books,
        zone: str | None,
        forecasts: Sequence[ForecastProvider],
        histories: Sequence[HistoryProvider],
    ) -> None:
        self._store = store
        self._books = books
        self.zone = zone
        self._forecasts = tuple(forecasts)
        self._histories = tuple(histories)
        self._measured_until: datetime | None = None
        self.forecast: Forecast | None = None
        self.requests: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()

    @property
    def settle_after(self) -> timedelta | None:
        """How long past its slot's end a measured value is final; None without a source of measured values."""
        return max((source.settle_after for source in self._histories), default=None)

    def remember(self, now: datetime) -> None:
        """Take in what was known before a restart."""
        if self.zone is None:
            return
        for forecast in self._store.forecasts(self.zone, now - RELEARN):
            self._learn(forecast)

    def fetch(self, now: datetime) -> News:
        """Ask the providers; a failing one is counted and named. Changes nothing else, so it may take its time."""
        return News(fetched_at=now, forecast=self._fetch_forecast(now), measured=self._fetch_history(now))

    def take(self, news: News) -> None:
        """Keep what was fetched; where there is no news, what is known stays known."""
        if news.forecast is not None:
            self._store.save_forecast(news.forecast)
            self._learn(news.forecast)
        if news.measured is not None:
            self._store.save_intensities(news.measured, fetched_at=news.fetched_at)
            self._books.learn_measured(news.measured.id)
            self._measured_until = news.measured.end or self._measured_until

    def _fetch_forecast(self, now: datetime) -> Forecast | None:
        """Return the forecast of the first provider, in the order of the settings, that has one."""
        for provider in self._forecasts if self.zone else ():
            self.requests[provider.name] += 1
            try:
                return provider.forecast(self.zone or "", now)
            except ProviderError as exc:
                self._failed(provider.name, "forecast", exc)
        return None

    def _fetch_history(self, now: datetime) -> Series | None:
        if not self._histories or self.zone is None:
            return None
        start = self._measured_until or now - FIRST_LOOK_BACK
        oldest = self._store.unsettled(now, limit=1)
        if oldest:
            start = min(start, max(oldest[0][1].start, now - LOOK_BACK))
        for provider in self._histories:
            self.requests[provider.name] += 1
            try:
                return provider.history(self.zone, start, now, now)
            except ProviderError as exc:
                self._failed(provider.name, "history", exc)
        return None

    def _learn(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self._books.learn(forecast)

    def _failed(self, provider: str, what: str, exc: ProviderError) -> None:
        self.failures[provider, type(exc).__name__] += 1
        log.warning("provider failed, what is known stays in use", provider=provider, asked=what, error=str(exc))

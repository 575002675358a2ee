"""Ask the providers what the grid will emit and what it did emit, keep every answer, and learn what to make of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from greenrun.accounting import Books
from greenrun.core.blend import Lessons
from greenrun.core.errors import ProviderError
from greenrun.core.intensity import Forecast, Series, SeriesId
from greenrun.outlooks import Outlooks
from greenrun.ports import ForecastProvider, HistoryProvider, Store

log = structlog.get_logger("greenrun.grid")

LOOK_BACK = timedelta(days=14)  # how far back measured values are asked for on behalf of energy not settled yet
LOOK_BACK_EVERY = timedelta(hours=1)  # ... and how often, to have values confirmed or holes filled
FIRST_LOOK_BACK = timedelta(hours=1)  # how much measured history the first refresh asks for
EARLIER_AT_ONCE = timedelta(days=7)  # how much measured history from before all that is known a round asks for
RELEARN = timedelta(days=2)  # how far back a restarted daemon rereads its forecasts, to price what it did not book yet


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What one round of asking brought; None where a provider is absent or failed.

    `looked_back`: the measured values begin where the oldest energy does that is not settled yet. `earlier`: measured
    values from before all that is known, to learn the normal of each hour from.
    """

    fetched_at: datetime
    forecast: Forecast | None = None
    measured: Series | None = None
    looked_back: bool = False
    earlier: Series | None = None
    lessons: Lessons | None = None


class Grid:
    """The latest forecast of one zone, and the flow of forecasts and measured values into store and books."""

    def __init__(
        self,
        store: Store,
        books: Books,
        zone: str | None,
        forecasts: Sequence[ForecastProvider],
        histories: Sequence[HistoryProvider],
        climatology_days: int = 0,
    ) -> None:
        self._store = store
        self._books = books
        self.zone = zone
        self._forecasts = tuple(forecasts)
        self._histories = tuple(histories)
        self._measured_until: datetime | None = None
        self._looked_back_at: datetime | None = None
        self._outlooks = Outlooks(store, zone, climatology_days)
        self._wants_earlier = bool(climatology_days)
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
        self._outlooks.remember(now)

    def outlook(self, now: datetime, until: datetime) -> Series | None:
        """Return what to plan with: the forecast blended with what was measured and drawn on to `until`, if known."""
        return self._outlooks.outlook(self.forecast, now, until)

    def fetch(self, now: datetime) -> News:
        """Ask the providers; a failing one is counted and named. Changes nothing else, so it may take its time."""
        looks_back = self._is_due_to_look_back(now)
        forecast = self._fetch_forecast(now)
        return News(
            fetched_at=now,
            forecast=forecast,
            measured=self._fetch_history(self._measured_from(now, looks_back), now, now),
            looked_back=looks_back,
            earlier=self._fetch_earlier(now),
            lessons=self._outlooks.judge(forecast, now),
        )

    def take(self, news: News) -> None:
        """Keep what was fetched; where there is no news, what is known stays known."""
        if news.forecast is not None:
            self._store.save_forecast(news.forecast)
            self._learn(news.forecast)
        if news.measured is not None:
            if self._store.save_intensities(news.measured, fetched_at=news.fetched_at):
                self._outlooks.remember(news.fetched_at)
            self._books.learn_measured(news.measured.id)
            self._measured_until = news.measured.end or self._measured_until
            self._looked_back_at = news.fetched_at if news.looked_back else self._looked_back_at
        if news.earlier is not None:
            self._take_earlier(news.earlier, news.fetched_at)
        if news.lessons is not None:
            self._outlooks.learn(news.lessons, news.fetched_at)

    def _take_earlier(self, earlier: Series, now: datetime) -> None:
        """Keep older measured values; when they bring nothing, as a source has no more of them, stop asking."""
        known_from = self._outlooks.measured_from
        self._store.save_intensities(earlier, fetched_at=now)
        self._outlooks.remember(now)
        self._wants_earlier = self._outlooks.measured_from != known_from

    def _fetch_forecast(self, now: datetime) -> Forecast | None:
        """Return the forecast of the first provider, in the order of the settings, that has one."""
        for provider in self._forecasts if self.zone else ():
            self.requests[provider.name] += 1
            try:
                return provider.forecast(self.zone or "", now)
            except ProviderError as exc:
                self._failed(provider.name, "forecast", exc)
        return None

    def _is_due_to_look_back(self, now: datetime) -> bool:
        last = self._looked_back_at
        return last is None or not last <= now < last + LOOK_BACK_EVERY

    def _measured_from(self, now: datetime, looks_back: bool) -> datetime:
        """Return from when on to ask for measured values: news alone, or all that may still settle something."""
        start = self._measured_until or now - FIRST_LOOK_BACK
        oldest = self._store.unsettled(now, after=now - LOOK_BACK, limit=1) if looks_back and self._histories else ()
        return min(start, *(max(piece.start, now - LOOK_BACK) for _, piece, _ in oldest)) if oldest else start

    def _fetch_earlier(self, now: datetime) -> Series | None:
        """Return measured values of up to a week before all that are known; None where none are of use or asked for."""
        known_from = self._outlooks.measured_from
        useful_from = now - self._outlooks.wanted
        if not self._wants_earlier or known_from is None or known_from <= useful_from:
            return None
        found = self._fetch_history(max(useful_from, known_from - EARLIER_AT_ONCE), known_from, now)
        return found or Series.of(SeriesId(provider="", zone=self.zone or ""), ())

    def _fetch_history(self, start: datetime, end: datetime, now: datetime) -> Series | None:
        for provider in self._histories if self.zone else ():
            self.requests[provider.name] += 1
            try:
                return provider.history(self.zone or "", start, end, now)
            except ProviderError as exc:
                self._failed(provider.name, "history", exc)
        return None

    def _learn(self, forecast: Forecast) -> None:
        self.forecast = forecast
        self._books.learn(forecast)

    def _failed(self, provider: str, what: str, exc: ProviderError) -> None:
        self.failures[provider, type(exc).__name__] += 1
        log.warning("provider failed, what is known stays in use", provider=provider, asked=what, error=str(exc))

"""Know of one zone what the grid will emit and what it did emit: keep all that is told, and choose what to go by."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from greenrun.core.carbon.blend import Calibration
from greenrun.core.carbon.fallback import ActiveForecast, ReceivedForecast, StalenessRules, add_received, choose_active
from greenrun.core.carbon.intensity import FallbackLevel, Forecast, Series, SeriesId
from greenrun.engine.bookkeeping import Bookkeeping
from greenrun.engine.marginal import MarginalIntensities, MarginalUpdate
from greenrun.engine.outlook import ZoneOutlook
from greenrun.engine.polling import AT_ONCE, EARLIER, ProviderPolling, RequestCounts
from greenrun.engine.ports import ForecastProvider, HistoryProvider, Store

log = structlog.get_logger("greenrun.engine.zone")

LOOK_BACK = timedelta(days=14)  # how far back measured values are asked for on behalf of energy not settled yet
LOOK_BACK_EVERY = timedelta(hours=1)  # ... and how often, to have values confirmed or holes filled
FIRST_LOOK_BACK = timedelta(hours=1)  # how much measured history the first refresh asks for to settle energy
FIRST_TO_LEARN = timedelta(days=2)  # ... and to learn from: some sources tell a day late
EARLIER_AGAIN = timedelta(hours=6)  # when older values are asked for anew where nobody had them
RELEARN = timedelta(days=2)  # how far back a restarted daemon rereads its forecasts, to price what it did not book yet
EACH = timedelta(seconds=1)  # no source says more than one thing in so short a time


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneUpdate:
    """What one round of asking brought; None or nothing where a provider is absent or failed.

    `looked_back`: the measured values begin where the oldest energy does that is not settled yet. `earlier`: measured
    values from before all that is known, to learn the normal of each hour from; `lacks_earlier`: nobody had them.
    `marginal` is what one more kWh emitted, by a source beside those.
    """

    fetched_at: datetime
    forecasts: Sequence[Forecast] = ()
    measured: Series | None = None
    looked_back: bool = False
    earlier: Series | None = None
    lacks_earlier: bool = False
    lessons: Mapping[SeriesId, Calibration] = field(default_factory=dict)
    marginal: MarginalUpdate | None = None


class GridZone:
    """What is known of one zone, and the flow of it into the store and, where `books` are kept, into those.

    Call `step` before what is known is used: it chooses what to go by from then on, which is `active`.
    """

    def __init__(
        self,
        store: Store,
        books: Bookkeeping | None,
        zone: str | None,
        forecasts: Sequence[ForecastProvider],
        histories: Sequence[HistoryProvider],
        climatology_days: int = 0,
        ageing: StalenessRules | None = None,
        tally: RequestCounts | None = None,
        marginal: Sequence[HistoryProvider] = (),
        marginal_zone: str | None = None,
    ) -> None:
        self._store = store
        self._books = books
        self.name = zone
        tally = tally or RequestCounts()
        self._asking = ProviderPolling(zone, forecasts, histories, tally)
        self.marginal = MarginalIntensities(store, books, marginal_zone or zone, marginal, tally)
        self._ageing = ageing or StalenessRules()
        self._received: dict[str, tuple[ReceivedForecast, ...]] = {}
        self._measured_until: datetime | None = None
        self._looked_back_at: datetime | None = None
        self._outlooks = ZoneOutlook(store, zone, climatology_days, self.marginal.names)
        self._wants_earlier = bool(climatology_days)
        self._lacked_earlier_at: datetime | None = None
        self._first_look_back = FIRST_TO_LEARN if climatology_days else FIRST_LOOK_BACK
        self.active_forecast = ActiveForecast()

    @property
    def forecast(self) -> Forecast | None:
        """The forecast that is gone by: a provider's, or one made of past days."""
        return self.active_forecast.forecast

    @property
    def received(self) -> Sequence[ReceivedForecast]:
        """What each provider said last, in the order in which they are preferred."""
        return [received[0] for name in self._asking.order if (received := self._received.get(name))]

    @property
    def heard_at(self) -> datetime | None:
        """When a provider last gave a forecast; a yearly mean is none."""
        told = [row.forecast for row in self.received if row.forecast.fallback_level is not FallbackLevel.STATIC]
        return max((forecast.fetched_at for forecast in told), default=None)

    @property
    def settle_after(self) -> timedelta | None:
        """How long past its slot's end a measured value is final; None without a source of measured values."""
        return self._asking.settle_after

    def remember(self, now: datetime) -> None:
        """Take in what was known before a restart, each row as old as it was."""
        if self.name is None:
            return
        issues = self._store.issues(self.name, now - RELEARN, EACH)
        forecasts = self._store.forecasts(self.name, now - RELEARN)
        lately = {issue.series.id for issue in issues}
        for forecast in forecasts:
            if forecast.series.id not in lately:  # it was first said before that, and repeated since
                self._hear(replace(forecast, fetched_at=min(forecast.fetched_at, now - RELEARN)))
            self._teach(forecast)
        for forecast in (*issues, *{row.series.id: row for row in forecasts}.values()):
            self._hear(forecast)
        self._outlooks.remember(now)
        if (until := self._outlooks.measured_until) is not None:
            self._measured_until = max(until, now - LOOK_BACK)
        self.step(now)

    def reread(self, now: datetime) -> None:
        """Use at once what came into the store otherwise than from a round of asking."""
        if self.name is not None:
            self._outlooks.reread(now)

    def step(self, now: datetime) -> None:
        """Choose what to go by from `now` on; a change of rung is logged, and energy is priced with what was chosen."""
        before, self.active_forecast = self.active_forecast, self._stand(now)
        level = self.active_forecast.fallback_level
        if before.fallback_level is not level:
            log.info(
                "forecast in use changed", zone=self.name, before=before.fallback_level.value, rung=level.value,
                why=self.active_forecast.why,
            )  # fmt: skip
        forecast = self.active_forecast.forecast
        if forecast is not None and (before.forecast is None or before.forecast.series is not forecast.series):
            self._teach(forecast)

    def outlook(self, now: datetime, until: datetime) -> Series | None:
        """Return what to plan with: what is gone by, blended with what was measured and drawn on to `until`."""
        active = self._stand(now)
        if active.fallback_level is FallbackLevel.NONE:
            return None
        told = None if active.fallback_level is FallbackLevel.CLIMATOLOGY else active.forecast
        return self._outlooks.outlook(told, now, until)

    def fetch(self, now: datetime, only: Collection[str] | None = None) -> ZoneUpdate:
        """Ask the providers, or those in `only`; changes nothing that is known, so it may take its time."""
        looks_back = self._is_due_to_look_back(now)
        forecasts = list(self._asking.forecasts(now, only))
        measured = self._asking.history(self._measured_from(now, looks_back), now, now, only)
        earlier, lacks_earlier = self._fetch_earlier(now, only) if measured is not None else (None, False)
        return ZoneUpdate(
            fetched_at=now,
            forecasts=forecasts,
            measured=measured,
            looked_back=looks_back,
            earlier=earlier,
            lacks_earlier=lacks_earlier,
            lessons=self._outlooks.calibrate(forecasts, now),
            marginal=self.marginal.fetch(now, only),
        )

    def take(self, news: ZoneUpdate) -> None:
        """Keep what was fetched; where there is no news, what is known stays known."""
        for forecast in news.forecasts:
            self._store.save_forecast(forecast)
            self._hear(forecast)
        if news.measured is not None:
            self._take_measured(news.measured, news)
        if news.earlier is not None:
            self._take_earlier(news.earlier, news.fetched_at)
        if news.lacks_earlier:
            self._lacked_earlier_at = news.fetched_at
        if news.marginal is not None:
            self.marginal.take(news.marginal, news.fetched_at)
        if news.lessons:
            self._outlooks.adopt(news.lessons, news.fetched_at)
        self.step(news.fetched_at)

    def _stand(self, now: datetime) -> ActiveForecast:
        if self.name is None:
            return ActiveForecast(why="no zone is set, and greenrun guesses none")
        received = [row for name in self._asking.order for row in self._received.get(name, ())]
        return choose_active(received, now, self._ageing, lambda: self._outlooks.usual(now))

    def _hear(self, forecast: Forecast) -> None:
        provider = forecast.series.id.provider
        self._received[provider] = add_received(self._received.get(provider, ()), forecast, self._ageing)

    def _teach(self, forecast: Forecast) -> None:
        if self._books is not None:
            self._books.learn(forecast)

    def _take_measured(self, measured: Series, news: ZoneUpdate) -> None:
        if self._store.save_intensities(measured, fetched_at=news.fetched_at):
            self._outlooks.remember(news.fetched_at)
        if self._books is not None:
            self._books.learn_measured(measured.id)
        self._measured_until = measured.end or self._measured_until
        self._looked_back_at = news.fetched_at if news.looked_back else self._looked_back_at

    def _take_earlier(self, earlier: Series, now: datetime) -> None:
        """Keep older measured values; when they bring nothing, as a source has no more of them, stop asking."""
        known_from = self._outlooks.measured_from
        self._store.save_intensities(earlier, fetched_at=now)
        self._outlooks.remember(now)
        self._wants_earlier = self._outlooks.measured_from != known_from

    def _is_due_to_look_back(self, now: datetime) -> bool:
        last = self._looked_back_at
        return self._books is not None and (last is None or not last <= now < last + LOOK_BACK_EVERY)

    def _measured_from(self, now: datetime, looks_back: bool) -> datetime:
        """Return from when on to ask for measured values: news alone, or all that may still settle something.

        What another source told meanwhile is no news to the one that is learned from.
        """
        start, learned_until = self._measured_until or now - self._first_look_back, self._outlooks.measured_until
        if learned_until is not None and self._measured_until is not None:
            start = max(min(start, learned_until), now - LOOK_BACK)
        looks_back = looks_back and self.settle_after is not None
        oldest = self._store.unsettled(now, after=now - LOOK_BACK, limit=1) if looks_back else ()
        return min(start, *(max(piece.start, now - LOOK_BACK) for _, piece, _ in oldest)) if oldest else start

    def _fetch_earlier(self, now: datetime, only: Collection[str] | None) -> tuple[Series | None, bool]:
        """Return measured values of up to a week before all that are known, and whether nobody has them.

        None where none are of use or told.
        """
        known_from, lacked_at = self._outlooks.measured_from, self._lacked_earlier_at
        useful_from = now - self._outlooks.wanted
        is_too_soon = lacked_at is not None and lacked_at <= now < lacked_at + EARLIER_AGAIN
        if not self._wants_earlier or is_too_soon or known_from is None or known_from <= useful_from:
            return None, False
        earlier = self._asking.history(max(useful_from, known_from - AT_ONCE), known_from, now, only, EARLIER)
        return earlier, earlier is None and self._asking.fail(EARLIER)

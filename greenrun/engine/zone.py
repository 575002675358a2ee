"""Know what the grid of one zone will emit and did emit: keep what providers report, and choose the active forecast."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from greenrun.core.carbon.blend import Calibration
from greenrun.core.carbon.fallback import ActiveForecast, ReceivedForecast, StalenessRules, add_received, choose_active
from greenrun.core.carbon.intensity import FallbackLevel, Forecast, Series, SeriesId
from greenrun.core.energy.ledger import Stage
from greenrun.engine.intensities import CarbonIntensities
from greenrun.engine.marginal import MarginalPolling, MarginalUpdate
from greenrun.engine.outlook import ZoneOutlook
from greenrun.engine.polling import AT_ONCE, EARLIER, ProviderPolling, RequestCounts
from greenrun.engine.ports import ForecastProvider, GridStore, HistoryProvider, SettlementStore
from greenrun.engine.settlement import LOOK_BACK, LookBack

log = structlog.get_logger("greenrun.engine.zone")

FIRST_LOOK_BACK = timedelta(hours=1)  # how much measured history the first refresh asks for to settle energy
FIRST_TO_LEARN = timedelta(days=2)  # ... and to learn from: some sources tell a day late
EARLIER_AGAIN = timedelta(hours=6)  # when older values that nobody had are asked for again
RELEARN = timedelta(days=2)  # how far back a restarted daemon rereads its forecasts, to price what it did not book yet
EACH = timedelta(seconds=1)  # no source says more than one thing in so short a time


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneUpdate:
    """What one round of polling brought; None or nothing where a provider is absent or failed.

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
    calibrations: Mapping[SeriesId, Calibration] = field(default_factory=dict)
    marginal: MarginalUpdate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneSettings:
    """How a zone is followed. `is_home`: energy is used there, so what it is priced with is asked for and kept.

    Climatology is learned from the last `climatology_days` days; 0 plans with forecasts as they are.
    """

    is_home: bool = True
    climatology_days: int = 0
    staleness: StalenessRules = field(default_factory=StalenessRules)


class ZoneStore(Protocol):
    """What a zone is kept in, and what tells which energy still waits for its intensities."""

    @property
    def grid(self) -> GridStore: ...

    @property
    def books(self) -> SettlementStore: ...


class GridZone:
    """What is known of one zone: energy is priced with `intensities`, and plans are made with `active_forecast`.

    Call `update_active_forecast` before using either. Providers in `marginal` are queried for `marginal_zone`, which is
    their own name for this zone.
    """

    def __init__(
        self,
        store: ZoneStore,
        name: str | None,
        forecasts: Sequence[ForecastProvider],
        histories: Sequence[HistoryProvider],
        settings: ZoneSettings | None = None,
        counts: RequestCounts | None = None,
        *,
        marginal: Sequence[HistoryProvider] = (),
        marginal_zone: str | None = None,
    ) -> None:
        settings, counts = settings or ZoneSettings(), counts or RequestCounts()
        marginal_polling = ProviderPolling(marginal_zone or name, (), marginal, counts)
        self.name = name
        self._grid = store.grid
        self._is_home = settings.is_home
        self._staleness = settings.staleness
        self._polling = ProviderPolling(name, forecasts, histories, counts)
        self.intensities = CarbonIntensities(store.grid, self._polling.settle_after, marginal_polling.settle_after)
        names = [source.name for source in marginal]
        self.marginal = MarginalPolling(store.grid, store.books, marginal_polling, self.intensities.marginal, names)
        self._received: dict[str, tuple[ReceivedForecast, ...]] = {}
        self._measured_until: datetime | None = None
        self._look_back = LookBack(store.books, Stage.SETTLED)
        self._outlook = ZoneOutlook(store.grid, name, settings.climatology_days, self.marginal.names)
        self._wants_earlier = bool(settings.climatology_days)
        self._lacked_earlier_at: datetime | None = None
        self._first_look_back = FIRST_TO_LEARN if settings.climatology_days else FIRST_LOOK_BACK
        self.active_forecast = ActiveForecast()

    @property
    def forecast(self) -> Forecast | None:
        """The active forecast itself: a provider's, or one made of past days."""
        return self.active_forecast.forecast

    @property
    def received(self) -> Sequence[ReceivedForecast]:
        """The latest forecast of each provider, the preferred provider first."""
        return [received[0] for name in self._polling.order if (received := self._received.get(name))]

    @property
    def heard_at(self) -> datetime | None:
        """When a provider last gave a forecast; a yearly mean is none."""
        told = [row.forecast for row in self.received if row.forecast.fallback_level is not FallbackLevel.STATIC]
        return max((forecast.fetched_at for forecast in told), default=None)

    def restore(self, now: datetime) -> None:
        """Take in what was known before a restart, each forecast as old as it was."""
        if self.name is None:
            return
        issues = self._grid.issues(self.name, now - RELEARN, EACH)
        forecasts = self._grid.forecasts(self.name, now - RELEARN)
        lately = {issue.series.id for issue in issues}
        for forecast in forecasts:
            if forecast.series.id not in lately:  # it was first said before that, and repeated since
                self._receive(replace(forecast, fetched_at=min(forecast.fetched_at, now - RELEARN)))
            self._price_with(forecast)
        for forecast in (*issues, *{row.series.id: row for row in forecasts}.values()):
            self._receive(forecast)
        self._outlook.load_measured(now)
        if (until := self._outlook.measured_until) is not None:
            self._measured_until = max(until, now - LOOK_BACK)
        self.update_active_forecast(now)

    def reload_measured(self, now: datetime) -> None:
        """Use at once what came into the store otherwise than by polling."""
        if self.name is not None:
            self._outlook.reload_measured(now)

    def update_active_forecast(self, now: datetime) -> None:
        """Choose the active forecast from `now` on; a change of its fallback level is logged."""
        before, self.active_forecast = self.active_forecast, self._choose(now)
        level = self.active_forecast.fallback_level
        if before.fallback_level is not level:
            log.info(
                "forecast in use changed", zone=self.name, before=before.fallback_level.value, rung=level.value,
                why=self.active_forecast.why,
            )  # fmt: skip
        forecast = self.active_forecast.forecast
        if forecast is not None and (before.forecast is None or before.forecast.series is not forecast.series):
            self._price_with(forecast)

    def outlook(self, now: datetime, until: datetime) -> Series | None:
        """Return what to plan with: the active forecast, blended with what was measured and extended to `until`."""
        active = self._choose(now)
        if active.fallback_level is FallbackLevel.NONE:
            return None
        forecast = None if active.fallback_level is FallbackLevel.CLIMATOLOGY else active.forecast
        return self._outlook.outlook(forecast, now, until)

    def fetch(self, now: datetime, only: Collection[str] | None = None) -> ZoneUpdate:
        """Poll the providers, or those in `only`; changes nothing that is known, so it may take its time."""
        looks_back = self._is_home and self._look_back.is_due(now)
        forecasts = list(self._polling.forecasts(now, only))
        measured = self._polling.history(self._measured_from(now, looks_back), now, now, only)
        earlier, lacks_earlier = self._fetch_earlier(now, only) if measured is not None else (None, False)
        return ZoneUpdate(
            fetched_at=now,
            forecasts=forecasts,
            measured=measured,
            looked_back=looks_back,
            earlier=earlier,
            lacks_earlier=lacks_earlier,
            calibrations=self._outlook.calibrate(forecasts, now),
            marginal=self.marginal.fetch(now, only),
        )

    def apply_update(self, update: ZoneUpdate) -> None:
        """Keep what was fetched; where there is no news, what is known stays known."""
        for forecast in update.forecasts:
            self._grid.save_forecast(forecast)
            self._receive(forecast)
        if update.measured is not None:
            self._apply_measured(update.measured, update)
        if update.earlier is not None:
            self._apply_earlier(update.earlier, update.fetched_at)
        if update.lacks_earlier:
            self._lacked_earlier_at = update.fetched_at
        if update.marginal is not None:
            self.marginal.take(update.marginal, update.fetched_at)
        if update.calibrations:
            self._outlook.set_calibrations(update.calibrations, update.fetched_at)
        self.update_active_forecast(update.fetched_at)

    def _choose(self, now: datetime) -> ActiveForecast:
        if self.name is None:
            return ActiveForecast(why="no zone is set, and greenrun guesses none")
        received = [row for name in self._polling.order for row in self._received.get(name, ())]
        return choose_active(received, now, self._staleness, lambda: self._outlook.usual(now))

    def _receive(self, forecast: Forecast) -> None:
        provider = forecast.series.id.provider
        self._received[provider] = add_received(self._received.get(provider, ()), forecast, self._staleness)

    def _price_with(self, forecast: Forecast) -> None:
        if self._is_home:
            self.intensities.add_forecast(forecast)

    def _apply_measured(self, measured: Series, update: ZoneUpdate) -> None:
        if self._grid.save_intensities(measured, fetched_at=update.fetched_at):
            self._outlook.load_measured(update.fetched_at)
        self.intensities.measured.add(measured.id)
        self._measured_until = measured.end or self._measured_until
        if update.looked_back:
            self._look_back.note(update.fetched_at)

    def _apply_earlier(self, earlier: Series, now: datetime) -> None:
        """Keep older measured values; when they bring nothing, as a source has no more of them, stop asking."""
        known_from = self._outlook.measured_from
        self._grid.save_intensities(earlier, fetched_at=now)
        self._outlook.load_measured(now)
        self._wants_earlier = self._outlook.measured_from != known_from

    def _measured_from(self, now: datetime, looks_back: bool) -> datetime:
        """Return from when on to ask for measured values: news alone, or all that may still settle something.

        What another source told meanwhile is no news to the one that is learned from.
        """
        start, learned_until = self._measured_until or now - self._first_look_back, self._outlook.measured_until
        if learned_until is not None and self._measured_until is not None:
            start = max(min(start, learned_until), now - LOOK_BACK)
        settles = self.intensities.measured.settle_after is not None
        return self._look_back.start(start, now) if looks_back and settles else start

    def _fetch_earlier(self, now: datetime, only: Collection[str] | None) -> tuple[Series | None, bool]:
        """Return measured values of up to a week before all that are known, and whether nobody has them.

        None where none are of use or told.
        """
        known_from, lacked_at = self._outlook.measured_from, self._lacked_earlier_at
        useful_from = now - self._outlook.wanted
        is_too_soon = lacked_at is not None and lacked_at <= now < lacked_at + EARLIER_AGAIN
        if not self._wants_earlier or is_too_soon or known_from is None or known_from <= useful_from:
            return None, False
        earlier = self._polling.history(max(useful_from, known_from - AT_ONCE), known_from, now, only, EARLIER)
        return earlier, earlier is None and self._polling.fail(EARLIER)

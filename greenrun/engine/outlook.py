"""Cache measured values and the calibration of past forecasts, so that a tick gets the outlook at once."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from greenrun.core.carbon.blend import Calibration
from greenrun.core.carbon.calibration import ISSUE_EVERY, MEMORY, calibrate
from greenrun.core.carbon.intensity import FallbackLevel, Forecast, Series, SeriesId
from greenrun.core.carbon.outlook import outlook
from greenrun.engine.ports import OutlookReader

DAY = timedelta(days=1)
USUAL_AHEAD = timedelta(hours=48)  # how far the normal of each hour is shown where nobody forecasts
LEARN_EVERY = timedelta(days=7)
LEARN_FIRST_EVERY = timedelta(days=1)  # ... while there are too few forecasts to weigh them


class OutlookInputs(NamedTuple):
    """What an outlook is computed from; the series are compared by identity."""

    series: Series | None = None
    known_at: datetime | None = None
    measured: Series | None = None
    calibration: Calibration | None = None
    span: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CachedOutlook:
    """An outlook, its inputs, and the interval in which it is valid while these stay the same."""

    inputs: OutlookInputs
    since: datetime
    until: datetime
    outlook: Series | None

    def holds(self, inputs: OutlookInputs, now: datetime) -> bool:
        """Whether the same outlook would be computed from `inputs` at `now`."""
        return self.inputs == inputs and self.since <= now < self.until

    @classmethod
    def made_of(cls, inputs: OutlookInputs, outlook: Series | None, now: datetime, until: datetime) -> "CachedOutlook":
        """Cache an outlook up to `until` that was computed at `now`; it is valid until its next slot begins."""
        edge = outlook.next_edge(now, until) or until if outlook is not None else now
        return cls(inputs=inputs, since=now, until=edge, outlook=outlook)


class ZoneOutlook:
    """Turns forecasts of one zone into what to plan with, from the last `days` days measured; 0 days: as they are.

    Nothing is learned from values of the sources in `without`, which measure another quantity.
    """

    def __init__(self, store: OutlookReader, zone: str | None, days: int, without: Collection[str] = ()) -> None:
        self._store = store
        self._zone = zone or ""
        self._days = days if zone else 0
        self._without = without
        self._measured: Series | None = None
        self._calibrations: dict[SeriesId, Calibration] = {}
        self._learned_at: dict[SeriesId, datetime] = {}
        self._blended: CachedOutlook | None = None
        self._usual: CachedOutlook | None = None

    @property
    def wanted(self) -> timedelta:
        """How far back measured values are of use for the normal of each hour; zero when nothing is learned."""
        return timedelta(days=self._days)

    @property
    def measured_from(self) -> datetime | None:
        """Where the measured values in use begin; None without any."""
        return self._measured.start if self._measured is not None else None

    @property
    def measured_until(self) -> datetime | None:
        """Where they end."""
        return self._measured.end if self._measured is not None else None

    def load_measured(self, now: datetime) -> None:
        """Load the measured values from the store."""
        if self._days:
            self._measured = self._store.measured(self._zone, now - self.wanted - DAY, now, without=self._without)

    def reload_measured(self, now: datetime) -> None:
        """Load values that reached the store other than by polling, and learn from them with the next poll."""
        self.load_measured(now)
        self._learned_at.clear()

    def calibrate(self, forecasts: Iterable[Forecast], now: datetime) -> dict[SeriesId, Calibration]:
        """Return, from time to time, what past forecasts of these series teach. May take a second; changes nothing."""
        due = {
            row.series.id
            for row in forecasts
            if row.fallback_level is not FallbackLevel.STATIC and self._is_due(row.series.id, now)
        }
        since = now - MEMORY - self.wanted
        measured = self._store.measured(self._zone, since, now, without=self._without) if due else None
        if measured is None:
            return {}
        issues = self._store.issues(self._zone, now - MEMORY, ISSUE_EVERY)
        by_id = {key: [issue for issue in issues if issue.series.id == key] for key in due}
        return {key: calibrate(same, measured, now, days=self._days) for key, same in by_id.items()}

    def set_calibrations(self, calibrations: Mapping[SeriesId, Calibration], now: datetime) -> None:
        """Use these calibrations from now on."""
        self._calibrations |= calibrations
        self._learned_at |= dict.fromkeys(calibrations, now)

    def usual(self, now: datetime) -> Series | None:
        """Return an outlook from past days alone; None with less than a day measured to learn from."""
        inputs = OutlookInputs(measured=self._measured)
        if self._usual is None or not self._usual.holds(inputs, now):
            until = now + USUAL_AHEAD
            made = self._made(None, now, until) if self._has_a_day(now) else None
            self._usual = CachedOutlook.made_of(inputs, made, now, until)
        return self._usual.outlook

    def outlook(self, forecast: Forecast | None, now: datetime, until: datetime) -> Series | None:
        """Return what to expect of the slots that touch `[now, until)`; None when nothing is known of them.

        It is the same object until a slot has ended or there was news, so asking at every tick costs nothing, and a
        plan made with it holds as long. Without days to learn from it is the forecast's own slots, and so is a yearly
        mean, which past days tell nothing of.
        """
        series, known_at = (forecast.series, forecast.known_at) if forecast is not None else (None, None)
        calibration = self._calibrations.get(series.id) if series is not None else None
        inputs = OutlookInputs(series, known_at, self._measured, calibration, until - now)
        if self._blended is None or not self._blended.holds(inputs, now):
            self._blended = CachedOutlook.made_of(inputs, self._made(forecast, now, until), now, until)
        return self._blended.outlook

    def _is_due(self, series: SeriesId, now: datetime) -> bool:
        every = (
            LEARN_FIRST_EVERY
            if self._calibrations.get(series, Calibration()).weights == Calibration().weights
            else LEARN_EVERY
        )
        last = self._learned_at.get(series)
        return bool(self._days) and (last is None or not last <= now < last + every)

    def _has_a_day(self, now: datetime) -> bool:
        if self._measured is None:
            return False
        recent = self._measured.between(now - self.wanted, now)
        return float((recent.ends_s - recent.starts_s).sum()) >= DAY.total_seconds()

    def _made(self, forecast: Forecast | None, now: datetime, until: datetime) -> Series | None:
        if not self._days or (forecast is not None and forecast.fallback_level is FallbackLevel.STATIC):
            return forecast.series.between(now, until) if forecast is not None else None
        return outlook(
            forecast.series if forecast is not None else None,
            self._measured,
            now,
            until,
            calibration=self._calibrations.get(forecast.series.id) if forecast is not None else None,
            known_at=forecast.known_at if forecast is not None else None,
            days=self._days,
        )

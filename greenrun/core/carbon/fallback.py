"""Choose the active forecast: a provider's while it is fresh, and else the best of ever weaker fallbacks."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from greenrun.core.carbon.intensity import FallbackLevel, Forecast, Series
from greenrun.core.formatting import duration_text

AHEAD = timedelta(hours=6)  # a forecast that covers less than this of the hours ahead gives way to one that covers more
EXPIRED_AFTER = timedelta(hours=26)  # a source that publishes once a day must not expire just before it publishes again
NOW = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StalenessRules:
    """When forecasts become stale: after `stale_after` (None: never, as in a replay); after EXPIRED_AFTER they expire.

    Providers in `statements` are files that somebody answers for: repeating a value confirms it.
    """

    stale_after: timedelta | None = None
    statements: frozenset[str] = frozenset()

    def is_stale(self, age: timedelta) -> bool:
        """Whether a forecast of this age is no longer fresh."""
        return self.stale_after is not None and age > self.stale_after

    def is_expired(self, age: timedelta) -> bool:
        """Whether a forecast of this age is too old to be used at all."""
        return self.stale_after is not None and age > max(self.stale_after, EXPIRED_AFTER)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReceivedForecast:
    """A provider's forecast and the instant `since` which it has been known, from which its age counts."""

    forecast: Forecast
    since: datetime

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self.forecast.series.id.provider

    @property
    def end(self) -> datetime:
        """The end of its last slot."""
        return self.forecast.series.end or self.since

    def age(self, now: datetime) -> timedelta:
        """Its age at `now`; zero where the clock was set back."""
        return max(NOW, now - self.since)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActiveForecast:
    """The forecast in use at an instant, its fallback level, and why it was chosen.

    `since` is when the forecast became known, None for levels below STALE; `forecast` is None for NONE alone.
    """

    fallback_level: FallbackLevel = FallbackLevel.NONE
    why: str = "nothing is known of the hours to come yet"
    forecast: Forecast | None = None
    since: datetime | None = None

    def age(self, now: datetime) -> timedelta | None:
        """The forecast's age at `now`; None where it has none."""
        return None if self.since is None else max(NOW, now - self.since)


def add_received(
    received: Sequence[ReceivedForecast], forecast: Forecast, rules: StalenessRules
) -> tuple[ReceivedForecast, ...]:
    """Return what is kept of one provider once this forecast came: it first, then an earlier one that reaches further.

    A forecast is as old as its source says. Where the source does not say, one that only repeats an earlier forecast
    (the same values where both have slots, and nothing beyond) is as old as that one: asking a frozen source again does
    not make its forecast younger.
    """
    if forecast.issued_at is not None:
        since = forecast.issued_at
    else:
        repeated = [row.since for row in received if _repeats(row.forecast.series, forecast.series)]
        is_statement = forecast.series.id.provider in rules.statements
        since = min([forecast.fetched_at, *(() if is_statement else repeated)])
    latest = ReceivedForecast(forecast=forecast, since=since)
    further = sorted((row for row in received if row.end > latest.end), key=lambda row: row.since)
    return latest, *further[-1:]


def choose_active(
    received: Sequence[ReceivedForecast],
    now: datetime,
    rules: StalenessRules,
    climatology: Callable[[], Series | None] = lambda: None,
) -> ActiveForecast:
    """Return the forecast to use at `now`, from the first fallback level that has one.

    `received` is in the order in which providers are preferred. FRESH is the first that covers all of the next `AHEAD`,
    or else the one that covers most of it; STALE is chosen likewise, younger forecasts before older ones. `climatology`
    is called only when no provider's forecast can be used, and a provider's yearly mean (STATIC) is the last resort.
    """
    present = [row for row in received if row.end > now]
    told = [row for row in present if row.forecast.fallback_level is not FallbackLevel.STATIC]
    fresh = [row for row in told if not rules.is_stale(row.age(now))]
    if chosen := _first_that_covers(fresh, now):
        return _active(chosen, FallbackLevel.FRESH, f"{chosen.provider} said so {_ago(chosen.age(now))}")
    stale = [row for row in told if not rules.is_expired(row.age(now))]
    if chosen := _first_that_covers(sorted(stale, key=lambda row: row.since, reverse=True), now):
        why = f"nobody says anything newer than {chosen.provider} did {_ago(chosen.age(now))}"
        return _active(chosen, FallbackLevel.STALE, why)
    trouble = _trouble(received, told, now)
    if (series := climatology()) is not None and len(series):
        usual = Forecast(series=series, fetched_at=now, fallback_level=FallbackLevel.CLIMATOLOGY)
        why = f"{trouble}, so this is what the same hours of past days were"
        return ActiveForecast(fallback_level=FallbackLevel.CLIMATOLOGY, why=why, forecast=usual)
    static = [row for row in present if row.forecast.fallback_level is FallbackLevel.STATIC]
    if chosen := _first_that_covers(static, now):
        why = f"{trouble} and too little was measured, so this is the yearly mean that {chosen.provider} states"
        return ActiveForecast(fallback_level=FallbackLevel.STATIC, why=why, forecast=chosen.forecast)
    return ActiveForecast(why=f"{trouble} and too little was measured, so jobs start as soon as GPUs are free")


def _active(row: ReceivedForecast, level: FallbackLevel, why: str) -> ActiveForecast:
    forecast = replace(row.forecast, fallback_level=level)
    return ActiveForecast(fallback_level=level, why=why, forecast=forecast, since=row.since)


def _first_that_covers(received: Sequence[ReceivedForecast], now: datetime) -> ReceivedForecast | None:
    """Return the first that covers all of the next `AHEAD`, or else the first of those that cover most of it."""
    shares = [_covered_s(row.forecast.series, now, now + AHEAD) for row in received]
    most = max(shares, default=0.0)
    enough = min(most, AHEAD.total_seconds() - 1.0)
    return next((row for row, share in zip(received, shares, strict=True) if share >= enough), None)


def _covered_s(series: Series, start: datetime, end: datetime) -> float:
    knots_s, _, covered_s = series.curves
    before, after = np.interp([start.timestamp(), end.timestamp()], knots_s, covered_s)
    return float(after - before)


def _repeats(before: Series, after: Series) -> bool:
    """Whether `after` has no slot that `before` does not have."""
    if not len(before) or not len(after) or after.ends_s[-1] > before.ends_s[-1]:
        return False
    places = np.minimum(np.searchsorted(before.starts_s, after.starts_s), len(before) - 1)
    mine, theirs = (before.starts_s[places], before.ends_s[places], before.values[places]), after
    pairs = zip(mine, (theirs.starts_s, theirs.ends_s, theirs.values), strict=True)
    return all(bool(np.array_equal(own, other)) for own, other in pairs)


def _trouble(received: Sequence[ReceivedForecast], told: Iterable[ReceivedForecast], now: datetime) -> str:
    """Say why no provider's forecast is used."""
    if old := min(told, key=lambda row: row.age(now), default=None):
        return f"what {old.provider} said {_ago(old.age(now))} is too old to go by"
    speakers = [row for row in received if row.forecast.fallback_level is not FallbackLevel.STATIC]
    if last := max(speakers, key=lambda row: row.end, default=None):
        return f"{last.provider} said nothing beyond what is over by now"
    return "no provider has said anything of the hours to come"


def _ago(age: timedelta) -> str:
    """An age to the minute, as far as that says anything."""
    minutes = timedelta(minutes=age // timedelta(minutes=1))
    return f"{duration_text(minutes)} ago" if minutes else "just now"

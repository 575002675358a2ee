"""Choose what to go by for the hours to come: what a provider said as long as that can be trusted, then ever less."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from greenrun.core.carbon.intensity import Forecast, Rung, Series
from greenrun.core.formatting import exact_duration_text

AHEAD = timedelta(hours=6)  # a forecast that tells less than this of the hours to come gives way to one that tells more
STALE_AFTER = timedelta(hours=2)
DISTRUSTED_AFTER = timedelta(hours=26)  # who speaks once a day must not be distrusted just before he speaks again
NOW = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ageing:
    """How forecasts age: stale after `stale_after` (None: never, as in a replay), and of no use a good day after.

    What is said by `statements`, files that somebody answers for, holds as long as they can be read.
    """

    stale_after: timedelta | None = None
    statements: frozenset[str] = frozenset()

    def is_stale(self, age: timedelta) -> bool:
        """Whether a forecast of this age is no longer fresh."""
        return self.stale_after is not None and age > self.stale_after

    def is_distrusted(self, age: timedelta) -> bool:
        """Whether a forecast of this age is of no use any more."""
        return self.stale_after is not None and age > max(self.stale_after, DISTRUSTED_AFTER)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Word:
    """What a provider said, and the instant `since` which it is known: its age counts from there."""

    forecast: Forecast
    since: datetime

    @property
    def provider(self) -> str:
        """Who said it."""
        return self.forecast.series.id.provider

    @property
    def end(self) -> datetime:
        """How far it reaches; a forecast has a slot."""
        return self.forecast.series.end or self.since

    def age(self, now: datetime) -> timedelta:
        """How old it is; zero where a clock was set back."""
        return max(NOW, now - self.since)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standing:
    """What is gone by at an instant: the rung of the ladder, the forecast that stands on it, and why that one.

    `since` is when the forecast came to be known, None on the rungs below STALE; `forecast` is None on NONE alone.
    """

    rung: Rung = Rung.NONE
    why: str = "nothing is known of the hours to come yet"
    forecast: Forecast | None = None
    since: datetime | None = None

    def age(self, now: datetime) -> timedelta | None:
        """How old the forecast is, as far as it has an age."""
        return None if self.since is None else max(NOW, now - self.since)


def heard(words: Sequence[Word], forecast: Forecast, ageing: Ageing) -> tuple[Word, ...]:
    """Return one provider's words once it has said this: the latest first, and the one before where that tells more.

    A forecast is as old as its source says. Where that says nothing, one that only repeats what was said before (the
    same values where both speak, and nothing beyond) is as old as that: a frozen source is no younger for being asked.
    """
    if forecast.issued_at is not None:
        since = forecast.issued_at
    else:
        repeated = [word.since for word in words if _repeats(word.forecast.series, forecast.series)]
        is_statement = forecast.series.id.provider in ageing.statements
        since = min([forecast.fetched_at, *(() if is_statement else repeated)])
    latest = Word(forecast=forecast, since=since)
    further = sorted((word for word in words if word.end > latest.end), key=lambda word: word.since)
    return latest, *further[-1:]


def stand(
    words: Sequence[Word], now: datetime, ageing: Ageing, normal: Callable[[], Series | None] = lambda: None
) -> Standing:
    """Return what to go by at `now`: the highest rung that there is something for.

    `words` are in the order in which their providers are preferred. FRESH is the first that tells of all of the next
    `AHEAD`, or else the one that tells most of it; STALE is chosen likewise, the younger before the older. `normal`
    gives the climatology (asked only when nobody can be trusted), and a provider's yearly mean is the last resort.
    """
    present = [word for word in words if word.end > now]
    told = [word for word in present if word.forecast.rung is not Rung.STATIC]
    fresh = [word for word in told if not ageing.is_stale(word.age(now))]
    if chosen := _first_that_covers(fresh, now):
        return _by_word(chosen, Rung.FRESH, f"{chosen.provider} said so {_ago(chosen.age(now))}")
    trusted = [word for word in told if not ageing.is_distrusted(word.age(now))]
    if chosen := _first_that_covers(sorted(trusted, key=lambda word: word.since, reverse=True), now):
        why = f"nobody says anything newer than {chosen.provider} did {_ago(chosen.age(now))}"
        return _by_word(chosen, Rung.STALE, why)
    trouble = _trouble(words, told, now)
    if (series := normal()) is not None and len(series):
        usual = Forecast(series=series, fetched_at=now, rung=Rung.CLIMATOLOGY)
        why = f"{trouble}, so this is what the same hours of past days were"
        return Standing(rung=Rung.CLIMATOLOGY, why=why, forecast=usual)
    if chosen := _first_that_covers([word for word in present if word.forecast.rung is Rung.STATIC], now):
        why = f"{trouble} and too little was measured, so this is the yearly mean that {chosen.provider} states"
        return Standing(rung=Rung.STATIC, why=why, forecast=chosen.forecast)
    return Standing(why=f"{trouble} and too little was measured, so jobs start as soon as GPUs are free")


def _by_word(word: Word, rung: Rung, why: str) -> Standing:
    return Standing(rung=rung, why=why, forecast=replace(word.forecast, rung=rung), since=word.since)


def _first_that_covers(words: Sequence[Word], now: datetime) -> Word | None:
    """Return the first word that tells of all of the hours ahead, or else the first of those that tell most of them."""
    shares = [_covered_s(word.forecast.series, now, now + AHEAD) for word in words]
    most = max(shares, default=0.0)
    enough = min(most, AHEAD.total_seconds() - 1.0)
    return next((word for word, share in zip(words, shares, strict=True) if share >= enough), None)


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


def _trouble(words: Sequence[Word], told: Iterable[Word], now: datetime) -> str:
    """Say why no provider's word is gone by."""
    if old := min(told, key=lambda word: word.age(now), default=None):
        return f"what {old.provider} said {_ago(old.age(now))} is too old to go by"
    speakers = [word for word in words if word.forecast.rung is not Rung.STATIC]
    if last := max(speakers, key=lambda word: word.end, default=None):
        return f"{last.provider} said nothing beyond what is over by now"
    return "no provider has said anything of the hours to come"


def _ago(age: timedelta) -> str:
    """An age to the minute, as far as that says anything."""
    minutes = timedelta(minutes=age // timedelta(minutes=1))
    return f"{exact_duration_text(minutes)} ago" if minutes else "just now"

"""The active forecast is always the best there is: no older forecast, guess or mean while something better holds."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.fallback import (
    AHEAD,
    EXPIRED_AFTER,
    ActiveForecast,
    ReceivedForecast,
    StalenessRules,
    add_received,
    choose_active,
)
from greenrun.core.carbon.intensity import FallbackLevel, Forecast, Kind, Series, SeriesId
from tests.core.hours import HOUR
from tests.slots import slots_of
from tests.world import T0

AGEING = StalenessRules(stale_after=2 * HOUR)
NOTHING = "and too little was measured, so jobs start as soon as GPUs are free"
LEVELS = (FallbackLevel.FRESH, FallbackLevel.STALE, FallbackLevel.CLIMATOLOGY, FallbackLevel.STATIC, FallbackLevel.NONE)


def series(begin: float, hours: float, value: float = 100.0, provider: str = "uk") -> Series:
    """Half hours from `begin` hours after T0 on, in a course of their own, so that forecasts repeat one another."""
    starts = [T0 + timedelta(hours=begin) + index * HOUR / 2 for index in range(int(hours * 2))]
    values = [value + (start - T0) / HOUR % 7 for start in starts]
    return Series.of(SeriesId(provider=provider, zone="GB"), slots_of(starts, values, HOUR / 2, Kind.FORECAST))


def told(
    at: float, hours: float, *, provider: str = "uk", fallback_level: FallbackLevel = FallbackLevel.FRESH, **own: float
) -> Forecast:
    """What a provider says `at` hours after T0 of the hours from then on."""
    whole = series(own.pop("begin", at), hours, provider=provider, **own)
    return Forecast(series=whole, fetched_at=T0 + timedelta(hours=at), fallback_level=fallback_level)


def received(at: float, hours: float, **own: object) -> ReceivedForecast:
    """The same, known since then."""
    return ReceivedForecast(forecast=told(at, hours, **own), since=T0 + timedelta(hours=at))  # type: ignore[arg-type]


def at(now: float, *rows: ReceivedForecast, has_past: bool = False, ageing: StalenessRules = AGEING) -> ActiveForecast:
    """The active forecast `now` hours after T0."""
    usual = series(now, 48, provider="uk+climatology") if has_past else None
    return choose_active(rows, T0 + timedelta(hours=now), ageing, lambda: usual)


received_forecasts = st.builds(
    received,
    st.floats(-60, 0).map(lambda hours: round(2 * hours) / 2),
    st.sampled_from([0.5, 3.0, 6.0, 12.0, 40.0]),
    provider=st.sampled_from(["a", "b", "c"]),
    fallback_level=st.sampled_from([FallbackLevel.FRESH, FallbackLevel.STATIC]),
)


@given(st.lists(received_forecasts, max_size=5), st.booleans())
def test_the_level_is_the_first_that_there_is_something_for(known: list[ReceivedForecast], has_past: bool) -> None:
    present = [row for row in known if row.end > T0]
    ages = [row.age(T0) for row in present if row.forecast.fallback_level is FallbackLevel.FRESH]
    possible = {
        FallbackLevel.FRESH: any(age <= 2 * HOUR for age in ages),
        FallbackLevel.STALE: any(age <= EXPIRED_AFTER for age in ages),
        FallbackLevel.CLIMATOLOGY: has_past,
        FallbackLevel.STATIC: any(row.forecast.fallback_level is FallbackLevel.STATIC for row in present),
        FallbackLevel.NONE: True,
    }
    chosen = at(0, *known, has_past=has_past)
    assert chosen.fallback_level is next(level for level in LEVELS if possible[level])
    assert (chosen.forecast is None) == (chosen.fallback_level is FallbackLevel.NONE)
    assert (chosen.since is None) == (chosen.fallback_level not in (FallbackLevel.FRESH, FallbackLevel.STALE))
    if chosen.forecast is not None:
        assert chosen.forecast.fallback_level is chosen.fallback_level
        assert chosen.forecast.series.end is not None
        assert chosen.forecast.series.end > T0
    assert chosen.why
    assert "\n" not in chosen.why


@given(st.lists(received_forecasts, min_size=1, max_size=5))
def test_of_fresh_forecasts_the_first_that_covers_is_chosen_or_else_one_that_tells_most(
    known: list[ReceivedForecast],
) -> None:
    fresh = [
        row
        for row in known
        if row.forecast.fallback_level is FallbackLevel.FRESH and row.end > T0 and row.age(T0) <= 2 * HOUR
    ]
    chosen = at(0, *known)
    if not fresh:
        return
    shares = [min(row.end, T0 + AHEAD) for row in fresh]
    best = fresh[shares.index(max(shares))]
    assert chosen.forecast is not None
    assert chosen.forecast.series is best.forecast.series


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), min_size=1, max_size=20))
def test_a_frozen_source_grows_older_however_often_it_is_asked(rounds: list[tuple[float, bool]]) -> None:
    """The same values, cut where each answer begins, and now and then shorter: known since the first."""
    known: tuple[ReceivedForecast, ...] = add_received((), told(0, 48), AGEING)
    now = 0.0
    for later, is_short in rounds:
        now = min(47.0, round(2 * (now + later)) / 2)
        known = add_received(known, told(now, (48 - now) / (2 if is_short else 1)), AGEING)
        assert {row.since for row in known} == {T0}


@pytest.mark.parametrize(("more", "value"), [(0.5, 100.0), (0.0, 101.0)], ids=["a later end", "another value"])
def test_news_makes_a_source_young_again(more: float, value: float) -> None:
    known = add_received((), told(0, 48), AGEING)
    known = add_received(known, told(5, 43 + more, value=value), AGEING)
    assert known[0].since == T0 + 5 * HOUR


def test_a_forecast_is_as_old_as_its_source_says() -> None:
    issued = Forecast(series=series(5, 40), fetched_at=T0 + 5 * HOUR, issued_at=T0 + 3 * HOUR)
    assert add_received((), issued, AGEING)[0].since == T0 + 3 * HOUR


def test_what_a_file_says_that_somebody_answers_for_holds_as_long_as_it_can_be_read() -> None:
    ageing = StalenessRules(stale_after=2 * HOUR, statements=frozenset({"uk"}))
    known = add_received(add_received((), told(0, 96), ageing), told(50, 46), ageing)
    assert at(51, *known, ageing=ageing).fallback_level is FallbackLevel.FRESH


def test_nothing_ages_in_a_replay() -> None:
    assert at(47, received(0, 48), ageing=StalenessRules()).fallback_level is FallbackLevel.FRESH


def test_a_short_answer_does_not_displace_a_longer_one_that_is_still_fresh() -> None:
    known = add_received(add_received((), told(0, 48), AGEING), told(1, 3, value=50.0), AGEING)
    early, late = at(1.5, *known), at(2.5, *known)
    assert early.forecast is not None
    assert early.forecast.series.end == T0 + 48 * HOUR
    assert late.forecast is not None
    assert (late.fallback_level, late.forecast.series.end) == (FallbackLevel.FRESH, T0 + 4 * HOUR)


def test_of_stale_forecasts_the_younger_is_chosen() -> None:
    chosen = at(20, received(0, 48, provider="a"), received(15, 48, provider="b"))
    assert chosen.forecast is not None
    assert (chosen.fallback_level, chosen.forecast.series.id.provider) == (FallbackLevel.STALE, "b")


def test_a_mean_displaces_neither_a_stale_forecast_nor_past_days_wherever_it_stands() -> None:
    mean, stale = received(20, 72, provider="mean", fallback_level=FallbackLevel.STATIC), received(0, 48)
    assert at(20, mean, stale, has_past=True).fallback_level is FallbackLevel.STALE
    assert at(40, mean, stale, has_past=True).fallback_level is FallbackLevel.CLIMATOLOGY
    assert at(40, mean, stale).fallback_level is FallbackLevel.STATIC


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (0.0, "uk said so just now"),
        (1.75, "uk said so 1h45m ago"),
        (5.0, "nobody says anything newer than uk did 5h ago"),
        (30.0, f"what uk said 1d6h ago is too old to go by {NOTHING}"),
        (50.0, f"uk said nothing beyond what is over by now {NOTHING}"),
    ],
)  # fmt: skip
def test_every_level_says_why_in_a_sentence(now: float, why: str) -> None:
    assert at(now, received(0, 48)).why == why


def test_a_clock_that_was_set_back_makes_nothing_older_than_it_is() -> None:
    chosen: ActiveForecast = at(-3, received(0, 48, begin=-5))
    now: datetime = T0 - 3 * HOUR
    assert (chosen.fallback_level, chosen.age(now)) == (FallbackLevel.FRESH, timedelta(0))

"""The planner is told the forecast tempered by what was measured, and drawn on past its end, and which is which."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.blend import Calibration
from greenrun.core.carbon.intensity import Basis, Kind, Series, SeriesId
from greenrun.core.carbon.outlook import outlook
from tests.core.build import GRID, T0
from tests.core.hours import DAY, HOUR, course, hourly, measured_days, told

BLENDED = SeriesId(provider="test+climatology", zone="GB")


def seen(forecast: Series | None, measured: Series | None, hours: float = 48, **more: Any) -> Series:
    """The outlook at T0."""
    made = outlook(forecast, measured, T0, T0 + hours * HOUR, **more)
    assert made is not None
    return made


def without(series: Series, *places: int) -> Series:
    """The series without some of its slots."""
    keep = np.ones(len(series), bool)
    keep[list(places)] = False
    kinds = tuple(kind for kind, kept in zip(series.kinds, keep, strict=True) if kept)
    return Series(series.id, series.starts_s[keep], series.ends_s[keep], series.values[keep], kinds)


def with_value(series: Series, place: int, value: float) -> Series:
    values = series.values.copy()
    values[place] = value
    return Series(series.id, series.starts_s, series.ends_s, values, series.kinds)


def test_a_forecast_and_the_normal_count_the_same_at_first() -> None:
    made = seen(told(24, lambda at: 100.0), measured_days(14, lambda at: 300.0), hours=24)
    assert made.values == pytest.approx(np.full(24, 200.0))
    assert set(made.kinds) == {Kind.FORECAST}


def test_the_first_days_measured_count_for_less() -> None:
    made = seen(told(24, lambda at: 100.0), measured_days(1, lambda at: 300.0), hours=24)
    assert made.values == pytest.approx(np.full(24, 100 + 200 / 14))


def test_past_the_forecasts_end_come_estimated_slots_of_the_same_step() -> None:
    made = seen(told(24), measured_days(28))
    assert (len(made), made.start, made.end, made.holes()) == (48, T0, T0 + 48 * HOUR, [])
    assert made.kinds == (Kind.FORECAST,) * 24 + (Kind.ESTIMATED,) * 24


def test_what_was_added_to_is_no_longer_the_providers_word() -> None:
    """A blended outlook names climatology in its identity, and cannot be spliced with the forecast."""
    forecast = told(24)
    assert seen(forecast, measured_days(28)).id == BLENDED
    assert seen(forecast, None).id == BLENDED
    assert seen(forecast, None, hours=24).id == GRID
    with pytest.raises(ValueError, match="never spliced"):
        forecast.followed_by(seen(forecast, measured_days(28)))


def test_without_anything_measured_a_forecast_keeps_its_values_and_goes_on_as_its_own_days_were() -> None:
    made = seen(told(30, lambda at: at.hour + 100.0 * at.day), None, hours=54)
    assert made.values[:30] == pytest.approx(told(30, lambda at: at.hour + 100.0 * at.day).values)
    assert made.values[30:54] == pytest.approx(
        [*(200.0 + hour for hour in range(6, 24)), *(250.0 + h for h in range(6))]
    )
    assert set(made.kinds[30:]) == {Kind.ESTIMATED}


def test_a_short_forecast_alone_is_not_held_flat() -> None:
    """Hours of which nobody ever said anything stay unknown."""
    made = seen(told(6), None)
    assert (made.end, made.id) == (T0 + 30 * HOUR, BLENDED)
    assert made.holes() == [(T0 + 6 * HOUR, T0 + 24 * HOUR)]


def test_holes_of_a_forecast_are_filled_where_the_hour_is_known_and_stay_holes_elsewhere() -> None:
    holed = without(told(24), 3, 15, 16)
    filled = seen(holed, measured_days(28), hours=24)
    assert filled.holes() == []
    assert [place for place, kind in enumerate(filled.kinds) if kind is Kind.ESTIMATED] == [3, 15, 16]
    assert seen(holed, None, hours=24).holes() == holed.holes()
    afternoons = measured_days(0.5)  # from noon to midnight
    assert seen(holed, afternoons, hours=24).holes() == [(T0 + 3 * HOUR, T0 + 4 * HOUR)]


def test_before_a_forecast_that_begins_later_lie_estimated_slots() -> None:
    made = seen(told(24, start=T0 + 2 * HOUR), measured_days(28), hours=24)
    assert (made.start, made.kinds[:3]) == (T0, (Kind.ESTIMATED, Kind.ESTIMATED, Kind.FORECAST))


def test_measured_values_alone_give_an_outlook_on_their_own_step() -> None:
    made = seen(None, measured_days(28), hours=12.5)
    assert (len(made), made.start, set(made.kinds)) == (13, T0, {Kind.ESTIMATED})
    assert made.id == BLENDED


def test_a_departure_measured_last_goes_on_and_dies_away() -> None:
    high = measured_days(28, lambda at: 300.0 + (100.0 if at >= T0 - HOUR else 0.0))
    values = seen(None, high, hours=72).values
    assert values[0] > 380
    assert (np.diff(values[:23]) < 0).all()
    assert values[71] == pytest.approx(300, abs=15)


def test_a_forecasts_usual_error_is_taken_off() -> None:
    """A forecast that is always 80 too high at night says the truth once that is known."""

    def off(at: datetime) -> float:
        return course(at) + (80.0 if at.hour < 6 else 0.0)

    past = measured_days(28)
    errors = Series(GRID, past.starts_s, past.ends_s, past.values - measured_days(28, off).values, past.kinds)
    follows = Calibration(weights=(1.0,) * 4, errors=errors)
    assert seen(told(24, off), past, hours=24, calibration=follows).values == pytest.approx(told(24).values)
    assert seen(told(24, off), past, hours=24, calibration=Calibration(weights=(1.0,) * 4)).values[0] == off(T0)


def test_lead_times_count_from_when_the_forecast_was_made() -> None:
    trusts_the_first_hours = Calibration(weights=(1.0, 0.0, 0.0, 0.0))
    forecast, past = told(24, lambda at: 100.0), measured_days(28, lambda at: 300.0)
    fresh = seen(forecast, past, hours=24, calibration=trusts_the_first_hours)
    old = seen(forecast, past, hours=24, calibration=trusts_the_first_hours, known_at=T0 - 12 * HOUR)
    assert (fresh.values[0], old.values[0]) == (pytest.approx(100.0), pytest.approx(300.0))


def test_a_slot_that_the_provider_calls_measured_stays_as_it_is() -> None:
    first = hourly(T0, 1, lambda at: 123.0)
    forecast = first.followed_by(told(23, start=T0 + HOUR))
    made = seen(forecast, measured_days(28), hours=24)
    assert (made.values[0], made.kinds[0], made.kinds[1]) == (123.0, Kind.MEASURED, Kind.FORECAST)


def test_measured_values_that_answer_another_question_are_not_mixed_in() -> None:
    past = measured_days(28, lambda at: 900.0)
    other = Series(
        SeriesId(provider="test", zone="GB", basis=Basis.DIRECT), past.starts_s, past.ends_s, past.values, past.kinds
    )
    made = seen(told(24), other, hours=24)
    assert (made.id, made.values.tolist()) == (GRID, told(24).values.tolist())


def test_of_nothing_there_is_no_outlook() -> None:
    empty = told(0)
    assert outlook(None, None, T0, T0 + DAY) is None
    assert outlook(empty, hourly(T0, 0), T0, T0 + DAY) is None
    assert outlook(told(6), None, T0 + 5 * DAY, T0 + 5 * DAY + timedelta(hours=2)) is not None


def test_a_forecast_that_has_ended_counts_no_more_than_the_normal() -> None:
    made = outlook(told(6, start=T0 - 8 * HOUR), measured_days(28), T0, T0 + DAY)
    assert made is not None
    assert (made.start, set(made.kinds)) == (T0, {Kind.ESTIMATED})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 5001.0])
def test_a_value_that_is_no_intensity_is_refused_with_its_instant(value: float) -> None:
    with pytest.raises(ValueError, match=r"2026-03-02T04:00:00.*is no intensity"):
        outlook(with_value(told(24), 4, value), measured_days(28), T0, T0 + DAY)
    with pytest.raises(ValueError, match=r"2026-02-02T04:00:00.*is no intensity"):
        outlook(told(24), with_value(measured_days(28), 4, value), T0, T0 + DAY)


def test_unsorted_and_repeated_slots_are_refused() -> None:
    forecast = told(24)
    for order in ([1, 0, 2], [0, 0, 1]):
        rows = Series(
            GRID, forecast.starts_s[order], forecast.ends_s[order], forecast.values[order], forecast.kinds[:3]
        )
        with pytest.raises(ValueError, match="overlap or are unsorted"):
            outlook(rows, None, T0, T0 + DAY)


def test_an_empty_horizon_is_refused() -> None:
    with pytest.raises(ValueError, match="not after"):
        outlook(told(24), None, T0, T0)


@given(
    hours=st.integers(0, 60),
    past=st.integers(0, 40 * 24),
    minute=st.integers(0, 59),
    until=st.integers(1, 100),
    missing=st.sets(st.integers(0, 59), max_size=20),
    step=st.sampled_from([30, 60]),
    level=st.floats(0, 5000),
)
def test_an_outlook_is_always_a_valid_series_over_its_horizon(
    hours: int, past: int, minute: int, until: int, missing: set[int], step: int, level: float
) -> None:
    forecast = without(told(hours, lambda at: level), *(place for place in missing if place < hours))
    measured = hourly(T0 - past * HOUR, past, step=timedelta(minutes=step))
    now = T0 + timedelta(minutes=minute)
    made = outlook(forecast, measured, now, now + until * HOUR)
    if made is None:
        return
    again = Series.of(made.id, made.slots)  # checks order, overlap and values
    assert len(again) == len(made)
    assert made.ends_s[0] > now.timestamp()
    assert made.starts_s[-1] < (now + until * HOUR).timestamp()
    silent = {at for at in made.starts_s.tolist() if at not in set(forecast.starts_s.tolist())}
    assert {at for at, kind in zip(made.starts_s, made.kinds, strict=True) if kind is Kind.ESTIMATED} == silent


@given(at=st.integers(24, 500), later=st.lists(st.floats(0, 5000), min_size=1, max_size=50))
def test_nothing_measured_later_changes_the_outlook(at: int, later: list[float]) -> None:
    measured = hourly(T0 - 20 * DAY, 600)
    now = T0 - 20 * DAY + at * HOUR
    values = measured.values.copy()
    values[at:] = np.resize(later, len(values) - at)
    other = Series(GRID, measured.starts_s, measured.ends_s, values, measured.kinds)
    forecast = told(24, start=now)
    rows = [outlook(forecast, each, now, now + 3 * DAY) for each in (measured, other)]
    assert rows[0] is not None
    assert rows[1] is not None
    assert np.array_equal(rows[0].values, rows[1].values)


def test_a_forecast_of_measured_slots_alone_is_the_outlook() -> None:
    perfect = hourly(T0, 24, lambda at: 100.0 + 7 * at.hour)
    made = seen(perfect, measured_days(28), hours=24)
    assert (made.id, made.values.tolist()) == (perfect.id, perfect.values.tolist())
    assert set(made.kinds) == {Kind.MEASURED}

"""The normal of an hour is the mean of the days before at that hour, and of nothing that comes after."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.climatology import Climatology
from greenrun.core.carbon.intensity import Series
from tests.core.build import GRID, T0
from tests.core.hours import DAY, HOUR, hourly, measured_days, seconds


def normal(series: Series, hours: float, *, now: float = 0, days: int = 28, length: float = 3600) -> float:
    """The normal of the slot so many hours after T0, as known so many hours after T0."""
    known = Climatology.of(series, T0 + now * HOUR, days)
    assert known is not None
    return float(known.expect(seconds(T0 + hours * HOUR), length)[0][0])


def test_a_slot_is_expected_to_be_as_the_days_before_were_at_that_hour() -> None:
    series = measured_days(3, lambda at: 10.0 * at.day + at.hour)  # 27 and 28 February and 1 March
    assert normal(series, 5) == pytest.approx((270 + 280 + 10) / 3 + 5)
    assert normal(series, 24 + 5) == normal(series, 5)


def test_only_the_last_days_count() -> None:
    series = measured_days(10, lambda at: 900.0 if at < T0 - 7 * DAY else 100.0)
    assert normal(series, 3, days=7) == 100.0
    assert normal(series, 3, days=10) == pytest.approx(100 + 0.3 * 800)


def test_a_day_of_the_same_weekday_counts_three_times_once_three_are_known() -> None:
    def monday(at: datetime) -> float:
        return 400.0 if at.weekday() == 0 else 100.0

    assert normal(measured_days(28, monday), 12) == pytest.approx((4 * 3 * 400 + 24 * 100) / 36)
    assert normal(measured_days(28, monday), 36) == pytest.approx((4 * 400 + (4 * 3 + 20) * 100) / 36)
    assert normal(measured_days(14, monday), 12) == pytest.approx((2 * 400 + 12 * 100) / 14)


def test_a_day_with_a_hole_at_that_hour_is_left_out() -> None:
    whole = measured_days(3, lambda at: float(at.day))
    keep = np.ones(len(whole), bool)
    keep[24 + 6] = False
    holed = Series(GRID, whole.starts_s[keep], whole.ends_s[keep], whole.values[keep], whole.kinds[1:])
    assert normal(holed, 6) == pytest.approx((27 + 1) / 2)
    assert normal(holed, 7) == pytest.approx((27 + 28 + 1) / 3)


def test_slots_of_another_length_get_the_exact_mean_over_their_time() -> None:
    series = measured_days(7)
    assert normal(series, 5.5, length=1800) == pytest.approx(normal(series, 5))
    assert normal(series, 5, length=2 * 3600) == pytest.approx((normal(series, 5) + normal(series, 6)) / 2)


def test_there_is_nothing_to_learn_from_nothing_nor_from_what_is_long_past() -> None:
    empty = hourly(T0, 0)
    assert Climatology.of(empty, T0) is None
    assert Climatology.of(hourly(T0, 24), T0) is None
    assert Climatology.of(measured_days(3), T0 + 28 * DAY) is None


def test_an_hour_that_was_never_measured_has_no_normal() -> None:
    known = Climatology.of(measured_days(0.5), T0)
    assert known is not None
    values, days = known.expect(seconds(T0 + 3 * HOUR, T0 + 15 * HOUR), 3600)
    assert (np.isnan(values).tolist(), days.tolist()) == ([True, False], [0.0, 1.0])


def test_a_climatology_of_no_days_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one day, not 0"):
        Climatology.of(measured_days(2), T0, 0)


@given(
    at=st.integers(1, 240),
    ahead=st.integers(0, 200),
    later=st.lists(st.floats(0, 5000), min_size=1, max_size=300),
    days=st.integers(1, 28),
)
def test_nothing_is_learned_from_what_is_not_over(at: int, ahead: int, later: list[float], days: int) -> None:
    """Whatever a slot that is not over at an instant says, and whether it is there at all, changes nothing."""
    series = hourly(T0, 250)
    now = T0 + at * HOUR + timedelta(minutes=20)
    values = series.values.copy()
    values[at:] = np.resize(later, len(values) - at)
    other = Series(GRID, series.starts_s, series.ends_s, values, series.kinds)
    asked = seconds(*(now + number * HOUR for number in range(ahead, ahead + 30)))
    rows = [Climatology.of(each, now, days) for each in (series, other, hourly(T0, at))]
    expected = [row.expect(asked, 3600.0) for row in rows if row is not None]
    assert len(expected) == 3
    for means, known in expected[1:]:
        assert np.array_equal(means, expected[0][0], equal_nan=True)
        assert np.array_equal(known, expected[0][1])

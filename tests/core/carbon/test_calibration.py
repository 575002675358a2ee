"""How far a provider's forecasts can be followed is learned from what it said and what came, and from nothing later."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from greenrun.core.carbon.blend import EVEN, Calibration
from greenrun.core.carbon.calibration import ISSUE_EVERY, MEMORY, calibrate
from greenrun.core.carbon.intensity import Floats, Forecast, Kind, Series
from tests.core.build import GRID, T0
from tests.core.hours import DAY, HOUR

DAYS = 84
HOURS = DAYS * 24
START = T0 - DAYS * DAY


def issues_of(series: Series, now: datetime, ahead: timedelta = timedelta(hours=24)) -> list[Forecast]:
    """A series of forecasts as known by `now`: each slot seen `ahead`."""
    if series.start is None:
        return []
    every_s = ISSUE_EVERY.total_seconds()
    first_s = max(series.start.timestamp(), (now - MEMORY).timestamp())
    starts = np.arange(np.ceil(first_s / every_s) * every_s, now.timestamp(), every_s)
    moments = [datetime.fromtimestamp(float(at), UTC) for at in starts]
    return [Forecast(series=series.between(at, at + ahead), fetched_at=at) for at in moments]


def windy(seed: int = 0) -> Floats:
    """Hours of a zone whose course is the weather's, not the day's."""
    random, values = np.random.default_rng(seed), np.zeros(HOURS)
    for hour in range(1, HOURS):
        values[hour] = 0.95 * values[hour - 1] + random.normal()
    return np.clip(300.0 + 40.0 * values, 1.0, 900.0)


def series(values: Floats, kind: Kind = Kind.MEASURED, start: datetime = START) -> Series:
    starts_s = start.timestamp() + 3600.0 * np.arange(len(values))
    return Series(GRID, starts_s, starts_s + 3600.0, values, (kind,) * len(values))


def calibration(measured: Floats, forecast: Floats, now: datetime = T0) -> Calibration:
    return calibrate(issues_of(series(forecast, Kind.FORECAST), now), series(measured), now)


def test_a_forecast_that_is_right_is_followed_and_one_that_is_noise_is_not() -> None:
    noise = np.random.default_rng(1).permutation(windy())
    good, bad = calibration(windy(), windy()).weights, calibration(windy(), noise).weights
    assert min(good[1:]) > 0.65
    assert max(bad) < 0.3


def test_each_lead_time_has_its_own_weight() -> None:
    """A forecast that is right for 12 hours, and nonsense after, is followed for 12 hours."""
    truth, nonsense = windy(), np.random.default_rng(2).permutation(windy(3))
    issues = [
        Forecast(series=series(_half(truth, nonsense, hour), Kind.FORECAST, START + hour * HOUR), fetched_at=at)
        for hour in range(28 * 24, HOURS - 24, 6)
        for at in [START + hour * HOUR]
    ]
    learned = calibrate(issues, series(truth), T0).weights
    assert min(learned[:2]) > 0.6
    assert learned[2] < 0.4


def _half(truth: Floats, nonsense: Floats, hour: int) -> Floats:
    return np.concatenate([truth[hour : hour + 12], nonsense[hour + 12 : hour + 24]])


def test_the_blend_is_even_until_two_weeks_of_forecasts_are_over() -> None:
    early = START + 20 * DAY
    measured, forecast = series(windy()), series(windy(), Kind.FORECAST)
    few = [issue for issue in issues_of(forecast, early) if issue.known_at > early - 13 * DAY]
    assert calibrate(few, measured, early).weights == (EVEN,) * 4
    assert calibrate(issues_of(forecast, early), measured, early).weights != (EVEN,) * 4
    assert calibrate([], measured, early).weights == (EVEN,) * 4
    assert calibrate([], measured, early).errors is None


def test_errors_are_measured_minus_forecast_slot_by_slot() -> None:
    errors = calibration(windy(), windy() - 30.0).errors
    assert errors is not None
    assert errors.values == pytest.approx(np.full(len(errors), 30.0))
    assert errors.start is not None
    assert T0 - MEMORY <= errors.start <= T0 - MEMORY + 6 * HOUR
    assert errors.end == T0


def test_the_last_issue_made_six_hours_before_a_slot_tells_its_error() -> None:
    truth = series(np.full(HOURS, 100.0))
    issues = [
        Forecast(series=series(np.full(30, said), Kind.FORECAST, at), fetched_at=at)
        for said, at in ((90.0, T0 - DAY), (80.0, T0 - 12 * HOUR))
    ]
    errors = calibrate(issues, truth, T0).errors
    assert errors is not None
    assert [errors.at(T0 - ago * HOUR) for ago in (18, 7, 6, 1)] == [10.0, 10.0, 20.0, 20.0]
    assert errors.at(T0 - 19 * HOUR) is None


def test_nothing_is_learned_from_what_comes_later() -> None:
    """Changing every measured value and dropping every forecast after an instant changes no lesson learned then."""
    now = T0 - 20 * DAY + timedelta(minutes=10)
    known = HOURS - 20 * 24
    other, forecast = windy(), windy(5)
    other[known:] = 777.0
    issues = issues_of(series(forecast, Kind.FORECAST), T0)
    rows = [
        calibrate(issues, series(windy()), now),
        calibrate(issues, series(other), now),
        calibrate([issue for issue in issues if issue.known_at <= now], series(windy()[:known]), now),
    ]
    assert rows[0].weights == rows[1].weights == rows[2].weights
    assert [_errors(row) for row in rows[1:]] == [_errors(rows[0])] * 2


def _errors(row: Calibration) -> Sequence[float]:
    assert row.errors is not None
    return row.errors.values.tolist()  # type: ignore[no-any-return]


def test_a_file_without_issue_times_is_seen_a_day_ahead() -> None:
    issues = issues_of(series(windy(), Kind.FORECAST), T0)
    assert len(issues) == 4 * 56
    assert (issues[0].known_at, issues[0].series.end) == (T0 - MEMORY, T0 - MEMORY + DAY)
    assert issues_of(series(np.zeros(0)), T0) == []


def test_holes_and_issues_of_odd_lengths_are_left_out() -> None:
    """A measured hole takes out the issues over it; what remains is still learned from."""
    measured = series(windy())
    keep = np.ones(HOURS, bool)
    keep[-10 * 24 : -9 * 24] = False
    holed = Series(GRID, measured.starts_s[keep], measured.ends_s[keep], measured.values[keep], measured.kinds[24:])
    learned = calibrate(issues_of(series(windy(), Kind.FORECAST), T0), holed, T0)
    assert min(learned.weights) > EVEN

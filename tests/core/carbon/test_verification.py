"""How good forecasts were is told from what they said and what came, hour by hour, and from nothing else."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.blend import LEADS_H as BLENDED_H
from greenrun.core.carbon.intensity import Basis, Floats, Forecast, Kind, Series
from greenrun.core.carbon.verification import (
    DAY_H,
    ENOUGH,
    LEADS_H,
    MISSING_MEASURED,
    MISSING_ORDER,
    MISSING_SAVING,
    MISSING_WINDOW,
    WINDOW_H,
    ForecastScores,
    captured,
    rank_correlations,
    verify,
)
from tests.core.build import GRID, T0
from tests.core.hours import DAY, HOUR, course

DAYS = 10
START = T0 - DAYS * DAY
FIGURES = ("mean_absolute_error_g_per_kwh", "bias_g_per_kwh", "rank_correlation", "captured_ratio")


def series(values: Floats, start: datetime = START, kind: Kind = Kind.FORECAST, step: timedelta = HOUR) -> Series:
    step_s = step.total_seconds()
    starts_s = start.timestamp() + step_s * np.arange(len(values))
    return Series(GRID, starts_s, starts_s + step_s, np.asarray(values, dtype=np.float64), (kind,) * len(values))


def truth(per_hour: int = 1) -> Floats:
    """Days of another height each, so that no two are alike."""
    hours = [course(START + hour * HOUR) + 7.0 * (hour // 24) for hour in range(DAYS * 24)]
    return np.repeat(hours, per_hour)


def issues(said: Floats, every_h: int = 6, ahead_h: int = 48, late: timedelta = timedelta(0)) -> list[Forecast]:
    """What was said of the hours, as issued every so often."""
    moments = range(0, DAYS * 24 - ahead_h + 1, every_h)
    return [
        Forecast(series=series(said[at : at + ahead_h], START + at * HOUR), fetched_at=START + at * HOUR + late)
        for at in moments
    ]


def judged(said: Floats, came: Floats | None = None, now: datetime = T0) -> dict[tuple[int, int], ForecastScores]:
    measured = series(truth() if came is None else came, kind=Kind.MEASURED)
    return {row.lead_h: row for row in verify(issues(said), measured, now)}


def test_a_forecast_that_came_true_is_perfect_at_every_lead() -> None:
    for lead_h, row in judged(truth()).items():
        assert (row.mean_absolute_error_g_per_kwh, row.bias_g_per_kwh) == (0.0, 0.0)
        assert row.rank_correlation == pytest.approx(1.0)
        assert row.captured_ratio == (1.0 if lead_h in (DAY_H, (24, 48)) else None)


def test_a_constant_error_is_a_bias_and_changes_no_choice() -> None:
    row = judged(truth() + 30.0)[DAY_H]
    assert (row.mean_absolute_error_g_per_kwh, row.bias_g_per_kwh) == (pytest.approx(30.0), pytest.approx(30.0))
    assert (row.rank_correlation, row.captured_ratio) == (pytest.approx(1.0), 1.0)


def test_a_forecast_upside_down_is_worse_than_none() -> None:
    row = judged(600.0 - truth())[DAY_H]
    assert row.rank_correlation == pytest.approx(-1.0)
    assert row.captured_ratio is not None
    assert row.captured_ratio < 0


def test_each_lead_time_is_judged_by_itself() -> None:
    """Right for twelve hours and ten grams too high after."""
    good = [
        replace(row, series=series(row.series.values + 10.0 * (np.arange(48) >= 12), row.fetched_at))
        for row in issues(truth())
    ]
    found = verify(good, series(truth(), kind=Kind.MEASURED), T0)
    assert [row.bias_g_per_kwh for row in found[:4]] == pytest.approx([0.0, 0.0, 10.0, 10.0])
    assert [row.hours for row in found[:4]] == [row.issues * (row.lead_h[1] - row.lead_h[0]) for row in found[:4]]


def test_hours_that_are_not_over_or_not_known_are_not_judged() -> None:
    now = START + 6 * DAY
    told = series(truth()[: 9 * 24], kind=Kind.MEASURED)
    early = {row.lead_h: row for row in verify(issues(truth()), told, now)}
    later = truth()
    later[6 * 24 :] += 500.0
    assert judged(truth(), later, now) == early
    holed = verify(issues(truth()), series(truth()[:100], kind=Kind.MEASURED), T0)
    assert holed[0].hours == sum(max(0, min(6, 100 - at)) for at in range(0, 193, 6))


def test_a_forecast_issued_within_an_hour_counts_from_the_next_one() -> None:
    at_once = verify(issues(truth() + 5.0), series(truth(), kind=Kind.MEASURED), T0)
    late = verify(issues(truth() + 5.0, late=timedelta(minutes=1)), series(truth(), kind=Kind.MEASURED), T0)
    assert [row.bias_g_per_kwh for row in late] == pytest.approx([5.0] * 5)
    assert late[3].hours == at_once[3].hours - at_once[3].issues  # of each the last hour is beyond what it told


def test_hours_are_means_of_shorter_slots() -> None:
    fine = [
        Forecast(series=series(truth(12)[at * 12 : (at + 48) * 12], START + at * HOUR, step=HOUR / 12), fetched_at=when)
        for at in range(0, 193, 6)
        for when in [START + at * HOUR]
    ]
    wave = np.tile([3.0, -3.0], 24)
    fine = [replace(row, series=replace(row.series, values=row.series.values + np.tile(wave, 12))) for row in fine]
    found = verify(fine, series(truth(), kind=Kind.MEASURED), T0)
    assert [row.mean_absolute_error_g_per_kwh for row in found] == pytest.approx([0.0] * 5, abs=1e-6)


def test_what_an_issue_says_was_measured_is_not_judged() -> None:
    kinds = (Kind.MEASURED,) * 6 + (Kind.FORECAST,) * 42
    marked = [replace(row, series=replace(row.series, kinds=kinds)) for row in issues(truth())]
    first = verify(marked, series(truth(), kind=Kind.MEASURED), T0)[0]
    assert (first.hours, first.bias_g_per_kwh) == (0, None)


def test_what_is_not_known_has_its_reason() -> None:
    measured = series(truth(), kind=Kind.MEASURED)
    few = verify(issues(truth())[: ENOUGH - 1], measured, T0)[0]
    assert few.missing == dict.fromkeys(
        FIGURES, "7 forecasts are over and were measured; 8 are needed, six hours apart"
    )
    assert verify(issues(truth()), None, T0)[0].missing["bias_g_per_kwh"] == MISSING_MEASURED
    assert judged(truth())[0, 6].missing == {"captured_ratio": MISSING_WINDOW}
    flat = judged(np.full(DAYS * 24, 200.0))[DAY_H]
    assert flat.missing == {"rank_correlation": MISSING_ORDER}
    even = judged(truth(), np.full(DAYS * 24, 200.0))[DAY_H]
    assert even.missing == {"rank_correlation": MISSING_ORDER, "captured_ratio": MISSING_SAVING}
    for row in (few, flat, even):
        assert {name for name in FIGURES if getattr(row, name) is None} == set(row.missing)


def test_measured_values_of_another_kind_are_not_compared() -> None:
    other = replace(series(truth(), kind=Kind.MEASURED), id=replace(GRID, basis=Basis.DIRECT))
    assert {row.missing["bias_g_per_kwh"] for row in verify(issues(truth()), other, T0)} == {MISSING_MEASURED}


def test_an_issue_of_every_six_hours_counts_however_many_there_are() -> None:
    measured = series(truth(), kind=Kind.MEASURED)
    assert verify(issues(truth(), every_h=1), measured, T0)[0].issues == verify(issues(truth()), measured, T0)[0].issues


def test_the_leads_are_those_that_the_blend_weighs() -> None:
    assert tuple((first + last) / 2 for first, last in LEADS_H) == BLENDED_H
    assert all(before[1] == after[0] for before, after in pairwise(LEADS_H))


rows = st.lists(st.lists(st.integers(0, 9), min_size=24, max_size=24), min_size=1, max_size=4)


@given(told=rows, came=rows)
def test_the_captured_share_is_what_playing_each_issue_gives(told: list[list[int]], came: list[list[int]]) -> None:
    count = min(len(told), len(came))
    saved = possible = 0.0
    for said, real in zip(told, came, strict=False):
        sums = [[sum(row[at : at + WINDOW_H]) / WINDOW_H for at in range(24 - WINDOW_H + 1)] for row in (said, real)]
        saved += sums[1][0] - sums[1][sums[0].index(min(sums[0]))]
        possible += sums[1][0] - min(sums[1])
    found = captured(np.array(told[:count], dtype=float), np.array(came[:count], dtype=float))
    assert found == (pytest.approx(saved / possible) if possible else None)
    assert found is None or found <= 1.0


@given(values=st.lists(st.integers(0, 1000), min_size=3, max_size=30, unique=True), factor=st.floats(0.1, 3))
def test_the_order_alone_counts_for_the_rank_correlation(values: list[int], factor: float) -> None:
    one = np.array([values], dtype=float)
    assert rank_correlations(one, np.exp(one / 200.0))[0] == pytest.approx(1.0)
    assert rank_correlations(one, -factor * one)[0] == pytest.approx(-1.0)


def test_equal_hours_share_their_rank() -> None:
    """Spearman's coefficient with ties, worked out by hand."""
    found = rank_correlations(np.array([[1.0, 1.0, 2.0]]), np.array([[1.0, 2.0, 3.0]]))[0]
    assert found == pytest.approx(3**0.5 / 2)

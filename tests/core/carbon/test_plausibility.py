"""Missing data never looks like clean power, and clean power is not taken for missing data."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Basis, Kind, Series, SeriesId, Signal, Slot
from greenrun.core.carbon.plausibility import TOO_CLEAN, ZEROS, believable, unit_doubt

BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIFECYCLE = SeriesId(provider="p", zone="DE", basis=Basis.LIFECYCLE)
DIRECT = SeriesId(provider="p", zone="DE", basis=Basis.DIRECT)
UNSTATED = SeriesId(provider="p", zone="DE")
MARGINAL = SeriesId(provider="p", zone="DE", signal=Signal.MARGINAL, basis=Basis.LIFECYCLE)


def series(
    values: Sequence[float], of: SeriesId = DIRECT, step: timedelta = HOUR, kind: Kind = Kind.MEASURED
) -> Series:
    slots = [Slot(BEGIN + n * step, BEGIN + (n + 1) * step, value, kind) for n, value in enumerate(values)]
    return Series.of(of, slots)


@pytest.mark.parametrize("of", [DIRECT, UNSTATED, MARGINAL])
@pytest.mark.parametrize(
    ("values", "kept"),
    [
        pytest.param([0.0] * 12, 0, id="zeros for half a day"),
        pytest.param([0.0] * 11, 11, id="zeros for less"),
        pytest.param([300.0] * 3 + [0.0] * 12, 3, id="a jump to zeros that stay"),
        pytest.param([300.0] * 3 + [0.0] * 11, 14, id="a jump to zeros of a day's curtailment"),
        pytest.param([0.0] * 30 + [8.0], 31, id="zeros that end"),
        pytest.param([60.0, 30.0, 12.0] + [0.0] * 40, 43, id="power that gets clean by and by"),
        pytest.param([], 0, id="nothing"),
    ],
)
def test_zeros_are_believed_unless_they_stay_to_the_end(of: SeriesId, values: list[float], kept: int) -> None:
    told, dropped = believable(series(values, of))
    assert len(told) == kept
    assert dropped == ({ZEROS: len(values) - kept} if kept < len(values) else {})


def test_time_counts_and_not_the_number_of_values() -> None:
    assert len(believable(series([0.0] * 143, step=timedelta(minutes=5)))[0]) == 143
    assert len(believable(series([0.0] * 144, step=timedelta(minutes=5)))[0]) == 0


@pytest.mark.parametrize(
    ("values", "kept"), [([0.0] * 6, 0), ([0.0] * 5, 5), ([0.0] * 8 + [1.0], 9), ([90.0] + [0.0] * 11, 12)]
)
def test_a_forecast_of_nothing_but_zeros_is_none(values: list[float], kept: int) -> None:
    assert len(believable(series(values, kind=Kind.FORECAST))[0]) == kept


def test_no_life_cycle_is_cleaner_than_wind() -> None:
    told, dropped = believable(series([0.0, 4.9, 5.0, 11.0, 0.3], LIFECYCLE))
    assert (list(told.values), dropped) == ([5.0, 11.0], {TOO_CLEAN: 3})


def test_what_was_computed_of_a_mix_may_be_zero_for_ever() -> None:
    assert len(believable(series([0.0] * 48), trusts_zeros=True)[0]) == 48


@given(st.lists(st.floats(5, 2000), max_size=40), st.sampled_from([LIFECYCLE, DIRECT, UNSTATED, MARGINAL]))
def test_what_is_not_clean_stays_as_it_is(values: list[float], of: SeriesId) -> None:
    given_series = series(values, of)
    told, dropped = believable(given_series)
    assert told is given_series
    assert not dropped


@pytest.mark.parametrize(
    ("values", "mean", "unit"),
    [
        pytest.param([0.35, 0.3, 0.4], 342.0, "kg/kWh", id="kilograms"),
        pytest.param([0.75, 0.7], 342.0, "lb/kWh", id="pounds"),
        pytest.param([120.0, 130.0], 22.0, "lb/MWh", id="pounds of a MWh"),
        pytest.param([1800.0, 1900.0], 22.0, "no intensities", id="watts"),
    ],
)
def test_another_unit_is_named(values: list[float], mean: float, unit: str) -> None:
    assert unit in str(unit_doubt(series(values), mean))


@pytest.mark.parametrize("median", [70.0, 342.0, 1700.0])
def test_a_dirty_or_a_windy_day_is_no_other_unit(median: float) -> None:
    assert unit_doubt(series([median] * 3), 342.0) is None


def test_without_a_known_mean_only_kilograms_show() -> None:
    assert "kg/kWh" in str(unit_doubt(series([0.3, 0.4]), None))
    assert unit_doubt(series([0.0, 0.0]), None) is None
    assert unit_doubt(series([30.0]), None) is None
    assert unit_doubt(series([]), 342.0) is None

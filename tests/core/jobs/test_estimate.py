"""Estimates are plain arithmetic with their method told, and the best window is the least of all there are."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Kind, Series, Slot
from greenrun.core.jobs.estimate import (
    Figure,
    best_start,
    energy_kwh,
    gpu_hours,
    nominal_power,
    training_flops,
    window,
    windows,
)
from greenrun.core.reference.gpu_models import find_model
from tests.core.build import GRID, SLOT, T0, grid

MINUTE = timedelta(minutes=1)
VALUES = st.lists(st.integers(0, 900), min_size=4, max_size=30)


def power(watts: float = 1000.0) -> Figure:
    return Figure(value=watts, least=watts / 2, most=watts * 2, method="test")


def test_a_hand_computed_job_on_eight_h100() -> None:
    """96 GPU-hours on 8 x 700 W x 0.76 = 4,256 W for 12 h, at PUE 1.2: 61.2864 kWh, and at 200 g/kWh 12.25728 kg."""
    drawn = nominal_power(find_model("H100"), 8)
    energy = energy_kwh(drawn, timedelta(hours=96 / 8), 1.2)
    assert (drawn.value, drawn.least, drawn.most) == pytest.approx((4256, 2800, 5600))
    assert (energy.value, energy.least, energy.most) == pytest.approx((61.2864, 40.32, 80.64))
    emitted = window(grid([200] * 48), T0, timedelta(hours=12), energy).emissions_g
    assert emitted is not None
    assert (emitted.value, emitted.least, emitted.most) == pytest.approx((12257.28, 8064, 16128))


def test_a_hand_computed_transformer() -> None:
    """7e9 parameters on 2e12 tokens are 8.4e22 operations: 58,953 hours of an H100 at 40 % of its 989.5 TFLOP/s."""
    flops = training_flops(7e9, 2e12)
    assert flops == 8.4e22
    assert gpu_hours(flops, find_model("H100").peak_flops, 0.4) == pytest.approx(8.4e22 / 3.958e14 / 3600)
    assert round(gpu_hours(flops, 989.5e12, 0.4)) == 58_952


@given(st.floats(0.01, 1e4), st.floats(1, 1e6), st.floats(1, 3))
def test_twice_the_hours_take_twice_the_energy_and_on_a_flat_grid_emit_twice_as_much(
    hours: float, watts: float, pue: float
) -> None:
    flat = Series.of(GRID, [Slot(T0, T0 + timedelta(hours=3e4), 250.0, Kind.FORECAST)])
    once, twice = (energy_kwh(power(watts), timedelta(hours=hours) * factor, pue) for factor in (1, 2))
    assert twice.value == pytest.approx(2 * once.value)
    grams = [window(flat, T0, timedelta(hours=hours) * n, energy) for n, energy in ((1, once), (2, twice))]
    values = [row.emissions_g.value for row in grams if row.emissions_g]
    assert values == pytest.approx([once.value * 250, once.value * 500])


def brute(series: Series, latest_minute: int, duration: timedelta) -> float | None:
    means = [series.mean(T0 + minute * MINUTE, T0 + minute * MINUTE + duration) for minute in range(latest_minute + 1)]
    return min((mean for mean in means if mean is not None), default=None)


@given(VALUES, st.integers(0, 600), st.integers(1, 400))
def test_the_best_window_is_inside_the_limit_and_no_other_is_cleaner(
    values: Sequence[float], latest_minute: int, minutes: int
) -> None:
    series, duration, latest = grid(values), minutes * MINUTE, T0 + latest_minute * MINUTE
    found, least = best_start(series, T0, latest, duration), brute(series, latest_minute, duration)
    if least is None:
        assert found is None
        return
    assert found is not None
    assert T0 <= found <= latest
    mean = series.mean(found, found + duration)
    assert mean is not None
    assert mean <= least * (1 + 1e-9) + 1e-9


@given(VALUES, st.integers(0, 600), st.integers(1, 100))
def test_the_best_window_never_emits_more_than_a_start_now_or_the_latest(
    values: Sequence[float], latest_minute: int, minutes: int
) -> None:
    duration = minutes * MINUTE
    found = windows(grid(values), T0, T0 + latest_minute * MINUTE, duration, energy_kwh(power(), duration, 1.0))
    known = {name: row.g_per_kwh for name, row in found.items() if row.g_per_kwh is not None}
    assert found["now"].start == T0
    assert found["latest"].start == T0 + latest_minute * MINUTE
    assert all(known["best"] <= value * (1 + 1e-9) + 1e-9 for value in known.values())


def test_on_a_flat_grid_the_best_start_is_now() -> None:
    assert best_start(grid([70] * 9), T0 + MINUTE, T0 + 5 * SLOT, SLOT) == T0 + MINUTE


def test_a_window_may_start_so_as_to_end_at_a_slot_s_edge() -> None:
    """100-10-10-100 for 75 min: the hour of 10 and a quarter of 100 on either side; the earlier of the two is taken."""
    found = best_start(grid([100, 10, 10, 100]), T0, T0 + 3 * SLOT, 75 * MINUTE)
    assert found == T0 + 15 * MINUTE


def test_a_window_across_a_hole_is_unknown_with_its_reason_and_never_the_best() -> None:
    slots = [*grid([50, 50]), *grid([90, 90], start=T0 + 3 * SLOT)]
    holed, energy = Series.of(GRID, slots), energy_kwh(power(), 2 * SLOT, 1.0)
    row = window(holed, T0 + SLOT, 2 * SLOT, energy)
    assert (row.g_per_kwh, row.emissions_g, row.reason) == (None, None, "the forecast has a hole in this window")
    assert best_start(holed, T0 + SLOT, T0 + 5 * SLOT, 2 * SLOT) == T0 + 3 * SLOT


def test_a_window_beyond_the_forecast_says_so() -> None:
    row = window(grid([50]), T0, 2 * SLOT, energy_kwh(power(), 2 * SLOT, 1.0))
    assert row.reason == "the forecast ends at 2026-03-02 00:30:00Z, before this window does"
    before = window(grid([50]), T0 - SLOT, SLOT, energy_kwh(power(), SLOT, 1.0))
    assert before.reason == "the forecast begins only at 2026-03-02 00:00:00Z"
    assert window(Series.of(GRID, []), T0, SLOT, power()).reason == "the forecast is empty"


def test_the_share_that_is_only_estimated_is_told() -> None:
    mixed = Series.of(
        GRID, [Slot(T0, T0 + SLOT, 80.0, Kind.FORECAST), Slot(T0 + SLOT, T0 + 4 * SLOT, 80.0, Kind.ESTIMATED)]
    )
    row = window(mixed, T0, 4 * SLOT, power())
    assert row.kinds == {Kind.FORECAST: 0.25, Kind.ESTIMATED: 0.75}

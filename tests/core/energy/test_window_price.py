"""What a window emitted: each minute with its own intensity, and of which kind that was."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Kind, Series, SeriesId, Slot
from greenrun.core.energy.model import Component, Quality, Slice
from greenrun.core.energy.window_price import price_window
from greenrun.core.units import J_PER_KWH

T0 = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
STEP = timedelta(minutes=5)
ID = SeriesId(provider="uk", zone="GB")


def series(*values: float | None, kinds: tuple[Kind, ...] = ()) -> Series:
    """Slots of five minutes."""
    named = kinds or (Kind.FORECAST,) * len(values)
    slots = [
        Slot(T0 + index * STEP, T0 + (index + 1) * STEP, value, kind)
        for index, (value, kind) in enumerate(zip(values, named, strict=True))
        if value is not None
    ]
    return Series.of(ID, slots)


def pieces(*energies: float | None) -> list[Slice]:
    """Slices of five minutes."""
    return [
        Slice(
            device="GPU-a", component=Component.GPU, run_id=None, start=T0 + index * STEP, end=T0 + (index + 1) * STEP,
            energy_j=energy_j, quality=Quality.UNKNOWN if energy_j is None else Quality.MEASURED,
        )
        for index, energy_j in enumerate(energies)
    ]  # fmt: skip


@given(rows=st.lists(st.tuples(st.floats(1, 1e8), st.floats(1, 900)), min_size=1, max_size=12), pue=st.floats(1, 2))
def test_grams_are_energy_times_the_intensity_of_its_own_time(rows: list[tuple[float, float]], pue: float) -> None:
    told = price_window(pieces(*(j for j, _ in rows)), series(*(g for _, g in rows)), T0, T0 + len(rows) * STEP, pue)
    assert told is not None
    grams = sum(j / J_PER_KWH * g for j, g in rows) * pue
    assert told.emissions_g == pytest.approx(grams)
    assert told.g_per_kwh == pytest.approx(grams / pue / (sum(j for j, _ in rows) / J_PER_KWH))


def test_unknown_energy_has_unknown_emissions_and_the_mean_intensity_of_the_time() -> None:
    told = price_window(pieces(1e6, None), series(100, 300), T0, T0 + 2 * STEP, 1.0)
    assert told is not None
    assert (told.emissions_g, told.g_per_kwh) == (None, 200)


def test_a_hole_in_the_intensity_is_no_price() -> None:
    assert price_window(pieces(1e6, 1e6, 1e6), series(100, None, 300), T0, T0 + 3 * STEP, 1.0) is None


def test_the_kind_is_the_least_certain_and_each_has_its_part() -> None:
    told = price_window(
        pieces(3e6, 1e6), series(100, 300, kinds=(Kind.MEASURED, Kind.FORECAST)), T0, T0 + 2 * STEP, 1.0
    )
    assert told is not None
    assert (told.kind, told.kinds) == (Kind.FORECAST, {Kind.MEASURED: 0.75, Kind.FORECAST: 0.25})


def test_without_any_device_the_intensity_is_told_alone() -> None:
    told = price_window([], series(100), T0, T0 + STEP, 1.0)
    assert told is not None
    assert (told.emissions_g, told.g_per_kwh, told.kind) == (None, 100, Kind.FORECAST)


def test_no_energy_at_all_emits_nothing_and_has_the_intensity_of_its_time() -> None:
    told = price_window(pieces(0.0, 0.0), series(100, 300), T0, T0 + 2 * STEP, 1.0)
    assert told is not None
    assert (told.emissions_g, told.g_per_kwh) == (0.0, 200)

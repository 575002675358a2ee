"""The ledger prices an interval with its own mean, and never turns unknown into a number."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Kind
from greenrun.core.energy.ledger import UNPRICED, Entry, Priced, Total, price, total
from greenrun.core.energy.model import Component, Quality, Slice, worst
from tests.core.build import GRID, SLOT, T0, grid


def piece(energy_j: float | None, start: float = 0, slots: float = 1, quality: Quality = Quality.MEASURED) -> Slice:
    return Slice(
        device="gpu0", component=Component.GPU, run_id=1, start=T0 + start * SLOT, end=T0 + (start + slots) * SLOT,
        energy_j=energy_j, quality=quality,
    )  # fmt: skip


def test_a_kilowatt_hour_at_100_g_emits_100_g_and_the_pue_comes_once() -> None:
    assert price(piece(3.6e6), grid([100]), 1.0).emissions_g == pytest.approx(100)
    assert price(piece(3.6e6), grid([100]), 1.5).emissions_g == pytest.approx(150)


def test_the_interval_is_priced_not_the_instant() -> None:
    assert price(piece(3.6e6, start=0.5), grid([100, 200]), 1.0).emissions_g == pytest.approx(150)


def test_what_is_not_known_stays_unpriced() -> None:
    assert price(piece(1.0, start=5), grid([100]), 1.0) is UNPRICED
    assert price(piece(1.0), None, 1.0) is UNPRICED


def test_unknown_energy_has_an_intensity_and_no_emissions() -> None:
    assert price(piece(None), grid([100]), 1.0) == Priced(
        intensity_g_per_kwh=100, emissions_g=None, kind=Kind.FORECAST, series=GRID
    )


def test_nothing_sums_to_unknown_not_to_zero() -> None:
    nothing = total([])
    assert (nothing.energy_j, nothing.emissions_g, nothing.settled_g) == (None, None, None)


def test_one_unpriced_part_leaves_the_sum_unknown() -> None:
    priced = Entry(slice=piece(1.0), pue=1.0, booked=price(piece(1.0), grid([100]), 1.0))
    unpriced = Entry(slice=piece(1.0), pue=1.0, booked=UNPRICED)
    assert total([priced, unpriced]).emissions_g is None
    assert total([priced, unpriced]).energy_j == 2.0


@pytest.mark.parametrize(
    ("slots", "expected_s", "is_whole"),
    [
        pytest.param([0, 1], {"gpu0": 3600}, True, id="all of it"),
        pytest.param([0, 1], {"gpu0": 3601}, True, id="but a second"),
        pytest.param([0, 1], {"gpu0": 3602}, False, id="two seconds short"),
        pytest.param([1], {"gpu0": 3600}, False, id="the beginning is missing"),
        pytest.param([0, 1], {"gpu0": 3600, "gpu1": 3600}, False, id="a device is missing"),
        pytest.param([0, 1], {}, True, id="nothing is expected"),
    ],
)
def test_a_part_that_is_in_no_slice_leaves_the_sum_unknown(
    slots: list[int], expected_s: dict[str, float], is_whole: bool
) -> None:
    pieces = [piece(1.0, start=slot) for slot in slots]
    prices = [price(each, grid([100, 100]), 1.0) for each in pieces]
    rows = [Entry(slice=each, pue=1.0, booked=one, settled=one) for each, one in zip(pieces, prices, strict=True)]
    expected = total(rows) if is_whole else Total(energy_j=float(len(slots)))
    assert total(rows, expected_s) == expected
    assert (expected.emissions_g is not None) == is_whole


@given(st.lists(st.sampled_from(Quality), min_size=1))
def test_the_worst_grade_of_the_parts_is_the_grade_of_the_sum(qualities: list[Quality]) -> None:
    known = [Quality.MEASURED, Quality.INTEGRATED, Quality.ESTIMATED, Quality.EMULATED, Quality.BRIDGED]
    order = [*known, Quality.UNKNOWN]
    assert worst(qualities) is max(qualities, key=order.index)


@given(st.floats(0, 1e9), st.floats(0, 1000), st.floats(0.1, 0.9))
def test_cutting_a_slice_in_two_does_not_change_its_grams_and_doubling_the_intensity_doubles_them(
    energy_j: float, intensity: float, share: float
) -> None:
    whole = price(piece(energy_j), grid([intensity]), 1.2).emissions_g or 0.0
    left = price(piece(energy_j * share, slots=share), grid([intensity]), 1.2).emissions_g or 0.0
    right = (
        price(piece(energy_j * (1 - share), start=share, slots=1 - share), grid([intensity]), 1.2).emissions_g or 0.0
    )
    doubled = price(piece(energy_j), grid([2 * intensity]), 1.2).emissions_g or 0.0
    assert left + right == pytest.approx(whole, rel=1e-6, abs=1e-9)
    assert doubled == pytest.approx(2 * whole, rel=1e-9)


def test_a_slice_is_as_long_as_it_says() -> None:
    assert piece(1.0).end - piece(1.0).start == timedelta(minutes=30)

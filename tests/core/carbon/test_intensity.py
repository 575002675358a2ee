"""Intensity is a step function: integrals are exact, holes are never bridged, identities never mixed."""

from datetime import timedelta
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Basis, Kind, Series, SeriesId, Slot
from tests.core.build import GRID, SLOT, T0, grid

values = st.lists(st.floats(0, 1000), min_size=1, max_size=20)


def test_a_mean_weighs_each_slot_by_its_share_of_the_interval() -> None:
    assert grid([100, 200]).mean(T0 + SLOT / 2, T0 + SLOT * 1.25) == pytest.approx((100 * 2 + 200) / 3)


def test_a_slot_holds_its_start_and_not_its_end() -> None:
    series = grid([100, 200])
    assert [series.at(T0), series.at(T0 + SLOT), series.at(T0 + 2 * SLOT), series.at(T0 - SLOT)] == [
        100,
        200,
        None,
        None,
    ]


def test_nothing_is_known_across_a_hole_or_beyond_the_ends() -> None:
    slots = [Slot(T0, T0 + SLOT, 100, Kind.MEASURED), Slot(T0 + 2 * SLOT, T0 + 3 * SLOT, 50, Kind.MEASURED)]
    series = Series.of(GRID, slots)
    assert series.mean(T0, T0 + 3 * SLOT) is None
    assert series.mean(T0 - SLOT, T0 + SLOT) is None
    assert series.mean(T0 + 2 * SLOT, T0 + 3 * SLOT) == 50
    assert series.holes() == [(T0 + SLOT, T0 + 2 * SLOT)]


@pytest.mark.parametrize("value", [nan, inf, -1.0, 6000.0])
def test_a_value_that_is_no_intensity_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="2026-03-02T00:00"):
        grid([value])


def test_unsorted_overlapping_and_empty_slots_are_refused() -> None:
    a, b = Slot(T0, T0 + SLOT, 1, Kind.FORECAST), Slot(T0 + SLOT / 2, T0 + 2 * SLOT, 1, Kind.FORECAST)
    for slots in ([a, b], [b, a], [Slot(T0, T0, 1, Kind.FORECAST)]):
        with pytest.raises(ValueError, match="slot"):
            Series.of(GRID, slots)


def test_series_of_different_identity_are_never_spliced() -> None:
    other = Series.of(SeriesId(provider="test", zone="GB", basis=Basis.DIRECT), grid([1]).slots)
    with pytest.raises(ValueError, match="never spliced"):
        grid([1]).followed_by(other)


def test_a_later_series_takes_over_where_it_begins_even_inside_a_slot() -> None:
    later = grid([9, 9], start=T0 + SLOT / 2)
    both = grid([100, 200, 300]).followed_by(later)
    assert [(slot.start, slot.intensity_g_per_kwh) for slot in both] == [
        (T0, 100), (T0 + SLOT / 2, 9), (T0 + SLOT * 1.5, 9),
    ]  # fmt: skip


@pytest.mark.parametrize("us", [1, 2, 5, 9, 20, 1000])
def test_a_window_of_microseconds_is_covered_wholly_or_not_at_all(us: int) -> None:
    series, window = grid([300, 300]), timedelta(microseconds=us)
    assert series.mean(T0 + SLOT - window / 2, T0 + SLOT - window / 2 + window) == pytest.approx(300, rel=1e-3)
    assert series.mean(T0 + SLOT, T0 + SLOT + window) == pytest.approx(300, rel=1e-3)
    assert series.mean(T0 - window, T0) is None
    assert series.mean(T0 + 2 * SLOT, T0 + 2 * SLOT + window) is None
    if 1 < us < 20:
        assert series.mean(T0 - timedelta(microseconds=1), T0 - timedelta(microseconds=1) + window) is None


@given(values, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_integral_over_an_interval_is_the_sum_over_its_parts(
    rows: list[float], a: float, b: float, c: float
) -> None:
    series, span = grid(rows), len(rows) * SLOT
    start, middle, end = (T0 + share * span for share in sorted([a, b, c]))
    parts = [(s, e) for s, e in ((start, middle), (middle, end)) if e > s]
    whole = sum((series.mean(s, e) or 0.0) * (e - s).total_seconds() for s, e in parts)
    if end - start > timedelta(milliseconds=1):
        assert (series.mean(start, end) or 0.0) * (end - start).total_seconds() == pytest.approx(whole, abs=1e-2)


@given(values, st.floats(0.01, 5))
def test_many_means_at_once_are_the_single_ones(rows: list[float], slots: float) -> None:
    series = grid(rows)
    starts = np.array([(T0 + i * SLOT / 3).timestamp() for i in range(3 * len(rows))])
    at_once = series.means(starts, slots * SLOT.total_seconds())
    one_by_one = [series.mean(T0 + i * SLOT / 3, T0 + i * SLOT / 3 + slots * SLOT) for i in range(3 * len(rows))]
    assert [None if np.isnan(v) else pytest.approx(v, abs=1e-4) for v in at_once] == one_by_one


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(-40, 300), st.integers(0, 300))
def test_the_next_edge_is_the_first_of_all_edges(there: list[bool], start: int, minutes: int) -> None:
    series = Series.of(
        GRID, [Slot(T0 + i * SLOT, T0 + (i + 1) * SLOT, 100, Kind.MEASURED) for i, is_in in enumerate(there) if is_in]
    )
    after = T0 + timedelta(minutes=start)
    before = after + timedelta(minutes=minutes)
    assert series.next_edge(after, before) == next(iter(series.edges(after, before)), None)


@given(st.lists(st.booleans(), max_size=8), st.integers(-40, 300), st.integers(0, 300))
def test_what_is_uncovered_is_what_no_slot_holds(there: list[bool], start: int, minutes: int) -> None:
    slots = [Slot(T0 + i * SLOT, T0 + (i + 1) * SLOT, 100, Kind.MEASURED) for i, is_in in enumerate(there) if is_in]
    series, first = Series.of(GRID, slots), T0 + timedelta(minutes=start)
    last = first + timedelta(minutes=minutes)
    gaps = series.uncovered(first, last)
    for minute in range(minutes):
        at = first + timedelta(minutes=minute)
        assert any(begin <= at < end for begin, end in gaps) == (series.at(at) is None)
    assert all(first <= begin < end <= last for begin, end in gaps)


def test_the_step_is_the_median_of_all_slots() -> None:
    lengths = [1, 1, 1, 2, 4]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    slots = [
        Slot(T0 + at * SLOT, T0 + (at + n) * SLOT, 100, Kind.MEASURED) for at, n in zip(starts, lengths, strict=True)
    ]
    assert [Series.of(GRID, slots[first:]).step for first in (0, 1, 2, 4)] == [SLOT, 1.5 * SLOT, 2 * SLOT, 4 * SLOT]

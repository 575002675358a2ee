"""The baseline is a schedule that the same GPUs could have kept, priced like what it is compared with."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.baseline import UNSETTLED, Profile, Stint, Turn, as_soon_as_possible, baseline_g
from greenrun.core.intensity import Kind, Series, SeriesId, slots_of

T0 = datetime(2026, 3, 2, tzinfo=UTC)
HOUR_S = 3_600.0
GB = SeriesId(provider="uk", zone="GB")


def turn(job_id: int, ready: float, length: float, *devices: str, **more: Any) -> Turn:
    """A job of one run, in hours."""
    stint = Stint(run_id=job_id, devices=devices, start_s=1e6, end_s=1e6 + length * HOUR_S)
    return Turn(job_id=job_id, ready_s=ready * HOUR_S, stints=(stint,), **more)


def hours(turns: Sequence[Turn]) -> dict[int, float]:
    return {run_id: at_s / HOUR_S for run_id, at_s in as_soon_as_possible(turns).items()}


def measured(*values: float) -> Series:
    """Hours from T0 on."""
    starts = [T0 + index * timedelta(hours=1) for index in range(len(values))]
    return Series.of(GB, slots_of(starts, values, timedelta(hours=1), Kind.MEASURED))


def profile(starts_h: Sequence[float], kwh: Sequence[float], index: int = 0) -> Profile:
    """Slices of half an hour that began so many hours after T0."""
    starts_s = T0.timestamp() + HOUR_S * np.array(starts_h)
    return Profile(
        run_ids=np.ones(len(kwh), dtype=np.int64),
        starts_s=starts_s,
        ends_s=starts_s + HOUR_S / 2,
        facility_kwh=np.array(kwh),
        settled_g=np.zeros(len(kwh)),
        series_index=np.full(len(kwh), index),
        series=(GB,),
    )


# when each run would have started


def test_a_job_starts_when_it_can_and_waits_only_for_its_own_gpus() -> None:
    assert hours([turn(1, 0, 2, "a"), turn(2, 1, 1, "a"), turn(3, 1, 1, "b")]) == {1: 0, 2: 2, 3: 1}


def test_who_could_start_first_is_served_first_whatever_its_number() -> None:
    assert hours([turn(1, 5, 2, "a"), turn(2, 4, 2, "a")]) == {2: 4, 1: 6}


def test_a_job_that_waits_for_another_starts_when_that_would_have_ended() -> None:
    assert hours([turn(1, 3, 2, "a"), turn(2, 0, 1, "b", after=(1, 99))]) == {1: 3, 2: 5}


def test_runs_of_a_job_follow_without_a_pause_and_without_loading() -> None:
    first = Stint(run_id=1, devices=("a",), start_s=0, end_s=3600)
    second = Stint(run_id=2, devices=("a",), start_s=9000, end_s=12_600, loads_s=600)
    later = turn(2, 0, 1, "a")
    assert hours([Turn(job_id=1, ready_s=0, stints=(first, second)), Turn(job_id=5, ready_s=0, stints=later.stints)])[
        2
    ] == pytest.approx(1 + 50 / 60)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20), st.integers(1, 5), st.sets(st.sampled_from("abc"), max_size=3), st.integers(0, 12)
        ),
        max_size=12,
    )
)
def test_no_gpu_is_held_twice_and_nobody_starts_before_it_can(rows: Any) -> None:
    turns = [
        turn(key, ready, length, *sorted(devices), after=(after,) if after < key else ())
        for key, (ready, length, devices, after) in enumerate(rows)
    ]
    begun = hours(turns)
    assert set(begun) == {one.job_id for one in turns}
    held = []
    for key, (ready, length, devices, after) in enumerate(rows):
        assert begun[key] >= ready
        assert after >= key or begun[key] >= begun[after] + rows[after][1]
        held += [(device, begun[key], begun[key] + length) for device in devices]
    for one, (device, start, end) in enumerate(held):
        assert not [each for each in held[one + 1 :] if each[0] == device and each[1] < end and start < each[2]]


# what it would have emitted


def test_a_slice_takes_the_intensity_of_when_it_would_have_been() -> None:
    grams = baseline_g(profile([2.0], [3.0]), np.array([-1.75 * HOUR_S]), {GB: measured(100, 200, 50)})
    assert grams.tolist() == pytest.approx([300.0])


def test_where_it_crosses_a_slot_s_edge_it_takes_both() -> None:
    grams = baseline_g(profile([2.0], [1.0]), np.array([-1.25 * HOUR_S]), {GB: measured(100, 200, 50)})
    assert grams.tolist() == pytest.approx([150.0])


@pytest.mark.parametrize("known", [{}, {GB: measured(100)}, {SeriesId(provider="else", zone="GB"): measured(*[9] * 9)}])
def test_without_the_same_source_s_value_nothing_is_told(known: Any) -> None:
    assert np.isnan(baseline_g(profile([3.0], [1.0]), np.array([-1.0 * HOUR_S]), known)).all()


def test_what_is_not_settled_has_no_baseline() -> None:
    assert np.isnan(baseline_g(profile([1.0], [1.0], UNSETTLED), np.zeros(1), {GB: measured(*[9] * 9)})).all()


@given(
    st.lists(st.floats(0, 900), min_size=8, max_size=8),
    st.lists(st.tuples(st.floats(0, 7), st.floats(0, 5)), min_size=1, max_size=6),
    st.floats(0, 10),
)
def test_emissions_grow_with_intensity_and_do_not_change_without_a_move(values: Any, rows: Any, factor: float) -> None:
    slices = profile([start for start, _ in rows], [kwh for _, kwh in rows])
    still = np.zeros(len(rows))
    known = measured(*values)
    grams = baseline_g(slices, still, {GB: known})
    means = known.means_between(slices.starts_s, slices.ends_s)
    assert grams.tolist() == pytest.approx((slices.facility_kwh * means).tolist())
    less = baseline_g(slices, still, {GB: measured(*(value * factor / 10 for value in values))})
    assert less.tolist() == pytest.approx((grams * factor / 10).tolist(), abs=1e-6)

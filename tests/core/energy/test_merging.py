"""What is merged is to every sum what its parts were together, and only what is alike is merged."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import fsum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Kind, SeriesId, Signal
from greenrun.core.energy.ledger import Priced, Stage, device_seconds
from greenrun.core.energy.merging import SettledSlice, groups, merged, within
from greenrun.core.energy.model import Component, Quality, Slice
from tests.sampling import examples

T0 = datetime(2026, 3, 28, 18, 30, tzinfo=UTC)  # midnight in India
UK = SeriesId(provider="uk", zone="GB")
MARGINAL = SeriesId(provider="wt", zone="CAISO_NORTH", signal=Signal.MARGINAL)


def priced(intensity: float | None, grams: float | None, series: SeriesId = UK) -> Priced:
    return Priced(intensity_g_per_kwh=intensity, emissions_g=grams, kind=Kind.MEASURED, series=series)


def a_slice(number: int, start_s: float, length_s: float = 60.0, **changes: Any) -> SettledSlice:
    """A slice of a run's CPU with all four prices, that uses 600 J."""
    start = T0 + timedelta(seconds=start_s)
    given = {
        "device": "RAPL-0", "component": Component.CPU, "run_id": 7, "start": start,
        "end": start + timedelta(seconds=length_s), "energy_j": 600.0, "quality": Quality.MEASURED, "share": 0.25,
    }  # fmt: skip
    prices = {
        Stage.BOOKED: priced(190.0 + number, 0.03 + number),
        Stage.SETTLED: priced(200.0, 0.0333),
        Stage.MARGINAL: priced(700.0, 0.1166, MARGINAL),
        Stage.BASELINE: priced(250.0 - number, 0.04 + number),
    }
    return SettledSlice(id=number, slice=Slice(**(given | changes)), pue=1.1, prices=prices)  # type: ignore[arg-type]


def ids(found: list[list[SettledSlice]]) -> list[list[int]]:
    return [[each.id for each in group] for group in found]


def test_the_minutes_of_an_hour_become_one_slice() -> None:
    minutes = [a_slice(number, 60 * number) for number in range(60)]  # from half past on
    assert ids(groups(minutes)) == [list(range(30)), list(range(30, 60))]
    quarters = groups(minutes, within(timedelta(hours=5, minutes=30)))
    assert ids(quarters) == [list(range(at, at + 15)) for at in range(0, 60, 15)]


@pytest.mark.parametrize(("minutes", "step"), [(0, 60), (-300, 60), (345, 15), (-210, 15), (765, 15)])
def test_the_steps_fit_every_time_zone(minutes: int, step: int) -> None:
    assert within(timedelta(minutes=minutes)) == timedelta(minutes=step)


@pytest.mark.parametrize(
    "change",
    [
        lambda each: replace(each, slice=replace(each.slice, quality=Quality.BRIDGED)),
        lambda each: replace(each, slice=replace(each.slice, energy_j=None, quality=Quality.UNKNOWN)),
        lambda each: replace(each, slice=replace(each.slice, busy_s=3.0)),
        lambda each: replace(each, slice=replace(each.slice, run_id=8)),
        lambda each: replace(each, slice=replace(each.slice, run_id=None)),
        lambda each: replace(each, slice=replace(each.slice, device="RAPL-1")),
        lambda each: replace(each, slice=replace(each.slice, start=each.slice.start + timedelta(seconds=1))),
        lambda each: replace(each, pue=1.2),
        lambda each: replace(each, prices={**each.prices, Stage.SETTLED: priced(201.0, 0.0333)}),
        lambda each: replace(each, prices={**each.prices, Stage.SETTLED: priced(200.0, 0.0333, MARGINAL)}),
        lambda each: replace(each, prices={**each.prices, Stage.SETTLED: priced(200.0, None)}),
        lambda each: replace(each, prices={**each.prices, Stage.MARGINAL: priced(701.0, 0.0333, MARGINAL)}),
        lambda each: replace(each, prices={key: each.prices[key] for key in (Stage.BOOKED, Stage.SETTLED)}),
    ],
)  # fmt: skip
def test_what_differs_in_anything_that_is_told_stays_apart(change: Callable[[SettledSlice], SettledSlice]) -> None:
    assert ids(groups([a_slice(1, 0), change(a_slice(2, 60))])) == [[1], [2]]


def test_slices_of_other_runs_in_between_keep_nothing_apart() -> None:
    other = [replace(each, slice=replace(each.slice, run_id=8)) for each in (a_slice(2, 0), a_slice(4, 60))]
    assert ids(groups([a_slice(1, 0), *other, a_slice(3, 60)])) == [[1, 3], [2, 4]]


def test_a_slice_that_reaches_over_its_hour_stays_as_it_is() -> None:
    hour = a_slice(3, 840, 3600)
    assert ids(groups([a_slice(1, 720), a_slice(2, 780), hour])) == [[1, 2], [3]]
    assert merged([hour]) == hour


def test_the_highest_power_of_the_parts_survives_also_a_second_time() -> None:
    parts = [a_slice(1, 0, energy_j=600.0), a_slice(2, 60, energy_j=21_000.0), a_slice(3, 120, 5, energy_j=9_000.0)]
    once = merged(parts)
    assert once.peak_w == 350.0  # the third is too short to tell a peak
    assert merged([once, a_slice(4, 125)]).peak_w == 350.0


@given(
    st.lists(
        st.tuples(
            st.floats(0.001, 60), st.floats(0, 1e6), st.floats(0.001, 1.0), st.floats(0, 60), st.floats(0, 900)
        ),
        min_size=1,
        max_size=15,
    )
)  # fmt: skip
@examples(200)
def test_every_sum_stays(rows: list[tuple[float, float, float, float, float]]) -> None:
    parts, at_s = [], 0.0
    for number, (length_s, energy_j, share, busy_s, grams) in enumerate(rows):
        each = a_slice(number, at_s, round(length_s, 3), energy_j=energy_j, share=share, busy_s=busy_s, split_j=grams)
        parts.append(replace(each, prices={stage: replace(p, emissions_g=grams) for stage, p in each.prices.items()}))
        at_s = (parts[-1].slice.end - T0).total_seconds()
    found = [merged(group) for group in groups(parts)]
    assert len(found) <= len(parts)
    for of in (
        lambda each: each.slice.energy_j,
        lambda each: each.slice.busy_s,
        lambda each: each.slice.split_j,
        lambda each: device_seconds(each.slice),
        *(lambda each, stage=stage: each.prices[stage].emissions_g for stage in Stage),
    ):
        assert fsum(map(of, found)) == pytest.approx(fsum(map(of, parts)), rel=1e-12)
    for each in found:
        assert each.prices[Stage.SETTLED].intensity_g_per_kwh == 200.0
        inside = [part.prices[Stage.BOOKED].intensity_g_per_kwh for part in parts]
        assert min(inside) - 1e-9 <= each.prices[Stage.BOOKED].intensity_g_per_kwh <= max(inside) + 1e-9  # type: ignore[operator, type-var]

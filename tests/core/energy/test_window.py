"""What a device used over a window: exact where it was read, unknown where it was not, however often it is folded."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.model import Component, Device, Quality, Reading
from greenrun.core.energy.window import GAP_S, DeviceWindow, WindowEnergy, counted, total_j

T0 = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)
GPU = Device(id="GPU-a", index=0, model="A100", source="nvml")
PLUG = Device(id="plug", index=0, model="plug", source="external", kind=Component.EXTERNAL)
WATTS = 300.0


def at(second: float) -> datetime:
    """An instant of the test."""
    return T0 + timedelta(seconds=second)


def reading(second: float, *, counter: str = "boot/0", energy_j: float | None = None, device: str = GPU.id) -> Reading:
    """A reading of a device that draws WATTS."""
    told_j = WATTS * (second + 100) if energy_j is None else energy_j
    quality = Quality.MEASURED
    return Reading(device=device, at=at(second), energy_j=told_j, quality=quality, counter=counter, session="s")


def used(seconds: list[float], start: float, end: float, **options: str) -> WindowEnergy:
    """What was used, as readings at these seconds tell it."""
    watch = DeviceWindow(GPU, at(start))
    watch.hear([reading(second, **options) for second in seconds])
    return watch.used(at(end))


steps = st.lists(st.floats(0.05, 2.4), min_size=2, max_size=200)


@given(steps=steps, folds=st.lists(st.integers(0, 199), max_size=6), share=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_what_was_used_is_the_power_times_the_time_however_often_it_is_folded(
    steps: list[float], folds: list[int], share: tuple[float, float]
) -> None:
    seconds = [sum(steps[:count]) for count in range(len(steps) + 1)]
    first, last = sorted(part * seconds[-1] for part in share)
    if last - first < 0.01:
        first, last = 0.0, seconds[-1]
    watch = DeviceWindow(GPU, at(first))
    for index, second in enumerate(seconds):
        watch.hear([reading(second)])
        if index in folds and second <= last:
            watch.fold(at(second))
    told = watch.used(at(last))
    assert told.energy_j == pytest.approx(WATTS * (last - first), rel=1e-6, abs=1e-3)
    assert (told.quality, told.gap_s, told.reason) == (Quality.MEASURED, 0.0, None)
    assert (told.pieces[0].start, told.pieces[-1].end) == (at(first), at(last))
    assert all(before.end == after.start for before, after in zip(told.pieces, told.pieces[1:], strict=False))


def test_slices_are_cut_at_whole_minutes_so_that_each_has_its_own_price() -> None:
    pieces = used([float(second) for second in range(200)], 0, 150).pieces
    assert [piece.end.strftime("%M:%S") for piece in pieces] == ["01:00", "02:00", "03:00"]


def test_a_pause_is_bridged_by_the_counter_and_its_seconds_are_told() -> None:
    told = used([0, 1, 6.5, 7], 0.5, 7)
    assert (told.quality, told.gap_s) == (Quality.BRIDGED, 5.5)
    assert told.energy_j == pytest.approx(WATTS * 6.5)


@pytest.mark.parametrize("end", [3, 6])
def test_a_window_may_end_within_a_pause_that_is_over(end: int) -> None:
    told = used([0, 1, 6.5, 7], 0.5, end)
    assert told.quality is Quality.BRIDGED
    assert told.energy_j == pytest.approx(WATTS * (end - 0.5))


def test_a_pause_that_began_before_the_window_counts_from_its_start() -> None:
    assert used([0, 4, 5], 3, 5).gap_s == 1


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        pytest.param([2, 3, 11], "it was first read 1s after the start", id="not at the start"),
        pytest.param([0, 1, 2], "it was last read 8s before the end", id="not at the end"),
        pytest.param([0], "it was not read in this time", id="once"),
        pytest.param([], "it was not read in this time", id="never"),
    ],
)
def test_what_was_not_read_at_both_ends_is_unknown_for_a_reason(seconds: list[float], reason: str) -> None:
    told = used(seconds, 1, 10)
    assert (told.energy_j, told.quality, told.reason) == (None, Quality.UNKNOWN, reason)
    assert told.gap_s > 0


def test_a_counter_that_began_anew_makes_all_of_it_unknown() -> None:
    watch = DeviceWindow(GPU, at(0))
    watch.hear([reading(0), reading(1), reading(2, counter="boot/1"), reading(3, counter="boot/1")])
    told = watch.used(at(3))
    assert (told.energy_j, told.quality) == (None, Quality.UNKNOWN)
    assert told.reason == "its counter began anew or jumped, so what it used in 1s of this time cannot be told"


def test_a_window_that_ends_before_what_was_folded_is_unknown() -> None:
    """The clock was set back meanwhile."""
    watch = DeviceWindow(GPU, at(0))
    watch.hear([reading(float(second)) for second in range(100)])
    watch.fold(at(90))
    assert watch.used(at(20)).energy_j is None


def test_asking_changes_nothing() -> None:
    watch = DeviceWindow(GPU, at(0))
    watch.hear([reading(float(second)) for second in range(100)])
    assert watch.used(at(50)) == watch.used(at(50))
    assert watch.used(at(99)).energy_j == pytest.approx(WATTS * 99)


def use(energy_j: float | None, device: Device = GPU) -> WindowEnergy:
    """What some device used."""
    quality = Quality.UNKNOWN if energy_j is None else Quality.MEASURED
    return WindowEnergy(device=device, energy_j=energy_j, quality=quality, gap_s=0.0, pieces=())


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=8))
def test_the_sum_is_that_of_its_parts_and_unknown_with_any_of_them(parts: list[float | None]) -> None:
    known = [part for part in parts if part is not None]
    expected = sum(known) if known and len(known) == len(parts) else None
    assert total_j([use(part) for part in parts]) == (None if expected is None else pytest.approx(expected))


def test_a_meter_at_the_plug_is_not_added_to_what_is_behind_it() -> None:
    both = [use(300.0), use(900.0, PLUG)]
    assert counted(both) == both[:1]
    assert counted(both[1:]) == both[1:]


def test_a_part_whose_energy_is_in_that_of_another_is_not_added_to_it() -> None:
    part = replace(GPU, id="GPU-b", within=GPU.id)
    both = [use(300.0), use(None, part)]
    assert counted(both) == both[:1]
    assert counted(both[1:]) == both[1:]
    assert DeviceWindow(part, at(0)).used(at(9)).reason == "its energy is in that of GPU-a"


def test_a_counter_at_the_plug_that_did_not_move_tells_nothing() -> None:
    """One of kWh stands still for minutes: that is no energy of 0."""
    watch = DeviceWindow(PLUG, at(0), gap_s=10 * GAP_S)
    watch.hear([reading(float(second), device="plug", energy_j=7.0) for second in range(0, 41, 10)])
    told = watch.used(at(35))
    assert (told.energy_j, told.quality, told.pieces[0].energy_j) == (None, Quality.UNKNOWN, None)
    assert (told.reason or "").startswith("its counter did not move")


def test_readings_as_seldom_as_a_meter_gives_them_are_no_gap() -> None:
    watch = DeviceWindow(PLUG, at(0), gap_s=10 * GAP_S)
    watch.hear([reading(float(second), device="plug") for second in range(0, 41, 10)])
    assert (watch.used(at(35)).quality, watch.used(at(35)).gap_s) == (Quality.MEASURED, 0.0)

"""Slices: what is booked follows from the counter and the holds alone, never from when greenrun looked."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.model import Component, Hold, Mark, Quality, Reading, Slice
from greenrun.core.energy.slicing import cut
from greenrun.core.jobs.runs.occupancy import exclusive
from tests.core.energy.build import as_approx, at, drawn, hold, mark, most_j, reading, seconds, worlds

# --- examples


def test_without_a_mark_the_first_reading_becomes_it() -> None:
    slices, new = cut(None, [reading(5, 700), reading(6, 800)], [], [at(6)], at(9))
    assert slices == []
    assert new == mark(700, at=at(5))


def test_nothing_to_go_by_changes_nothing() -> None:
    assert cut(None, [], [], [], at(9)) == ([], None)
    assert cut(mark(), [], [], [at(5)], at(9)) == ([], mark())
    assert cut(mark(), [reading(0, 7)], [], [at(5)], at(9)) == ([], mark())


@pytest.mark.parametrize(
    ("readings", "holds", "edges", "through", "expected"),
    [
        pytest.param([(10, 1000)], [], [5, 10], 10, "0-5 - 500 measured, 5-10 - 500 measured", id="edges"),
        pytest.param([(10, 1000)], [], [4, 8], 10, "0-4 - 400 measured, 4-8 - 400 measured", id="the-rest-waits"),
        pytest.param([(10, 1000)], [], [4, 8], 7, "0-4 - 400 measured", id="nothing-after-through"),
        pytest.param([(5, 500)], [], [4, 8], 10, "0-4 - 400 measured", id="nothing-after-the-last-reading"),
        pytest.param(
            [(2, 200), (4, 1000), (6, 1200)],
            [(7, 2, 4)],
            [6],
            6,
            "0-2 - 200 measured, 2-4 7 800 measured, 4-6 - 200 measured",
            id="--77--",
        ),
        pytest.param([(4, 400)], [(7, 1, None)], [], 4, "0-1 - 100 measured", id="-777"),
        pytest.param(
            [(4, 400)], [(7, -5, 2), (8, 2, None)], [4], 4, "0-2 7 200 measured, 2-4 8 200 measured", id="7788"
        ),
        pytest.param([(4, 400)], [(7, 2, 2)], [2, 4], 4, "0-2 - 200 measured, 2-4 - 200 measured", id="empty-hold"),
    ],
)
def test_cuts(readings: list, holds: list, edges: list, through: float, expected: str) -> None:  # type: ignore[type-arg]
    """Slices begin and end at edges and at the bounds of holds, and nowhere else."""
    slices, _ = cut(
        mark(), [reading(*r) for r in readings], [hold(*h) for h in holds], [at(e) for e in edges], at(through)
    )
    assert drawn(slices) == expected


def test_the_mark_stands_where_booking_ended() -> None:
    _, new = cut(mark(), [reading(10, 1000)], [], [at(4)], at(10))
    assert new is not None
    assert (new.at, new.energy_j) == (at(4), 400.0)


def test_a_hold_of_another_device_is_not_this_ones() -> None:
    slices, _ = cut(mark(), [reading(10, 1000)], [hold(7, 0, 10, device="GPU-2")], [at(10)], at(10))
    assert drawn(slices) == "0-10 - 1000 measured"


def test_two_runs_on_one_device_are_refused() -> None:
    with pytest.raises(ValueError, match="runs 1 and 2 hold GPU-1 at the same time"):
        cut(mark(), [reading(10, 1000)], [hold(1, 0, 5), hold(2, 4, 9)], [], at(10))


def test_readings_of_another_device_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be booked"):
        cut(mark(), [replace(reading(10, 1000), device="GPU-2")], [], [], at(10))


def test_the_worst_grade_of_what_a_slice_spans_is_its_own() -> None:
    readings = [reading(2, 200), reading(4, 400, quality=Quality.ESTIMATED), reading(6, 600)]
    slices, _ = cut(mark(), readings, [], [at(2), at(5), at(6)], at(9))
    assert [piece.quality for piece in slices] == [Quality.MEASURED, Quality.ESTIMATED, Quality.MEASURED]


def test_the_component_is_the_callers() -> None:
    slices, _ = cut(mark(), [reading(2, 200)], [], [at(2)], at(9), component=Component.CPU)
    assert [piece.component for piece in slices] == [Component.CPU]


# --- gaps


def test_between_two_sessions_energy_is_bridged() -> None:
    slices, _ = cut(mark(), [reading(4, 400, session="b"), reading(6, 600, session="b")], [], [at(4), at(6)], at(9))
    assert drawn(slices) == "0-4 - 400 bridged, 4-6 - 200 measured"


def test_a_long_pause_of_one_session_is_bridged() -> None:
    slices, _ = cut(mark(), [reading(10, 1000), reading(21, 2100)], [], [at(10), at(21)], at(30))
    assert drawn(slices) == "0-10 - 1000 measured, 10-21 - 1100 bridged"


def test_a_gap_is_split_by_the_powers_last_seen() -> None:
    """A run that ended inside the gap gets its share by expectation, and the total is the counter's."""
    known = mark(held_w=300.0, idle_w=100.0)
    slices, _ = cut(known, [reading(8, 1600, session="b")], [hold(7, -9, 4)], [at(8)], at(9))
    assert drawn(slices) == "0-4 7 1200 bridged, 4-8 - 400 bridged"
    slices, _ = cut(known, [reading(8, 800, session="b")], [hold(7, -9, 4)], [at(8)], at(9))
    assert drawn(slices) == "0-4 7 600 bridged, 4-8 - 200 bridged"


@pytest.mark.parametrize("powers", [{}, {"held_w": 300.0}, {"idle_w": 60.0}, {"held_w": 0.0, "idle_w": 0.0}])
def test_a_gap_is_split_by_time_when_a_power_is_unknown(powers: dict[str, float]) -> None:
    slices, _ = cut(mark(**powers), [reading(8, 800, session="b")], [hold(7, -9, 6)], [at(8)], at(9))
    assert drawn(slices) == "0-6 7 600 bridged, 6-8 - 200 bridged"


def test_powers_are_learned_from_readings_wholly_in_one_state() -> None:
    readings = [reading(1, 60), reading(3, 470), reading(4, 820), reading(30, 9000), reading(31, 9100, session="b")]
    _, new = cut(mark(), readings, [hold(7, 2)], [at(30)], at(30))
    assert new is not None
    assert (new.held_w, new.idle_w) == (350.0, 60.0)


@pytest.mark.parametrize(
    ("holds", "highest_w", "expected"),
    [
        pytest.param([(7, 0, None)], 1e4, [(7, 0.0)], id="one-holder-has-all-of-it"),
        pytest.param([], 1e4, [(None, 0.0)], id="nobody-has-all-of-it"),
        pytest.param([(7, 0, 40)], 1e4, [(7, 4000.0), (None, 4000.0)], id="all-may-be-either-s"),
        # 6000 J in 60 s of at most 120 W: the run's 40 s had from 3600 to 4800 J of it, and are expected to have 4000
        pytest.param([(7, 0, 40)], 120.0, [(7, 800.0), (None, 800.0)], id="no-more-than-it-can-draw"),
        pytest.param([(7, 0, 20), (8, 20, 60)], 1e4, [(7, 4000.0), (8, 4000.0)], id="two-runs"),
    ],
)
def test_a_split_gap_says_how_far_off_its_parts_may_be(
    holds: list[tuple[int, float, float | None]], highest_w: float, expected: list[tuple[int | None, float]]
) -> None:
    readings = [reading(60, 6000, session="b"), reading(61, 6100, session="b")]
    slices, _ = cut(mark(), readings, [hold(*h) for h in holds], [at(60), at(61)], at(61), highest_w=highest_w)
    told = [(piece.run_id, piece.split_j) for piece in slices if piece.quality is Quality.BRIDGED]
    assert told == [(run_id, pytest.approx(split_j)) for run_id, split_j in expected]
    assert slices[-1].split_j == 0.0


def test_bounds_of_a_split_are_shared_out_over_the_minutes_of_a_gap() -> None:
    readings = [reading(120, 12_000, session="b")]
    slices, _ = cut(mark(), readings, [hold(7, 0, 90)], [at(60), at(120)], at(120), highest_w=1e4)
    assert [(piece.run_id, piece.split_j) for piece in slices] == [
        (7, pytest.approx(6000)), (7, pytest.approx(3000)), (None, pytest.approx(9000)),
    ]  # fmt: skip


def test_emulated_energy_is_graded_so_and_its_gaps_are_bridged_as_any() -> None:
    emulated = {"quality": Quality.EMULATED}
    readings = [reading(2, 200, **emulated), reading(60, 6000, session="b", **emulated)]
    slices, _ = cut(mark(), readings, [hold(7, 2, 20)], [at(60)], at(60))
    assert [piece.quality for piece in slices] == [Quality.EMULATED, Quality.BRIDGED, Quality.BRIDGED]
    assert [piece.split_j > 0 for piece in slices] == [False, True, True]


def test_a_gap_in_many_calls_is_split_as_in_one() -> None:
    readings = [reading(2, 120), reading(4, 820), reading(104, 20820, session="b")]
    holds = [hold(7, 2, 54)]
    whole, _ = cut(mark(), readings, holds, [at(s) for s in range(0, 105, 7)], at(104))
    assert booked(mark(), readings, holds, range(0, 105, 7), range(1, 110, 3)) == as_approx(whole)


def test_bounds_of_a_split_are_the_same_however_often_it_is_looked() -> None:
    """The run ended inside the gap, and an edge lies behind: what is left of the gap is as uncertain as before."""
    readings = [reading(2, 120), reading(4, 820), reading(104, 20820, session="b"), reading(106, 21000, session="b")]
    whole, _ = cut(mark(), readings, [hold(7, 2, 54)], [at(60), at(106)], at(106))
    assert booked(mark(), readings, [hold(7, 2, 54)], [60, 106], [1, 60, 104, 105, 106]) == as_approx(whole)
    assert [(piece.run_id, piece.split_j > 0) for piece in whole if piece.quality is Quality.BRIDGED] == [
        (7, True), (None, True), (None, True),
    ]  # fmt: skip


def test_a_gap_waits_until_it_is_known_who_held_all_of_it() -> None:
    readings = [reading(2, 120), reading(4, 820), reading(104, 20820, session="b")]
    first, half = cut(mark(), readings, [hold(7, 2, 54)], [at(3), at(60), at(104)], at(70))
    assert half is not None
    assert half.at == at(4)
    second, _ = cut(half, readings, [hold(7, 2, 54), hold(8, 80)], [at(3), at(60), at(104)], at(104))
    whole, _ = cut(mark(), readings, [hold(7, 2, 54), hold(8, 80)], [at(3), at(60), at(104)], at(104))
    assert [*first, *second] == as_approx(whole)


def test_a_power_learned_across_the_start_of_a_hold_would_be_of_neither_state() -> None:
    """Booking up to a hold's start leaves the mark inside a reading step; its remainder teaches nothing."""
    readings = [reading(1, 60), reading(3, 470), reading(13, 2070, session="b")]
    arguments = (mark(held_w=300.0, idle_w=100.0), readings, [hold(7, 2, 8)], [13])
    assert booked(*arguments, [3, 13]) == as_approx(booked(*arguments, [13]))


# --- another base


def test_energy_over_a_new_base_is_unknown_and_the_rest_is_kept() -> None:
    readings = [reading(4, 400), reading(6, 7, counter="boot2"), reading(8, 207, counter="boot2")]
    slices, new = cut(mark(), readings, [hold(7, 1)], [at(5), at(8)], at(9))
    expected = "0-1 - 100 measured, 1-4 7 300 measured, 4-5 7 ? unknown, 5-6 7 ? unknown, 6-8 7 200 measured"
    assert drawn(slices) == expected
    assert new is not None
    assert (new.energy_j, new.counter) == (207.0, "boot2")


def test_a_counter_that_goes_back_is_unknown() -> None:
    slices, _ = cut(mark(500), [reading(4, 400), reading(8, 800)], [], [at(8)], at(9))
    assert drawn(slices) == "0-4 - ? unknown, 4-8 - 400 measured"


def test_more_energy_than_a_device_can_use_is_unknown() -> None:
    """The clock was set back an hour unnoticed: that hour's energy must not be that of the seconds after the mark."""
    hour_j = 3600 * 350
    readings = [reading(1, hour_j + 350), reading(2, hour_j + 700), reading(3, hour_j + 1050)]
    slices, _ = cut(mark(), readings, [hold(7, 0.5, 2)], [at(3)], at(9))
    assert drawn(slices) == "0-0.5 - ? unknown, 0.5-1 7 ? unknown, 1-2 7 350 measured, 2-3 - 350 measured"
    assert booked(mark(), readings, [hold(7, 0.5, 2)], [3], [0.7, 1, 2, 9]) == as_approx(slices)


def test_a_counter_that_catches_up_is_believed() -> None:
    slices, _ = cut(mark(), [reading(0.001, 70), reading(1, 700)], [], [at(1)], at(1))
    assert drawn(slices) == "0-1 - 700 measured"


@pytest.mark.parametrize(
    ("holds", "expected"),
    [
        pytest.param([(1, 0, 5), (2, 5, 9)], [(1, 0, 5), (2, 5, 9)], id="11122"),
        pytest.param([(1, 0, 5), (2, 4, None)], [(1, 0, 4), (2, 4, None)], id="clock back a little"),
        pytest.param([(1, 3, 5), (2, 2, 9)], [(2, 2, 9)], id="clock back to before the first began"),
        pytest.param([(1, 0, None), (2, 4, 6)], [(1, 0, 4), (2, 4, 6)], id="the first is not known to have ended"),
        pytest.param([(1, 0, 900), (2, 4, 6), (3, 5, 8)], [(1, 0, 4), (2, 4, 5), (3, 5, 8)], id="1122333"),
    ],
)
def test_holds_that_overlap_are_cut_short_by_the_later_runs(holds: list, expected: list) -> None:  # type: ignore[type-arg]
    rows = [hold(*each) for each in expected]
    assert exclusive(hold(*each) for each in holds) == rows
    assert exclusive(rows) == rows


def test_the_first_run_that_may_hold_is_kept_with_the_mark() -> None:
    _, new = cut(mark(since_run=8), [reading(2, 200)], [], [at(2)], at(9))
    assert new == mark(200.0, at=at(2), since_run=8, idle_w=100.0)


def test_an_unknown_interval_in_two_calls_stays_unknown() -> None:
    readings = [reading(4, 400), reading(8, 300), reading(12, 700)]
    assert [piece.energy_j for piece in booked(mark(), readings, [], [6, 12], [5, 6, 7, 12])] == [
        400.0,
        None,
        None,
        400.0,
    ]


@pytest.mark.parametrize("after", [reading(10, 500, counter="another"), reading(10, -1)], ids=["base", "back"])
def test_a_step_of_unknown_size_stays_so_when_it_is_booked_in_two_parts(after: Reading) -> None:
    first, half = cut(mark(), [after], [], [at(4)], at(5))
    second, whole = cut(half, [after], [], [], at(10))
    assert drawn([*first, *second]) == "0-4 - ? unknown, 4-10 - ? unknown"
    assert (whole and whole.energy_j, whole and whole.counter) == (after.energy_j, after.counter)


# --- properties


def booked(
    first: Mark | None, readings: list[Reading], holds: list[Hold], edges: Sequence[float], ticks: Sequence[float]
) -> list[Slice]:
    """Cut at each of these ticks, seeing only what had been read and started by then."""
    slices: list[Slice] = []
    for tick in ticks:
        known = [one for one in readings if one.at <= at(tick)]
        more, first = cut(first, known, holds, [at(edge) for edge in edges], at(tick))
        slices += more
    return slices


@given(worlds(), st.floats(0, 1e9))
def test_energy_is_conserved(world: tuple[list[Reading], list[Hold], list[float]], start_j: float) -> None:
    """Over every stretch whose energy is known, slices add up to the counter's difference; none is negative."""
    readings, holds, edges = world
    first = mark(start_j, counter="c0")
    slices, new = cut(first, readings, holds, [at(edge) for edge in edges] + [readings[-1].at], at(100))
    points = [(first.at, first.counter, start_j), *((one.at, one.counter, one.energy_j) for one in readings)]
    steps = [b[2] - a[2] for a, b in pairwise(points) if a[1] == b[1] and 0 <= b[2] - a[2] <= most_j(a[0], b[0])]
    known = [piece.energy_j for piece in slices if piece.energy_j is not None]
    assert new is not None
    assert new.at == readings[-1].at
    assert sum(known) == pytest.approx(sum(steps), rel=1e-9, abs=1e-5)
    assert min(known, default=0) >= 0
    assert [a.end for a in slices[:-1]] == [b.start for b in slices[1:]]


@given(worlds(), st.lists(seconds, max_size=12).map(sorted))
def test_when_it_is_called_changes_nothing(
    world: tuple[list[Reading], list[Hold], list[float]], ticks: list[float]
) -> None:
    """One call or many, at whatever instants: the same slices (tick size, tick phase)."""
    readings, holds, edges = world
    once = booked(mark(counter="c0", session="s0"), readings, holds, edges, [100])
    assert booked(mark(counter="c0", session="s0"), readings, holds, edges, [*ticks, 100]) == as_approx(once)


@given(worlds(), st.data())
def test_more_readings_of_the_same_curve_change_nothing(
    world: tuple[list[Reading], list[Hold], list[float]], data: st.DataObject
) -> None:
    """A reading between two of one session, on the line between them, adds no news (but finer powers to bridge by)."""
    readings, holds, edges = world
    one_session = len({one.session for one in readings} | {"s0"}) == 1
    holds = holds if one_session else []
    more = []
    for a, b in pairwise(readings):
        more.append(a)
        plain = a.session == b.session and a.counter == b.counter and a.energy_j <= b.energy_j
        if plain and data.draw(st.booleans()):
            more.append(replace(b, at=a.at + (b.at - a.at) / 2, energy_j=(a.energy_j + b.energy_j) / 2))
    cuts, first = [at(edge) for edge in edges], mark(counter="c0", session="s0")
    expected, _ = cut(first, readings, holds, cuts, at(100), gap_s=1000)
    actual, _ = cut(first, [*more, readings[-1]], holds, cuts, at(100), gap_s=1000)
    assert actual == as_approx(expected)


@given(worlds(), worlds())
def test_swapping_two_devices_swaps_their_joules(
    one: tuple[list[Reading], list[Hold], list[float]], two: tuple[list[Reading], list[Hold], list[float]]
) -> None:
    """A slice's energy depends on its own device's readings and holds, not on its name or its neighbour."""

    def joules(
        world: tuple[list[Reading], list[Hold], list[float]], device: str, other: list[Hold]
    ) -> list[float | None]:
        readings = [replace(each, device=device) for each in world[0]]
        holds = [replace(each, device=device) for each in world[1]]
        others = [replace(each, device="other") for each in other]
        slices, _ = cut(mark(device=device), readings, [*others, *holds], [at(edge) for edge in world[2]], at(100))
        return [piece.energy_j for piece in slices]

    here = [joules(one, "A", two[1]), joules(two, "B", one[1])]
    swapped = [joules(two, "A", one[1]), joules(one, "B", two[1])]
    assert here == swapped[::-1]

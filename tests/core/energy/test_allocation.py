"""What several runs use at once is divided as its readings say: to the last joule, and whenever it is asked for."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.model import Component, Hold, Mark, Quality, Reading, Slice
from greenrun.core.energy.slicing import allocate, cut
from tests.core.energy.build import GPU, T0, as_approx, at, drawn, hold, mark, reading

CPU = Component.CPU


def shared(readings: Sequence[Reading], users: Mapping[str, Hold], edges: Sequence[float]) -> list[Slice]:
    """Cut from T0 through the last reading."""
    return cut(mark(), readings, [], [at(edge) for edge in edges], readings[-1].at, component=CPU, users=users)[0]


@pytest.mark.parametrize(
    ("told", "users", "edges", "expected"),
    [
        pytest.param(
            [(10, 1000, {"1.1": 0.5, "2.1": 0.25})],
            {"1.1": (7, -5, None), "2.1": (8, -5, None)},
            [10],
            "0-10 7 500 measured, 0-10 8 250 measured, 0-10 - 250 measured",
            id="two runs and the rest",
        ),
        pytest.param(
            [(10, 1000, {"1.1": 0.5})],
            {"1.1": (7, -5, None)},
            [4, 10],
            "0-4 7 200 measured, 0-4 - 200 measured, 4-10 7 300 measured, 4-10 - 300 measured",
            id="a cut within a step",
        ),
        pytest.param(
            [(4, 400, {"1.1": 1.0}), (10, 1000, {"1.1": 0.5})],
            {"1.1": (7, -5, None)},
            [10],
            "0-10 7 700 measured, 0-10 - 300 measured",
            id="two steps in a slice",
        ),
        pytest.param([(10, 1000, {"9.1": 0.5})], {"1.1": (7, 0, None)}, [10], "0-10 - 1000 measured", id="unknown run"),
        pytest.param(
            [(10, 1000, {"1.1": 0.5})],
            {"1.1": (7, 2, 6)},
            [10],
            "0-2 - 200 measured, 2-6 7 200 measured, 2-6 - 200 measured, 6-10 - 400 measured",
            id="no run has anything outside its time",
        ),
        pytest.param(
            [(10, 1000, {"1.1": 0.0})],
            {"1.1": (7, -5, None)},
            [10],
            "0-10 7 0 measured, 0-10 - 1000 measured",
            id="a run that slept used nothing, and that is known",
        ),
        pytest.param([(10, 1000, {})], {"1.1": (7, 0, None)}, [10], "0-10 - 1000 measured", id="nothing is told"),
        pytest.param(
            [(10, 0, {"1.1": 0.5})],
            {"1.1": (7, -5, None)},
            [10],
            "0-10 7 0 measured, 0-10 - 0 measured",
            id="there is nothing to divide",
        ),
        pytest.param(
            [(20, 2000, {"1.1": 0.5})], {"1.1": (7, -5, None)}, [20], "0-20 - 2000 bridged", id="a gap is nobody's"
        ),
    ],
)
def test_shares(
    told: list[tuple[float, float, dict[str, float]]],
    users: dict[str, tuple[int, float, float | None]],
    edges: list[float],
    expected: str,
) -> None:
    readings = [reading(second, energy_j, shares=shares) for second, energy_j, shares in told]
    assert drawn(shared(readings, {label: hold(*row) for label, row in users.items()}, edges)) == expected


def test_what_is_unknown_is_nobodys() -> None:
    lost = reading(5, 10, counter="another", shares={"1.1": 1.0})
    assert drawn(shared([lost], {"1.1": hold(7, -5)}, [5])) == "0-5 - ? unknown"


def test_rounding_never_leaves_nobody_less_than_nothing() -> None:
    whole = Slice(
        device="c", component=CPU, run_id=None, start=T0, end=at(1), energy_j=0.3, quality=Quality.MEASURED, busy_s=0.5
    )
    parts = allocate(whole, {7: 0.1, 8: 0.2})
    assert 0.1 + 0.2 > 0.3
    assert [(piece.run_id, piece.energy_j) for piece in parts] == [(7, 0.1), (8, 0.2), (None, 0.0)]
    assert fsum(piece.busy_s or 0.0 for piece in parts) == pytest.approx(0.5)


# --- how busy a device was


def test_how_busy_it_was_is_summed_over_the_steps() -> None:
    readings = [reading(4, 400, utilization=0.5), reading(10, 1000, utilization=1.0)]
    slices, _ = cut(mark(), readings, [], [at(7), at(10)], at(10))
    assert [piece.busy_s for piece in slices] == [pytest.approx(2.0 + 3.0), pytest.approx(3.0)]


def test_how_busy_it_was_is_not_known_of_a_slice_of_which_a_part_does_not_tell() -> None:
    readings = [reading(4, 400, utilization=0.5), reading(6, 600), reading(10, 1000, utilization=1.0)]
    slices, _ = cut(mark(), readings, [], [at(4), at(7), at(10)], at(10))
    assert [piece.busy_s for piece in slices] == [pytest.approx(2.0), None, pytest.approx(3.0)]
    (gap,), _ = cut(mark(), [reading(5, 500, session="b", utilization=1.0)], [], [at(5)], at(5))
    assert gap.busy_s is None
    (lost,), _ = cut(mark(), [reading(5, 500, counter="another", utilization=1.0)], [], [at(5)], at(5))
    assert lost.busy_s is None


# --- properties

SHARES = st.dictionaries(st.sampled_from(["1.1", "2.1", "3.1", "4.2"]), st.floats(0, 1), max_size=4).map(
    lambda found: {label: share / max(1.0, fsum(found.values())) for label, share in found.items()}
)
SECONDS = st.integers(0, 90)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Reading], dict[str, Hold], list[float]]:
    """Draw readings with shares, gaps, new sessions and new bases, runs that overlap, and edges."""
    readings, energy_j, session, base = [], 0.0, 0, 0
    for second in sorted(draw(st.sets(SECONDS.filter(bool), min_size=1, max_size=20))):
        what = draw(st.sampled_from(["on", "on", "on", "on", "session", "base"]))
        session += what == "session"
        base += what == "base"
        energy_j += draw(st.floats(0, 5000))
        busy = draw(st.none() | st.floats(0, 1))
        told = {"shares": draw(SHARES), "utilization": busy}
        readings.append(reading(second, energy_j, session=f"s{session}", counter=f"c{base}", **told))
    users = {}
    for run_id, label in enumerate(["1.1", "2.1", "3.1"], start=1):
        first, last = sorted(draw(st.tuples(SECONDS, SECONDS)))
        users[label] = hold(run_id, first, None if draw(st.booleans()) else last + 1)
    return readings, users, sorted(draw(st.sets(SECONDS, max_size=6)))


@given(worlds())
def test_the_parts_of_every_interval_are_the_whole_of_it(
    world: tuple[list[Reading], dict[str, Hold], list[float]],
) -> None:
    """Energy, shares and busy seconds, against the same device cut at the same instants with nobody to share it."""
    readings, users, edges = world
    first = mark(counter="c0", session="s0")
    bounds = [instant for each in users.values() for instant in (each.start, each.end) if instant is not None]
    cuts = [*(at(edge) for edge in edges), readings[-1].at]
    parts, new = cut(first, readings, [], cuts, at(100), users=users)
    wholes, same = cut(first, readings, [], [*cuts, *bounds], at(100))
    assert new == same
    groups: defaultdict[tuple[datetime, datetime], list[Slice]] = defaultdict(list)
    for piece in parts:
        groups[piece.start, piece.end].append(piece)
    assert list(groups) == [(whole.start, whole.end) for whole in wholes]
    for group, whole in zip(groups.values(), wholes, strict=True):
        assert fsum(piece.share for piece in group) == pytest.approx(1.0, abs=1e-9)
        assert all(piece.share >= 0 and (piece.energy_j is None or piece.energy_j >= 0) for piece in group)
        assert {piece.quality for piece in group} == {whole.quality}
        assert [piece.run_id for piece in group].count(None) == 1
        if whole.energy_j is None:
            assert group == [whole]
            continue
        assert fsum(piece.energy_j or 0.0 for piece in group) == pytest.approx(whole.energy_j, rel=1e-9, abs=1e-9)
        if whole.busy_s is not None:
            assert fsum(piece.busy_s or 0.0 for piece in group) == pytest.approx(whole.busy_s, rel=1e-9, abs=1e-9)


@given(worlds(), st.lists(SECONDS, max_size=6).map(sorted))
def test_when_it_is_called_changes_nothing(
    world: tuple[list[Reading], dict[str, Hold], list[float]], ticks: list[int]
) -> None:
    readings, users, edges = world
    slices: list[Slice] = []
    first: Mark | None = mark(counter="c0", session="s0")
    for tick in [*ticks, 100]:
        known = [one for one in readings if one.at <= at(tick)]
        more, first = cut(first, known, [], [at(edge) for edge in edges], at(tick), users=users)
        slices += more
    at_once, _ = cut(mark(counter="c0", session="s0"), readings, [], [at(e) for e in edges], at(100), users=users)
    keys = [(piece.start, piece.end, piece.run_id, piece.quality) for piece in at_once]
    assert [(piece.start, piece.end, piece.run_id, piece.quality) for piece in slices] == keys
    assert [replace(piece, share=1.0, busy_s=None) for piece in slices] == as_approx(
        [replace(piece, share=1.0, busy_s=None) for piece in at_once]
    )


@given(worlds())
def test_no_run_has_more_than_its_readings_tell_nor_anything_outside_its_time(
    world: tuple[list[Reading], dict[str, Hold], list[float]],
) -> None:
    readings, users, edges = world
    first = mark(counter="c0", session="s0")
    slices, _ = cut(first, readings, [], [*(at(e) for e in edges), readings[-1].at], at(100), users=users)
    steps = list(pairwise([(first.at, 0.0, {}), *((one.at, one.energy_j, one.shares) for one in readings)]))
    for label, span in users.items():
        own = [piece for piece in slices if piece.run_id == span.run_id]
        assert all(span.start <= piece.start and (span.end is None or piece.end <= span.end) for piece in own)
        most_j = fsum(after[2].get(label, 0.0) * max(0.0, after[1] - before[1]) for before, after in steps)
        assert fsum(piece.energy_j or 0.0 for piece in own) <= most_j * (1 + 1e-9) + 1e-6


def test_the_device_of_a_user_is_of_no_matter() -> None:
    slices = shared([reading(2, 10, shares={"1.1": 1.0})], {"1.1": hold(7, -1, device="other")}, [2])
    assert [piece.device for piece in slices] == [GPU, GPU]

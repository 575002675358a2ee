"""Parts of boards: their names, their shares, what excludes what, and that their energies add up to the board's."""

from collections.abc import Sequence
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.gpu_parts import (
    board_of,
    driver_name,
    excludes,
    instance_of,
    instances_of,
    names_profile,
    share_of,
    slices_of,
    slots_of,
    taken_with,
    weight_of,
)
from greenrun.core.energy.model import Device, Hold, Quality, Reading, boards, gpus
from greenrun.core.energy.slicing import cut
from tests.core.energy.build import GPU, at, mark, reading

BOARD = Device(id="GPU-a", index=0, model="A100", source="nvml", memory_bytes=80 << 30, power_w=400.0)
SLOT, INSTANCE = "GPU-a/slot-2-of-4", "GPU-a/MIG-b-c-2-of-7"


@pytest.mark.parametrize(
    ("device", "board", "share", "driver"),
    [
        ("GPU-a", "GPU-a", 1.0, "GPU-a"),
        (SLOT, "GPU-a", 1 / 4, "GPU-a"),
        (INSTANCE, "GPU-a", 2 / 7, "MIG-b-c"),
        ("GPU-a/what-is-this", "GPU-a", 1.0, "GPU-a"),
    ],
)
def test_an_id_tells_the_board_the_share_and_the_drivers_name(
    device: str, board: str, share: float, driver: str
) -> None:
    assert (board_of(device), share_of(device), driver_name(device)) == (board, share, driver)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("GPU-a", "GPU-a", True), ("GPU-a", SLOT, True), (SLOT, "GPU-a", True), ("GPU-a", INSTANCE, True),
        (SLOT, "GPU-a/slot-1-of-4", False), (SLOT, SLOT, True), ("GPU-b", SLOT, False), ("GPU-a", "GPU-ab", False),
    ],
)  # fmt: skip
def test_a_board_and_its_parts_exclude_each_other(one: str, other: str, expected: bool) -> None:
    assert excludes(one, other) is expected
    assert (other in taken_with([one], [other])) is expected


def test_slots_are_leased_and_the_board_is_read() -> None:
    there = slots_of(BOARD, 4)
    assert boards(there) == (there[0],)
    assert [device.name for device in gpus(there)] == ["0/slot-1", "0/slot-2", "0/slot-3", "0/slot-4"]
    assert {(device.power_w, device.memory_bytes) for device in gpus(there)} == {(100.0, 20 << 30)}
    assert weight_of(device.id for device in gpus(there)) == 1.0


def test_instances_are_leased_and_the_board_is_read() -> None:
    one = instance_of(BOARD, "MIG-x", number=0, profile="2g.20gb", slices=(2, 7), memory_bytes=20 << 30)
    board, part = instances_of(BOARD, [one])
    assert gpus([board, part]) == (part,)
    assert (part.name, part.model, part.power_w) == ("0/mig-0", "A100 2g.20gb", pytest.approx(400 * 2 / 7))
    assert (part.within, board.mig, board.is_divided) == (board.id, True, True)


@pytest.mark.parametrize(("profile", "expected"), [("1g.10gb", 1), ("7g.80gb", 7), ("1c.3g.40gb", 1), ("4g", None)])
def test_a_profile_tells_its_compute_slices(profile: str, expected: int | None) -> None:
    assert slices_of(profile) == expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("1g.10gb", True), ("A100-SXM4-80GB 3G.40GB", True), ("1c.2g.20gb", True), ("1g.10gb+me", True),
        (None, False), ("A100", False), ("A100-SXM4-80GB", False), ("2g", False), ("GB200", False),
    ],
)  # fmt: skip
def test_a_model_is_told_from_the_profile_of_an_instance(model: str | None, expected: bool) -> None:
    assert names_profile(model) is expected


SPANS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60), st.integers(1, 60)), max_size=8)


def part_holds(rows: Sequence[tuple[int, int, int]], count: int) -> list[Hold]:
    """Holds of slots in which no two of a slot overlap."""
    free, holds = [0] * 5, []
    for run, (slot, start, length) in enumerate(sorted(rows, key=lambda row: row[1]), start=1):
        begin = max(start, free[slot])
        free[slot] = begin + length
        if slot < count:
            holds.append(Hold(run_id=run, device=GPU, start=at(begin), end=at(begin + length), share=1 / count))
    return holds


@given(SPANS, st.integers(2, 5), st.lists(st.integers(0, 700), min_size=2, max_size=30), st.booleans())
def test_parts_and_rest_add_up_to_the_board(
    rows: list[tuple[int, int, int]], count: int, watts: list[int], is_gap: bool
) -> None:
    """At any time, whoever holds what; shares add up to 1, and each held part is told apart as estimated."""
    holds, total = part_holds(rows, count), 0.0
    readings: list[Reading] = []
    for index, power_w in enumerate(watts, start=1):
        total += 5.0 * power_w
        session = "other" if is_gap and index > len(watts) // 2 else "a"
        readings.append(reading(5 * index, total, session=session))
    end = at(5 * len(watts))
    slices, moved = cut(mark(), readings, holds, [end], end, in_parts=True)
    assert moved is not None
    assert fsum(piece.energy_j or 0.0 for piece in slices) == pytest.approx(total, rel=1e-9, abs=1e-9)
    for span in {(piece.start, piece.end) for piece in slices}:
        own = [piece for piece in slices if (piece.start, piece.end) == span]
        assert fsum(piece.share for piece in own) == pytest.approx(1.0, abs=1e-12)
        assert len({piece.run_id for piece in own}) == len(own)
        there = {hold.run_id for hold in holds if hold.start <= span[0] and span[1] <= (hold.end or end)}
        assert {piece.run_id for piece in own if piece.run_id is not None} == there
        assert all(piece.quality in (Quality.ESTIMATED, Quality.BRIDGED) for piece in own) is (
            bool(there) or own[0].quality is Quality.BRIDGED
        )


def test_parts_that_would_be_more_than_the_board_each_get_less() -> None:
    """As after the site made fewer slots of it while runs held the earlier ones."""
    holds = [Hold(run_id=run, device=GPU, start=at(0), share=0.5) for run in (1, 2, 3)]
    slices, _ = cut(mark(), [reading(10, 900)], holds, [at(10)], at(10), in_parts=True)
    assert [(piece.run_id, piece.energy_j) for piece in slices] == [(run, pytest.approx(300)) for run in (1, 2, 3)]


def test_a_board_that_is_held_as_a_whole_is_not_divided() -> None:
    holds = [
        Hold(run_id=1, device=GPU, start=at(0), end=at(5)),
        Hold(run_id=2, device=GPU, start=at(5), share=0.25),
    ]
    slices, _ = cut(mark(), [reading(5, 500), reading(10, 1000)], holds, [at(10)], at(10), in_parts=True)
    assert [(piece.run_id, piece.energy_j, piece.quality) for piece in slices] == [
        (1, 500.0, Quality.MEASURED), (2, 125.0, Quality.ESTIMATED), (None, 375.0, Quality.ESTIMATED),
    ]  # fmt: skip

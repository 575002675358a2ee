"""A value holds as long as its source has it hold, whether that changes from hours to quarters or back; holes stay."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate

import pytest

from greenrun.core.carbon.slot_lengths import slot_lengths

T0 = datetime(2026, 10, 25, tzinfo=UTC)
H, Q, M = 60, 15, 5


def lengths(distances: Sequence[int]) -> list[int]:
    """The minutes that slots last whose starts are so many minutes apart."""
    starts = [T0 + timedelta(minutes=minute) for minute in accumulate(distances, initial=0)]
    return [length // timedelta(minutes=1) for length in slot_lengths(starts)]


@pytest.mark.parametrize(
    ("distances", "expected"),
    [
        ([H] * 20 + [Q] * 24, [H] * 20 + [Q] * 25),
        ([H] * 6 + [Q] * 3, [H] * 6 + [Q] * 4),
        ([H] + [Q] * 9, [H] + [Q] * 10),
        ([Q] * 24 + [H] * 20, [Q] * 24 + [H] * 21),
        ([Q] * 8 + [H] * 2, [Q] * 8 + [H] * 3),
        ([H] * 5 + [Q] * 8 + [H] * 5, [H] * 5 + [Q] * 8 + [H] * 6),
        ([H] * 4 + [30] * 6 + [Q] * 8, [H] * 4 + [30] * 6 + [Q] * 9),
        ([M] * 12 + [H] * 3 + [M] * 24, [M] * 12 + [H] * 3 + [M] * 25),
    ],
)
def test_a_step_that_changes_inside_leaves_each_value_its_own_length(
    distances: Sequence[int], expected: Sequence[int]
) -> None:
    assert lengths(distances) == expected


@pytest.mark.parametrize(
    ("distances", "expected"),
    [
        ([H, H, 180, H, H], [H] * 6),
        ([Q] * 6 + [H] + [Q] * 6, [Q] * 14),
        ([30] * 4 + [H] * 2 + [30] * 4, [30] * 11),
        ([H, 120, 120, 120, H, H, H], [H] * 8),
        ([H] * 4 + [150] + [Q] * 5, [H] * 5 + [Q] * 6),
        ([Q] * 5 + [75] + [H] * 4, [Q] * 6 + [H] * 5),
        ([180, H, H], [H] * 4),
    ],
)
def test_a_longer_distance_that_is_no_step_is_a_hole(distances: Sequence[int], expected: Sequence[int]) -> None:
    assert lengths(distances) == expected


@pytest.mark.parametrize("distances", [[H, H, Q, 45, H], [30, 30, H, H, H], [H, H, H, Q]])
def test_a_value_too_many_lies_within_the_slot_of_another(distances: Sequence[int]) -> None:
    assert any(length > distance for length, distance in zip(lengths(distances), distances, strict=False))

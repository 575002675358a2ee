"""Runs without names of GPUs get the places that reports would give them on the GPUs that a scheduler takes first."""

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.baseline import BaselineInterval, EndedRun, baseline_interval
from greenrun.core.energy.earliest_start import Stint, earliest_starts
from tests.core.build import T0

FREE = float("-inf")


def stint(
    start: float,
    end: float,
    *,
    ready: float = 0,
    gpus: int = 1,
    loads: float = 0,
    pool: int = 0,
    after: int | None = None,
) -> Stint:
    return Stint(
        start_s=start, resumes_s=start + loads, end_s=end, ready_s=ready, gpus=gpus, pool=pool,
        after=() if after is None else (after,),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stints", "free_s", "expected"),
    [
        ([stint(5, 7)], [FREE], [0]),
        ([stint(5, 7), stint(7, 8)], [FREE], [0, 2]),
        ([stint(7, 8), stint(5, 7)], [FREE], [2, 0]),
        ([stint(5, 7), stint(7, 8)], [FREE, FREE], [0, 2]),
        ([stint(5, 7), stint(6, 8)], [FREE, FREE], [0, 0]),
        ([stint(5, 7)], [3], [3]),
        ([stint(5, 7, ready=4), stint(7, 8, ready=1), stint(8, 12, ready=1)], [FREE], [4, 1, 6]),
        ([stint(5, 6), stint(5, 7), stint(7, 9, gpus=2)], [FREE, FREE], [0, 0, 2]),
        ([stint(5, 7), stint(9, 12, loads=1, after=0)], [FREE], [0, 2]),
        ([stint(5, 7), stint(7, 8, pool=1)], [FREE], [0, 0]),
        ([stint(0, 4), stint(2, 4)], [FREE], [0, 2]),
    ],
    ids=[
        "alone", "one behind the other", "by start", "the first that is free", "side by side", "busy until then",
        "a gap is taken where it is long enough", "two at once", "loading is left out", "another pool",
        "never later than the truth",
    ],
)  # fmt: skip
def test_each_run_is_as_early_as_its_gpus_are_free(
    stints: Sequence[Stint], free_s: Sequence[float], expected: Sequence[float]
) -> None:
    assert earliest_starts(stints, {0: free_s}) == expected


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(1, 3), st.integers(0, 30)), max_size=25),
    st.integers(3, 4),
)
def test_they_are_the_places_of_reports(wanted: list[tuple[int, int, int, int]], count: int) -> None:
    """Of jobs that start in order, each on the first GPUs that are free, some time after it was ready."""
    until, stints, held = [0] * count, list[Stint](), list[list[int]]()
    now = 0
    for gap, length, gpus, ready in wanted:
        now = max(now + gap, sorted(until)[gpus - 1])
        taken = [row for row in range(count) if until[row] <= now][:gpus]
        for row in taken:
            until[row] = now + length
        stints.append(stint(now, now + length, ready=min(ready, now), gpus=gpus))
        held.append(taken)
    places: list[BaselineInterval] = []
    for row, each in enumerate(stints):
        ran = EndedRun(start=T0 + timedelta(seconds=each.start_s), end=T0 + timedelta(seconds=each.end_s))
        mine = [place for place, others in zip(places, held, strict=False) if set(others) & set(held[row])]
        places.append(baseline_interval(ran, T0 + timedelta(seconds=each.ready_s), mine))
    expected = [(place.start - T0).total_seconds() for place in places]
    assert earliest_starts(stints, {0: [FREE] * count}) == expected

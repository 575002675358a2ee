"""A timeline answers as a list of seconds would: what is taken when, where a job fits, how much on the mean."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.planning.gpu_timelines.timeline import Timeline
from tests.sampling import examples

UNITS, END = 3, 40
rows = st.tuples(st.integers(0, 20), st.integers(1, 12), st.integers(1, UNITS))


def _made(wanted: list[tuple[int, int, int]]) -> tuple[Timeline, np.ndarray]:
    """Reserve what still fits; return the timeline and the units taken in each second."""
    line, taken = Timeline(UNITS), np.zeros(END, int)
    for start, length, units in wanted:
        if taken[start : start + length].max() + units <= UNITS:
            line.reserve(start, start + length, units)
            taken[start : start + length] += units
    return line, taken


def _free(taken: np.ndarray, start: int, length: int, units: int) -> bool:
    return bool(taken[start : start + length].max() + units <= UNITS)


@examples(60)
@given(st.lists(rows, max_size=8), st.integers(1, 8), st.integers(1, UNITS))
def test_a_job_fits_where_every_second_has_room(wanted: list[tuple[int, int, int]], length: int, units: int) -> None:
    line, taken = _made(wanted)
    starts = np.arange(END - length, dtype=float)
    expected = [_free(taken, int(start), length, units) for start in starts]
    assert [line.is_free(start, start + length, units) for start in starts] == expected  # before the blocked are known
    assert line.fits(starts, length, units).tolist() == expected
    assert [line.is_free(start, start + length, units) for start in starts] == expected
    assert line.first_fit(0.0, length, units) in [*np.flatnonzero(expected), END - length]


@examples(60)
@given(st.lists(rows, max_size=8), st.integers(1, UNITS))
def test_blocked_intervals_are_those_with_too_few_free(wanted: list[tuple[int, int, int]], units: int) -> None:
    line, taken = _made(wanted)
    begins, ends = line.blocked(units)
    seconds = np.zeros(END, bool)
    for begin, end in zip(begins, ends, strict=True):
        seconds[int(begin) : int(end)] = True
    assert seconds.tolist() == (taken + units > UNITS).tolist()
    assert (begins[1:] > ends[:-1]).all()


@examples(60)
@given(st.lists(rows, max_size=8), st.sets(st.integers(0, END), min_size=2))
def test_means_between_knots_are_those_of_the_seconds(wanted: list[tuple[int, int, int]], cuts: set[int]) -> None:
    line, taken = _made(wanted)
    knots = sorted(cuts)
    expected = [taken[a:b].mean() for a, b in pairwise(knots)]
    assert np.allclose(line.means(np.array(knots, dtype=float)), expected)


@examples(40)
@given(st.lists(rows, min_size=1, max_size=8))
def test_what_is_given_back_was_never_taken_and_a_copy_goes_its_own_way(wanted: list[tuple[int, int, int]]) -> None:
    line, taken = _made(wanted)
    twin = line.copy()
    start, length, units = wanted[0]
    line.reserve(start, start + length, -units)
    line.reserve(start, start + length, units)
    line.reserve(0, END, UNITS)
    assert not line.is_free(0, END, 1)
    assert [twin.is_free(at, at + 1, 1) for at in range(END)] == [bool(used < UNITS) for used in taken]


def test_more_units_than_there_are_fit_nowhere() -> None:
    line = Timeline(2)
    assert line.first_fit(0.0, 1.0, 3) is None
    assert not line.fits(np.zeros(1), 1.0, 3).any()


def test_instants_within_a_microsecond_are_the_same() -> None:
    line = Timeline(1)
    line.reserve(10.0, 20.0, 1)
    assert line.is_free(0.0, 10.0 + 4e-7, 1)
    assert line.first_fit(10.0, 5.0, 1) == 20.0

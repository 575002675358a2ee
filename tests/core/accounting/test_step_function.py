"""Values over time with holes: a mean is told only where every instant is known, and cuts change nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.accounting.step_function import Span, Steps

T0 = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE, QUARTER, HOUR = timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=1)
HOLE = None


def hourly(*values: float | None) -> Steps:
    """An hour for each value, from T0 on; None is a hole."""
    spans = [Span(T0 + index * HOUR, T0 + (index + 1) * HOUR, v) for index, v in enumerate(values) if v is not None]
    return Steps.of(spans)


@given(st.lists(st.floats(-500, 500), min_size=1, max_size=30), st.integers(0, 1800), st.integers(1, 1800))
def test_an_integral_is_that_of_its_minutes(values: list[float], start: int, length: int) -> None:
    steps = hourly(*values)
    minutes = [start + index for index in range(length) if start + index < 60 * len(values)]
    expected = 60 * fsum(values[minute // 60] for minute in minutes)
    begin, end = T0 + start * MINUTE, T0 + (start + length) * MINUTE
    integrals, covered_s = steps.sums(np.array([begin.timestamp()]), np.array([end.timestamp()]))
    assert integrals[0] == pytest.approx(expected, abs=1e-3)
    assert covered_s[0] == pytest.approx(60 * len(minutes))


@given(st.lists(st.one_of(st.none(), st.floats(-500, 500)), max_size=30), st.integers(0, 29))
def test_where_a_part_is_not_known_there_is_no_mean(values: list[float | None], first: int) -> None:
    steps, end = hourly(*values), min(first + 3, 30)
    known = [*values, *[HOLE] * 30][first:end]
    mean = steps.mean(T0 + first * HOUR, T0 + end * HOUR)
    assert (mean is None) == (None in known)
    if mean is not None:
        assert mean == pytest.approx(fsum(v or 0.0 for v in known) / len(known), abs=1e-6)


def test_a_price_below_zero_is_a_price() -> None:
    assert hourly(-0.1, 0.3).mean(T0, T0 + 2 * HOUR) == pytest.approx(0.1)


def test_nothing_at_all_covers_nothing() -> None:
    empty = Steps.of([])
    assert (len(empty), empty.mean(T0, T0 + HOUR)) == (0, None)
    assert empty.first_hole(T0, T0 + HOUR) == T0


@pytest.mark.parametrize(
    ("values", "hour"), [((1.0, 1.0, 1.0), None), ((1.0, HOLE, 1.0), 1), ((HOLE, 1.0, 1.0), 0), ((1.0, 1.0), 2)]
)
def test_the_first_hole_is_found(values: Sequence[float | None], hour: int | None) -> None:
    assert hourly(*values).first_hole(T0, T0 + 3 * HOUR) == (None if hour is None else T0 + hour * HOUR)


def test_plus_comes_before_times() -> None:
    assert hourly(0.10).scaled(plus=0.18, times=1.19).mean(T0, T0 + HOUR) == pytest.approx(0.3332)


def test_spans_are_as_long_as_to_their_neighbours_and_holes_stay() -> None:
    """Hours, then quarters, then a line that is missing and an empty value."""
    at = [0, 60, 120, 135, 150, 210, 225, 240]
    told = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, None, 7.0]
    rows = [(T0 + minute * MINUTE, value) for minute, value in zip(at, told, strict=True)]
    spans = Steps.from_starts(rows, HOUR).spans()
    found = [((row.start - T0) // MINUTE, (row.end - row.start) // MINUTE) for row in spans]
    assert found == [(0, 60), (60, 60), (120, 15), (135, 15), (150, 15), (210, 15), (240, 15)]


@pytest.mark.parametrize("minutes", [[], [0], [0, 0], [0, 1440, 2880]], ids=["none", "one", "twice", "days"])
def test_values_whose_length_cannot_be_told_are_refused(minutes: list[int]) -> None:
    with pytest.raises(ValueError, match="at most 1:00:00 apart"):
        Steps.from_starts([(T0 + minute * MINUTE, 1.0) for minute in minutes], HOUR)


@pytest.mark.parametrize(
    "spans",
    [[Span(T0, T0, 1.0)], [Span(T0, T0 + HOUR, float("nan"))], [Span(T0, T0 + HOUR, 1.0), Span(T0, T0 + HOUR, 1.0)]],
    ids=["empty", "no number", "twice"],
)
def test_spans_that_make_no_sense_are_refused(spans: list[Span]) -> None:
    with pytest.raises(ValueError):
        Steps.of(spans)

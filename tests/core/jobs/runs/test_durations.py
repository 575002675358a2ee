"""A run is expected to last as long as was stated, and longer once it is late."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.runs.durations import OVERRUN, SHORTEST, expected_length


@given(st.integers(1, 10**10), st.integers(0, 120), st.integers(-1, 1))
def test_a_run_is_never_expected_to_have_ended_already(duration_us: int, times: int, off_us: int) -> None:
    """Not even at the very instant at which it was expected to end, when it is looked at again."""
    usual = max(timedelta(microseconds=duration_us), SHORTEST)
    age = usual * float(OVERRUN**times) + timedelta(microseconds=off_us)
    assert expected_length(timedelta(microseconds=duration_us), age) > age

"""A job of uncertain length starts some time before the last moment; one whose user stated its length need not."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import DurationSource
from greenrun.core.planning.time_windows import margin, safe_latest_start
from tests.core.build import T0

HOUR = timedelta(hours=1)


def test_a_stated_duration_needs_no_margin_and_a_default_one_the_most() -> None:
    margins = [margin(10 * HOUR, source) for source in (DurationSource.GIVEN, DurationSource.LEARNED)]
    assert margins == [timedelta(0), HOUR]
    assert margin(10 * HOUR, DurationSource.DEFAULT) == 2.5 * HOUR


def test_a_job_starts_its_margin_before_the_last_moment() -> None:
    assert safe_latest_start(T0 + 24 * HOUR, 8 * HOUR, DurationSource.DEFAULT, T0) == T0 + 22 * HOUR


@given(
    latest=st.integers(-48, 48),
    hours=st.integers(0, 100),
    now=st.integers(-48, 48),
    source=st.sampled_from(DurationSource),
)
def test_a_margin_never_asks_for_a_start_in_the_past_nor_allows_one_past_the_limit(
    latest: int, hours: int, now: int, source: DurationSource
) -> None:
    """Once the margin is used up the job should start now; when even that is too late, the limit stays what it was."""
    last, at = T0 + latest * HOUR, T0 + now * HOUR
    safe = safe_latest_start(last, hours * HOUR, source, at)
    assert safe <= last
    assert safe >= min(at, last)
    assert safe == last or source is not DurationSource.GIVEN

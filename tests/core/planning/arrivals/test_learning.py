"""What usually arrives is learned from the past alone, from enough of it, and is as much work as was submitted."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.job import Job
from greenrun.core.planning.arrivals.learning import PastJob, expected_arrivals, learn_arrivals
from greenrun.core.planning.model import Options
from tests.core.build import SLOT, T0, job

NOW = T0 + timedelta(days=60)


def week_after_week(count: int, *, days: float = 40) -> list[Job]:
    """Jobs of half an hour to two hours, evenly spread up to now."""
    return [job(i + 1, slots=1 + i % 4, submitted=NOW - timedelta(days=days) * (1 - i / count)) for i in range(count)]


def test_a_few_jobs_or_a_few_weeks_teach_nothing() -> None:
    assert expected_arrivals(week_after_week(99), NOW, Options()) == ()
    assert expected_arrivals(week_after_week(500, days=20), NOW, Options()) == ()


def test_jobs_from_before_and_after_the_time_looked_at_teach_nothing() -> None:
    jobs = week_after_week(200)
    early = job(900, slots=48, submitted=NOW - timedelta(days=59))
    late = job(901, slots=48, submitted=NOW + SLOT)
    assert expected_arrivals([early, *jobs, late], NOW, Options()) == expected_arrivals(jobs, NOW, Options())


past_jobs = st.builds(
    PastJob,
    submitted_s=st.just(0.0),
    length_s=st.floats(60, 1e6),
    gpus=st.integers(1, 8),
    watts=st.floats(1, 5000),
    wait_s=st.floats(0, 1e6),
)


@given(st.lists(past_jobs, min_size=1, max_size=40))
def test_the_classes_ask_for_the_gpu_time_that_was_asked_for(past: list[PastJob]) -> None:
    learned = learn_arrivals(past, 1e7)
    asked = sum(one.length_s * one.gpus for one in past) / 1e7
    assert sum(one.length_s * one.gpus_per_s for one in learned) == pytest.approx(asked)

"""What is learned from finished jobs lies within what they took, and says what it was learned from."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.jobs.history import FinishedJob, learn_duration, learn_power, recent_quantile

T0 = datetime(2026, 3, 2, tzinfo=UTC)
VALUES = st.lists(st.floats(0.001, 1e7), min_size=1, max_size=40)
RATIO = st.floats(0, 1)


def done(number: int, hours: float, **own: Any) -> FinishedJob:
    """Job `number`, which finished on day `number` after so many hours."""
    base = {"name": "train", "project": "vision", "gpus": 2, "finished_at": T0 + timedelta(days=number)}
    return FinishedJob(job_id=number, duration=timedelta(hours=hours), **{**base, **own})


def learned(past: list[FinishedJob], **own: Any) -> Any:
    return learn_duration(past, **{"name": "train", "project": "vision", "gpus": 2, **own})


@given(VALUES, RATIO)
def test_a_quantile_is_one_of_the_values(values: list[float], ratio: float) -> None:
    assert recent_quantile(values, ratio) in values


@given(VALUES, RATIO, RATIO)
def test_a_higher_quantile_is_never_lower(values: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert recent_quantile(values, low) <= recent_quantile(values, high)


@given(VALUES)
def test_the_whole_of_the_weight_is_on_the_highest(values: list[float]) -> None:
    assert recent_quantile(values, 1.0) == max(values)
    assert recent_quantile(values, 0.0) == min(values)


@given(VALUES, RATIO, st.integers(-6, 6))
def test_twice_as_long_is_learned_twice_as_long(values: list[float], ratio: float, power: int) -> None:
    assert recent_quantile([value * 2.0**power for value in values], ratio) == recent_quantile(values, ratio) * 2**power


def test_there_is_no_quantile_of_nothing() -> None:
    with pytest.raises(ValueError, match="of nothing"):
        recent_quantile([], 0.5)


def test_recent_jobs_weigh_more_than_old_ones() -> None:
    """Ten recent jobs weigh twice as much as the ten before: 2/3 of the weight, so the 0.6 quantile is theirs."""
    slow_then_fast = [1.0] * 10 + [9.0] * 10
    assert recent_quantile(slow_then_fast, 0.66) == 1.0
    assert recent_quantile(slow_then_fast, 0.67) == 9.0
    assert recent_quantile(slow_then_fast[::-1], 0.34) == 9.0


def test_a_duration_is_learned_with_its_median_and_spread() -> None:
    found = learned([done(1, 2), done(2, 3), done(3, 4), done(4, 5)], quantile=0.8)
    assert [part / timedelta(hours=1) for part in (found.expected, found.median, found.least, found.most)] == [
        5,
        4,
        2,
        5,
    ]
    assert found.note == "learned from 4 finished jobs named train (quantile 0.8; median 4h, 2h to 5h)"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_jobs_teach_nothing(count: int) -> None:
    past = [done(number, 1, energy_j=3.6e6) for number in range(count)]
    assert learned(past) is None
    assert learn_power(past, name="train", project="vision", gpus=2) is None


def test_jobs_of_another_name_and_project_teach_nothing() -> None:
    assert learned([done(number, 1, name="other", project="audio") for number in range(9)]) is None


@pytest.mark.parametrize(
    ("nearer", "further", "note"),
    [
        ({}, {"gpus": 8}, "3 finished jobs named train ("),
        ({"gpus": 8}, {"name": "other"}, "3 finished jobs named train, with any number of GPUs ("),
        ({"name": "other"}, {"name": "other", "gpus": 8}, "3 finished jobs of the project vision ("),
    ],
    ids=["as many GPUs before any number", "the name before the project", "as many GPUs in the project before any"],
)
def test_the_nearest_kin_of_which_there_is_enough_is_taken(nearer: Any, further: Any, note: str) -> None:
    past = [
        *(done(number, 1, **nearer) for number in range(3)),
        *(done(number, 9, **further) for number in range(3, 9)),
    ]
    found = learned(past)
    assert found.expected == timedelta(hours=1)
    assert f"learned from {note}" in found.note


def test_the_default_project_makes_no_jobs_alike() -> None:
    past = [done(number, 1, name="other", project="default") for number in range(9)]
    assert learned(past, project="default") is None


def test_jobs_without_gpus_and_jobs_with_some_do_not_learn_from_one_another() -> None:
    assert learned([done(number, 1, gpus=0) for number in range(9)]) is None
    assert learned([done(number, 1, gpus=2) for number in range(9)], gpus=0) is None


def test_the_order_in_which_jobs_are_given_makes_no_difference() -> None:
    past = [done(number, 1 + number % 7) for number in range(20)]
    assert learned(past) == learned(past[::-1])


def test_power_is_the_mean_of_what_the_measured_jobs_drew() -> None:
    """1 kWh in 2 h is 500 W, 2 kWh in 4 h 500 W, 1.4 kWh in 2 h 700 W: 567 W; what was not measured does not count."""
    past = [done(1, 2, energy_j=3.6e6), done(2, 4, energy_j=7.2e6), done(3, 2, energy_j=5.04e6), done(4, 1)]
    found = learn_power(past, name="train", project="vision", gpus=2)
    assert found is not None
    assert (found.power_w, found.least_w, found.most_w) == pytest.approx((1700 / 3, 500, 700))
    assert found.note == "learned from 3 finished jobs named train, all of them measured (500 W to 700 W)"


def test_power_measured_on_other_numbers_of_gpus_is_scaled_to_this_one() -> None:
    past = [done(number, 1, gpus=gpus, energy_j=gpus * 1.08e6) for number, gpus in enumerate((1, 4, 8))]
    found = learn_power(past, name="train", project="vision", gpus=2)
    assert found is not None
    assert (found.power_w, found.least_w, found.most_w) == pytest.approx((600, 600, 600))

"""The peers' rules choose what they say, see no further than their forecast, and never start a job early."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Floats, Kind, Series, SeriesId
from greenrun.simulation.hindsight import hindsight_bound
from greenrun.simulation.policies import (
    Arrival,
    ForecastView,
    Rule,
    carbon_time,
    dispatch,
    lowest_slot,
    own_best_window,
    percentile,
    start_at_once,
    threshold,
)

HOUR = 3600.0


class Seen:
    """An hourly grid of which each instant shows the next `reach` hours, the one that runs included."""

    def __init__(self, values: Sequence[float], reach: int = 1000) -> None:
        starts_s = HOUR * np.arange(len(values))
        kinds = (Kind.FORECAST,) * len(values)
        self.series = Series(
            SeriesId(provider="t", zone="z"), starts_s, starts_s + HOUR, np.array(values, float), kinds
        )
        self.news_s: Floats = starts_s
        self._reach = reach

    def forecast(self, at_s: float) -> Series:
        first = bisect_right(self.series.ends_s.tolist(), at_s)
        last = min(len(self.series), first + self._reach)
        series = self.series
        return Series(
            series.id,
            series.starts_s[first:last],
            series.ends_s[first:last],
            series.values[first:last],
            series.kinds[first:last],
        )


def arrival(**changes: Any) -> Arrival:
    """A job of one hour on one GPU of 1 kW that may wait for five hours."""
    given = {"submitted_s": 0.0, "duration_s": HOUR, "gpus": 1, "power_w": 1000.0, "max_delay_s": 5 * HOUR}
    return Arrival(**(given | changes))


RULES = {
    "own-best-window": own_best_window,
    "lowest-slot": lowest_slot,
    "carbon-time": carbon_time,
    "threshold": lambda view: threshold(view, 40.0),
    "percentile": lambda view: percentile(view, 30.0),
}

values = st.lists(st.integers(1, 900), min_size=12, max_size=12)
jobs = st.builds(
    lambda submitted, duration, delay, gpus: arrival(
        submitted_s=float(submitted), duration_s=float(duration), max_delay_s=float(delay), gpus=gpus
    ),
    st.integers(0, 10_000), st.integers(1, 10_000), st.integers(0, 20_000), st.integers(1, 4),
)  # fmt: skip


def emitted(series: Series, starts_s: Sequence[float], own: Sequence[Arrival]) -> float:
    """Grams, by the minute: the integral done in another way than the code under test does it."""
    return sum(
        job.power_w * float(series.means(np.array([start_s]), job.duration_s)[0]) * job.duration_s / 3.6e6
        for start_s, job in zip(starts_s, own, strict=True)
    )


@pytest.mark.parametrize(
    ("drawn", "job", "hour"),
    [
        ("90-60-10-90", arrival(), 2),
        ("60-60-60-60", arrival(), 0),
        ("90-20-30-90-10-90", arrival(duration_s=2 * HOUR), 1),
        ("90-90-10-90", arrival(duration_s=1.5 * HOUR), 1.5),
        ("90-10-90-90", arrival(duration_s=1.5 * HOUR), 0.5),
        ("90-90-90-10", arrival(max_delay_s=2.25 * HOUR), 2.25),
    ],
)
def test_own_best_window_is_the_cleanest_one_its_start_or_end_at_an_edge(drawn: str, job: Arrival, hour: float) -> None:
    view = Seen([float(value) for value in drawn.split("-")])
    assert own_best_window(view)(job) == hour * HOUR


@pytest.mark.parametrize(
    ("name", "job", "hour"),
    [
        ("own-best-window", arrival(duration_s=3 * HOUR), 4),
        ("lowest-slot", arrival(duration_s=3 * HOUR), 1),
        ("threshold", arrival(duration_s=3 * HOUR), 1),
        ("percentile", arrival(duration_s=3 * HOUR), 1),
        ("carbon-time", arrival(duration_s=3 * HOUR), 4),
    ],
)
def test_each_rule_looks_at_its_own_thing(name: str, job: Arrival, hour: float) -> None:
    view = Seen([100, 20, 90, 90, 25, 25, 25, 90, 90])
    assert RULES[name](view)(job) == hour * HOUR


def test_carbon_time_does_not_wait_long_for_little() -> None:
    view = Seen([100, 50, 99, 99, 49])
    assert (carbon_time(view)(arrival()), own_best_window(view)(arrival())) == (HOUR, 4 * HOUR)


def test_a_job_that_finds_no_clean_hour_starts_at_its_limit() -> None:
    assert threshold(Seen([90] * 8), 40.0)(arrival(max_delay_s=1.5 * HOUR)) == 1.5 * HOUR


def test_a_clean_hour_that_has_begun_is_clean() -> None:
    assert threshold(Seen([90, 10, 90]), 40.0)(arrival(submitted_s=1.5 * HOUR)) == 1.5 * HOUR


@pytest.mark.parametrize("name", RULES)
def test_without_a_forecast_nothing_is_put_off_beyond_the_limit(name: str) -> None:
    job = arrival(submitted_s=99 * HOUR, max_delay_s=HOUR)
    assert job.submitted_s <= RULES[name](Seen([10, 20]))(job) <= job.latest_start_s


@pytest.mark.parametrize("name", RULES)
@given(values=values, job=jobs)
def test_a_start_is_between_submission_and_limit(name: str, values: list[int], job: Arrival) -> None:
    assert job.submitted_s <= RULES[name](Seen(values))(job) <= job.latest_start_s


@pytest.mark.parametrize("name", ["own-best-window", "lowest-slot", "carbon-time"])
@given(values=values, other=values, job=jobs)
def test_what_lies_beyond_the_forecast_in_hand_changes_nothing(
    name: str, values: list[int], other: list[int], job: Arrival
) -> None:
    first = int(job.submitted_s // HOUR)
    changed = [*values[: first + 3], *other[first + 3 :]]
    starts = [RULES[name](Seen(each, reach=3))(job) for each in (values, changed)]
    assert starts[0] == starts[1]


@given(own=st.lists(jobs, min_size=1, max_size=12), waits=st.lists(st.integers(0, 9000), min_size=12, max_size=12))
def test_dispatch_never_uses_more_gpus_than_there_are_and_starts_nobody_early(
    own: list[Arrival], waits: list[int]
) -> None:
    wanted_s = [job.submitted_s + wait for job, wait in zip(own, waits, strict=False)]
    starts_s = dispatch(own, wanted_s, 4)
    assert all(start_s >= wanted for start_s, wanted in zip(starts_s, wanted_s, strict=True))
    for at_s in starts_s:
        running = [s for s, job in zip(starts_s, own, strict=True) if s <= at_s < s + job.duration_s]
        used = sum(job.gpus for s, job in zip(starts_s, own, strict=True) if s in running and s + job.duration_s > at_s)
        assert used <= 4


def test_a_small_job_passes_a_large_one_that_waits_for_gpus() -> None:
    own = [arrival(gpus=2), arrival(gpus=3), arrival(gpus=1)]
    assert dispatch(own, [start_at_once(job) for job in own], 3) == [0.0, HOUR, 0.0]


def test_those_that_are_ready_longest_start_first() -> None:
    own = [arrival(), arrival(), arrival()]
    assert dispatch(own, [0.0, 20.0, 10.0], 1) == [0.0, 2 * HOUR, HOUR]


# the bound


def bound(own: Sequence[Arrival], gpus: int | None, values: Sequence[float]) -> float:
    found = hindsight_bound(own, gpus, Seen(values).series).grams
    assert found is not None
    return found


def test_without_a_limit_on_gpus_the_bound_is_every_job_s_own_best_window() -> None:
    view: ForecastView = Seen([90, 20, 30, 90, 10, 90, 90, 90])
    own = [arrival(), arrival(duration_s=1.7 * HOUR), arrival(submitted_s=700.0, duration_s=2 * HOUR)]
    rule: Rule = own_best_window(view)
    best = emitted(Seen([90, 20, 30, 90, 10, 90, 90, 90]).series, [rule(job) for job in own], own)
    assert bound(own, None, [90, 20, 30, 90, 10, 90, 90, 90]) == pytest.approx(best)


def test_an_interruptible_job_s_bound_is_its_cleanest_seconds() -> None:
    job = arrival(duration_s=2 * HOUR, max_delay_s=2 * HOUR, interruptible=True)
    assert bound([job], None, [50, 10, 90, 20, 1]) == pytest.approx(30.0)


def test_the_bound_tells_that_gpus_are_short() -> None:
    own = [arrival(max_delay_s=2 * HOUR)] * 3
    assert bound(own, 1, [30, 20, 10, 90, 90]) == pytest.approx(60.0, rel=1e-2)


def test_a_series_that_ends_too_soon_gives_no_bound() -> None:
    found = hindsight_bound([arrival()], 1, Seen([10, 20]).series)
    assert (found.grams, found.why_none) == (None, "the intensity is not known for all of the time")


IMPOSSIBLE = {
    "a job wider than all GPUs": [arrival(gpus=5)],
    "all at once": [arrival(gpus=3, max_delay_s=0.0), arrival(gpus=2, max_delay_s=0.0)],
    "more work than time": [arrival(gpus=4, max_delay_s=0.5 * HOUR) for _ in range(2)],
    "a crowd": [arrival(gpus=2, duration_s=2 * HOUR, max_delay_s=2 * HOUR) for _ in range(5)],
    "a crowd in pieces": [arrival(gpus=2, duration_s=2 * HOUR, max_delay_s=HOUR, interruptible=True) for _ in range(4)],
}


@pytest.mark.parametrize("own", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_where_no_schedule_keeps_every_limit_there_is_no_bound(own: list[Arrival]) -> None:
    more = [arrival(submitted_s=HOUR * index, max_delay_s=20 * HOUR) for index in range(10)]
    found = hindsight_bound([*own, *more], 4, Seen([90, 20, 30] * 20).series)
    assert (found.grams, found.why_none) == (None, "no schedule keeps every limit")


def test_gpus_that_just_suffice_give_a_bound() -> None:
    own = [arrival(gpus=2, duration_s=2 * HOUR, max_delay_s=2 * HOUR) for _ in range(4)]
    assert hindsight_bound(own, 4, Seen([10] * 20).series).grams == pytest.approx(80.0)


def test_without_jobs_nothing_is_emitted() -> None:
    assert hindsight_bound([], 1, Seen([10]).series).grams == 0.0


@given(own=st.lists(jobs, min_size=1, max_size=6), values=values, data=st.data())
def test_no_schedule_that_keeps_every_limit_emits_less_than_the_bound(
    own: list[Arrival], values: list[int], data: st.DataObject
) -> None:
    waits = [data.draw(st.integers(0, int(job.max_delay_s))) for job in own]
    starts_s = dispatch(own, [job.submitted_s + wait for job, wait in zip(own, waits, strict=True)], 4)
    if any(start_s > job.latest_start_s for start_s, job in zip(starts_s, own, strict=True)):
        return
    grid = [*values, *values]
    least = hindsight_bound(own, 4, Seen(grid).series, iterations=30).grams
    assert least is not None
    assert least <= emitted(Seen(grid).series, starts_s, own) * (1 + 1e-9)

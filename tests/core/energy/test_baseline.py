"""The baseline is a schedule that the same GPUs could have kept, known as runs end, and priced like the truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.carbon.intensity import Floats, Kind, Series, SeriesId, Signal
from greenrun.core.energy import baseline
from greenrun.core.energy.baseline import (
    BaselineInterval,
    Comparable,
    EndedRun,
    SettledSlices,
    baseline_interval,
    compare,
)
from tests.slots import slots_of

T0 = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
GB = SeriesId(provider="uk", zone="GB")
MARGINAL = SeriesId(provider="wt", zone="GB", signal=Signal.MARGINAL)


def at(hours: float) -> datetime:
    return T0 + hours * HOUR


def span(start: float, end: float) -> BaselineInterval:
    return BaselineInterval(start=at(start), end=at(end))


# when each run would have been


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ([], span(1, 3)),
        ([span(0, 1)], span(1, 3)),
        ([span(0, 2)], span(2, 4)),
        ([span(3, 5)], span(1, 3)),
        ([span(2, 4)], span(4, 6)),
        ([span(4, 6), span(0, 2)], span(2, 4)),
        ([span(0, 2), span(3, 5), span(4, 6)], span(6, 8)),
        ([span(2, 2)], span(1, 3)),
    ],
    ids=["-", "a", "aa", "---aa", "--aa", "aa--aa", "aa-abb", "nothing"],
)
def test_a_run_takes_the_first_gap_that_is_long_enough(
    held: Sequence[BaselineInterval], found: BaselineInterval
) -> None:
    assert baseline_interval(EndedRun(start=at(10), end=at(12)), at(1), held) == found


@pytest.mark.parametrize(
    ("drained", "held", "found"),
    [
        ([(0, 2)], [], span(2, 4)),
        ([(1, 2), (2, 5)], [], span(5, 7)),
        ([(2, 9)], [], span(1, 3)),
        ([(0, 2)], [span(3, 5)], span(5, 7)),
        ([(4, 6)], [span(0, 5)], span(6, 8)),
        ([(0, 99)], [], span(10, 12)),
    ],
    ids=[
        "before",
        "one after another",
        "what runs goes on",
        "then held",
        "held, then drained",
        "never after the truth",
    ],
)
def test_a_run_starts_on_no_gpu_that_was_drained(
    drained: Sequence[tuple[float, float]], held: Sequence[BaselineInterval], found: BaselineInterval
) -> None:
    closed = [(at(since), at(until)) for since, until in drained]
    assert baseline_interval(EndedRun(start=at(10), end=at(12)), at(1), held, closed) == found


def test_what_was_spent_on_loading_is_not_needed() -> None:
    assert baseline_interval(EndedRun(start=at(10), end=at(12), loads=HOUR / 2), at(1), []) == span(1, 2.5)


def test_a_place_is_never_later_than_the_truth_though_the_clock_was_set_back() -> None:
    assert baseline_interval(EndedRun(start=at(2), end=at(3)), at(5), [span(1, 9)]).start == at(2)


@dataclass(frozen=True)
class Job:
    """A job of one run or more: hours."""

    ready: int
    lengths: tuple[int, ...]
    gpus: frozenset[str]
    loads: float
    after: int


@dataclass(frozen=True)
class Ran:
    """A run as it truly was, on GPUs that were free, after what it waits for."""

    job: int
    gpus: frozenset[str]
    stint: EndedRun


JOBS = st.lists(
    st.builds(
        Job,
        st.integers(0, 20),
        st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
        st.frozensets(st.sampled_from("abc"), max_size=3),
        st.floats(0, 0.9),
        st.integers(0, 12),
    ),
    max_size=8,
)


def live(jobs: Sequence[Job], delays: Sequence[int]) -> list[Ran]:
    """Run these in order of their jobs, each so many hours after it could; no GPU is held twice."""
    free: dict[str, float] = {}
    ended: dict[int, float] = {}
    ran = []
    for key, job in enumerate(jobs):
        waits = ended.get(job.after, 0) if job.after < key else 0
        now = max(job.ready, waits, *(free.get(gpu, 0) for gpu in job.gpus), 0) + delays[key % len(delays)]
        for number, length in enumerate(job.lengths):
            loads = job.loads if number else 0.0
            ran.append(Ran(key, job.gpus, EndedRun(start=at(now), end=at(now + length), loads=loads * HOUR)))
            now += length + delays[(key + number) % len(delays)]
        ended[key] = (ran[-1].stint.end - T0) / HOUR
        free |= dict.fromkeys(job.gpus, ended[key])
    return sorted(ran, key=lambda run: run.stint.start)


def places(jobs: Sequence[Job], ran: Sequence[Ran]) -> list[BaselineInterval]:
    """Place runs one after the other as the store does, each knowing only those that started before it."""
    found: list[BaselineInterval] = []
    for number, run in enumerate(ran):
        job = jobs[run.job]
        before = list(zip(ran[:number], found, strict=True))
        waits = [one.end for other, one in before if other.job in (run.job, job.after if job.after < run.job else None)]
        held = [one for other, one in before if other.gpus & run.gpus]
        found.append(baseline_interval(run.stint, max([at(job.ready), *waits]), held))
    return found


@given(JOBS, st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_no_place_is_later_than_the_truth_nor_before_its_job_could_start(jobs: Any, delays: Any) -> None:
    ran = live(jobs, delays)
    for run, found in zip(ran, places(jobs, ran), strict=True):
        assert at(jobs[run.job].ready) <= found.start <= run.stint.start
        assert found.end <= run.stint.end
        assert found.end - found.start == run.stint.end - run.stint.resumes


@given(JOBS, st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_no_gpu_is_held_twice_and_what_a_job_waits_for_has_ended(jobs: Any, delays: Any) -> None:
    ran = live(jobs, delays)
    found = list(zip(ran, places(jobs, ran), strict=True))
    for number, (one, mine) in enumerate(found):
        for other, theirs in found[:number]:
            if one.gpus & other.gpus:
                assert mine.end <= theirs.start or theirs.end <= mine.start
            if other.job == one.job or (jobs[one.job].after == other.job < one.job):
                assert theirs.end <= mine.start


@given(JOBS, st.lists(st.integers(0, 9), min_size=3, max_size=3), st.integers(0, 20))
def test_whatever_comes_later_changes_no_place(jobs: Any, delays: Any, known: int) -> None:
    ran = live(jobs, delays)
    assert places(jobs, ran[:known]) == places(jobs, ran)[:known]


# what it would have emitted


def measured(*values: float, series: SeriesId = GB) -> Series:
    """Hours from T0 on."""
    return Series.of(series, slots_of([at(index) for index in range(len(values))], values, HOUR, Kind.MEASURED))


def run(
    starts_h: Sequence[float], kwh: Sequence[float], begins: float, loads: float = 0.0, index: int = 0
) -> Comparable:
    """Slices of half an hour that began so many hours after T0, of a run that would have begun at `begins`."""
    starts_s: Floats = T0.timestamp() + 3600 * np.array(starts_h)
    slices = SettledSlices(
        ids=np.arange(len(kwh)),
        starts_s=starts_s,
        ends_s=starts_s + 1800,
        facility_kwh=np.array(kwh, dtype=np.float64),
        settled_g=np.ones(len(kwh)),
        series_index=np.full(len(kwh), index),
        series=(GB, MARGINAL),
    )
    resumes = at(min(starts_h, default=0) + loads)
    return Comparable(run_id=1, resumes=resumes, interval=span(begins, begins + 1), slices=slices)


def grams(one: Comparable, *series: Series) -> Any:
    told = compare(one, {each.id: each for each in series})
    return told.why if told.grams is None else told.grams.tolist()


def test_a_slice_takes_the_intensity_of_when_it_would_have_been() -> None:
    assert grams(run([2], [3], 0.25), measured(100, 200, 50)) == pytest.approx([300])


def test_where_it_crosses_a_slot_s_edge_it_takes_both() -> None:
    told = compare(run([2], [1], 0.75), {GB: measured(100, 200, 50)})
    assert told.grams is not None
    assert told.grams.tolist() == pytest.approx([150])
    assert told.kinds == (Kind.MEASURED,)


def test_what_went_by_on_loading_would_not_have_been_emitted() -> None:
    assert grams(run([2, 2.5, 3], [2, 2, 2], 0, loads=0.75), measured(100, 200, 50)) == pytest.approx([0, 100, 200])


@pytest.mark.parametrize(
    ("one", "known", "why"),
    [
        (run([3], [1], 2), [], baseline.NOT_MEASURED),
        (run([3], [1], 2), [measured(100)], baseline.NOT_MEASURED),
        (run([3], [1], 2), [measured(*[9] * 9, series=SeriesId(provider="else", zone="GB"))], baseline.NOT_MEASURED),
        (run([1], [1], 0, index=1), [measured(*[9] * 9, series=MARGINAL)], baseline.NOT_AVERAGE),
        (run([1], [float("nan")], 0), [measured(*[9] * 9)], baseline.NO_ENERGY),
        (run([], [], 0), [measured(*[9] * 9)], baseline.NO_SLICES),
        (replace(run([1], [1], 0), is_whole=False), [measured(*[9] * 9)], baseline.NOT_WHOLE),
    ],
    ids=["nothing known", "too little", "another source", "marginal", "no energy", "no slices", "a part is missing"],
)
def test_a_run_that_cannot_be_compared_says_why(one: Comparable, known: Sequence[Series], why: str) -> None:
    assert grams(one, *known) == why


@given(
    st.lists(st.floats(0, 900), min_size=9, max_size=9),
    st.lists(st.tuples(st.floats(0, 7), st.floats(0, 5)), min_size=1, max_size=6),
    st.floats(0, 10),
)
def test_emissions_grow_with_intensity_and_do_not_change_without_a_move(values: Any, rows: Any, factor: float) -> None:
    begins = min(start for start, _ in rows)
    still = run([start for start, _ in rows], [kwh for _, kwh in rows], begins)
    known = measured(*values)
    means = known.means_between(still.slices.starts_s, still.slices.ends_s)
    told = grams(still, known)
    assert told == pytest.approx((still.slices.facility_kwh * means).tolist(), abs=1e-3)
    less = measured(*(value * factor / 10 for value in values))
    assert grams(still, less) == pytest.approx([each * factor / 10 for each in told], abs=1e-6)

"""Idle power is learned of minutes that nobody held a GPU, and what it makes of a job's energy is told beside it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greenrun.core.accounting.parts import Part
from greenrun.core.energy.ledger import UNPRICED, Entry
from greenrun.core.energy.model import Component, Mark, Quality, Slice
from greenrun.core.jobs.job import JobSpec
from greenrun.reports.energy import idle
from greenrun.reports.figure_models import IdleFigures
from greenrun.store import Store
from tests.reports.build import DAYS, END, NOW, T0, WHY, fill, reports_of
from tests.reports.columns import only, whole

MINUTE = timedelta(minutes=1)
PART = Part(
    run_id=1, device="GPU-0", component=Component.GPU, quality=Quality.MEASURED, hour=T0, seconds=3600.0,
    energy_j=3600.0 * 300, pue=1.0, booked=None, settled=None,
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


def book(
    store: Store, watts: list[float], quality: Quality = Quality.MEASURED, length: timedelta = MINUTE,
    run_id: int | None = None, since: datetime = T0,
) -> None:  # fmt: skip
    """Book so many slices of a GPU that draws so much: a free one, or a run's."""
    starts = [since + n * length for n in range(len(watts))]
    pieces = [
        Slice(device="GPU-0", component=Component.GPU, run_id=run_id, start=start, end=start + length,
              energy_j=each * length.total_seconds(), quality=quality)
        for start, each in zip(starts, watts, strict=True)
    ]  # fmt: skip
    mark = Mark(device="GPU-0", at=since + len(watts) * length, energy_j=0, counter="c", session="s")
    store.books.append_slices([Entry(slice=piece, pue=1.0, booked=UNPRICED) for piece in pieces], [mark], now=END)


def peaks_w(store: Store, end: datetime) -> dict[int, float]:
    """The highest powers of the runs up to then."""
    runs = store.archive.period(T0, end).runs
    return dict(zip(runs.id.tolist(), runs.peak_w.tolist(), strict=True))


def test_it_is_the_median_so_that_a_stranger_s_hour_does_not_tell(store: Store) -> None:
    book(store, [55.0] * 20 + [56.0] * 15 + [400.0] * 30)
    assert store.archive.idle_powers_w(T0, END) == {"GPU-0": pytest.approx(56, abs=0.05)}


def test_fewer_than_ten_minutes_tell_nothing(store: Store) -> None:
    book(store, [55.0] * 9)
    assert store.archive.idle_powers_w(T0, END) == {}


@pytest.mark.parametrize(
    ("quality", "length"), [(Quality.BRIDGED, MINUTE), (Quality.ESTIMATED, MINUTE), (Quality.MEASURED, MINUTE / 3)]
)
def test_what_was_not_read_or_is_no_minute_tells_nothing(store: Store, quality: Quality, length: timedelta) -> None:
    book(store, [55.0] * 40, quality, length)
    assert store.archive.idle_powers_w(T0, END) == {}


def test_minutes_of_another_time_do_not_count(store: Store) -> None:
    book(store, [55.0] * 40)
    assert store.archive.idle_powers_w(T0 + 35 * MINUTE, END) == {}
    assert store.archive.idle_powers_w(T0 - 35 * MINUTE, T0) == {}


def going_on(store: Store) -> int:
    """Start a run at T0 that does not end; return its id."""
    job, _ = store.jobs.add_jobs([JobSpec(command=("a",), workdir="/", duration=MINUTE)], user="a", uid=1, now=T0)[0]
    run = store.runs.claim(job.id, ["GPU-0"], reason=WHY, now=T0)
    assert run is not None
    store.runs.confirm(run.id, started_at=T0, log=None, now=T0)
    return run.id


def test_the_peak_is_of_what_was_read(store: Store) -> None:
    run_id = going_on(store)
    book(store, [300.0], run_id=run_id)
    book(store, [900.0], Quality.BRIDGED, run_id=run_id, since=T0 + MINUTE)
    assert peaks_w(store, END) == {run_id: pytest.approx(300)}


def test_a_period_waits_for_a_run_that_began_before_its_end(store: Store) -> None:
    going_on(store)
    spans = ((T0 - MINUTE, T0), (T0 - MINUTE, T0 + MINUTE), (T0 + MINUTE, END))
    assert [store.archive.waits(*span, settles=False) for span in spans] == [False, True, True]


def test_a_run_s_peak_is_its_highest_slice(store: Store) -> None:
    fill(store, 6)
    peaks = peaks_w(store, T0 + timedelta(days=DAYS))
    assert all(30_000 / 600 < peak <= 200_000 / 600 for peak in peaks.values())
    rows = reports_of(store).report(T0, T0 + timedelta(days=DAYS), "job", NOW).job_rows
    assert [row.peak_power_w for row in rows] == [pytest.approx(peaks[row.job_id]) for row in rows]
    assert all(row.peak_power_w >= row.avg_power_w for row in rows)


# in a row


def held(parts: list[Part], powers_w: dict[str, float]) -> IdleFigures:
    """What a row tells of these parts."""
    return IdleFigures(**only(idle(whole(parts), powers_w)))


@given(st.floats(0, 1000), st.lists(st.floats(0, 1e7), min_size=1, max_size=5))
@example(0.0, [2.225073858507203e-309])
@example(5e-324, [0.0])
def test_idle_and_what_is_above_make_the_gpus_energy_even_where_that_is_less(
    idle_w: float, joules: list[float]
) -> None:
    parts = [replace(PART, energy_j=each) for each in joules]
    told = held(parts, {"GPU-0": idle_w})
    assert told.idle_energy_kwh == pytest.approx(idle_w * len(parts) / 1000)
    both = told.idle_energy_kwh + told.energy_above_idle_kwh
    assert both == pytest.approx(sum(joules) / 3.6e6, abs=1e-9)


def test_what_nobody_held_and_what_is_no_gpu_have_none_and_an_unknown_gpu_makes_all_unknown() -> None:
    none = IdleFigures(idle_energy_kwh=None, energy_above_idle_kwh=None)
    cpu = replace(PART, device="cpu", component=Component.CPU)
    assert held([replace(PART, run_id=None), cpu], {"GPU-0": 50.0}) == none
    assert held([PART, replace(PART, device="GPU-1")], {"GPU-0": 50.0}) == none
    assert held([PART, cpu], {"GPU-0": 50.0}) == IdleFigures(idle_energy_kwh=0.05, energy_above_idle_kwh=0.25)

"""A period that nobody watched in all of it is never complete, and what is on its way into the books is told."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.cli import report_output
from greenrun.core.energy.ledger import UNPRICED, Entry
from greenrun.core.energy.model import Component, Mark, Quality, Slice
from greenrun.core.formatting import precise_percent_text
from greenrun.core.jobs.job import JobSpec
from greenrun.core.jobs.reasons import Reason, ReasonCode
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.cells import part_text
from greenrun.reports.model import Report
from greenrun.store import Store
from tests.reports.build import settle

T0 = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
END = T0 + 6 * HOUR
LATER = END + 2 * HOUR
WATTS = 300.0
ONE, OTHER = "GPU-1", "GPU-2"
WHY = Reason(ReasonCode.DUE, "its planned window has come")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


class Books:
    """Writes slices of an hour for devices, as a daemon does."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def write(
        self,
        device: str,
        start: datetime,
        end: datetime,
        quality: Quality = Quality.MEASURED,
        run_id: int | None = None,
    ) -> None:
        at, entries = start, []
        while at < end:
            until = min(at + HOUR, end)
            energy_j = None if quality is Quality.UNKNOWN else WATTS * (until - at).total_seconds()
            piece = Slice(
                device=device, component=Component.GPU, run_id=run_id, start=at, end=until, energy_j=energy_j,
                quality=quality,
            )  # fmt: skip
            entries.append(Entry(slice=piece, pue=1.0, booked=UNPRICED))
            at = until
        mark = Mark(device=device, at=end, energy_j=0, counter="c", session="s", held_w=WATTS)
        self.store.books.append_slices(entries, [mark], now=end)

    def start_run(self, device: str, at: datetime) -> int:
        spec = JobSpec(command=("a",), workdir="/", duration=9 * HOUR)
        job, _ = self.store.jobs.add_jobs([spec], user="ada", uid=1, now=at)[0]
        run = self.store.runs.claim(job.id, [device], reason=WHY, now=at)
        assert run is not None
        self.store.runs.confirm(run.id, started_at=at, log=None, now=at)
        return run.id


@pytest.fixture
def books(store: Store) -> Books:
    return Books(store)


def report(store: Store, start: datetime, end: datetime, now: datetime = LATER) -> Report:
    return Reports(store.archive, tuple, ReportSettings(settles=False)).report(start, end, "project", now)


def told(made: Report) -> str:
    """What a reader of the terminal reads."""
    return report_output.render(made, "table")


def test_a_period_that_was_watched_from_end_to_end_is_whole(books: Books, store: Store) -> None:
    for device in (ONE, OTHER):
        books.write(device, T0, END + HOUR)
    made = report(store, T0, END)
    known = made.completeness
    assert known is not None
    assert (known.since, known.until, known.hours, known.is_whole) == (T0, END, 6, True)
    assert (known.booked_hours, known.device_hours) == (pytest.approx(6), 12)
    assert (known.watched_ratio, made.total.coverage_ratio) == (pytest.approx(1), pytest.approx(1))
    assert (made.preliminary, made.total.flags) == (False, ["no_intensity", "not_settled"])
    assert "The books know" not in told(made)


def test_a_slice_over_the_edge_of_a_period_is_watched_on_both_sides(books: Books, store: Store) -> None:
    books.write(ONE, T0 - HOUR / 2, END + HOUR)
    known = report(store, T0, END).completeness
    assert known is not None
    assert (known.since, known.until, known.is_whole) == (T0, END, True)


def test_books_that_begin_in_the_middle_say_since_when(books: Books, store: Store) -> None:
    books.write(ONE, T0, END + HOUR)
    made = report(store, T0 - 18 * HOUR, END)
    known = made.completeness
    assert known is not None
    assert (known.since, known.hours, known.booked_hours) == (T0, 24, pytest.approx(6))
    assert (known.watched_ratio, made.total.coverage_ratio) == (pytest.approx(0.25), pytest.approx(0.25))
    assert made.unattributed.coverage_ratio == pytest.approx(0.25)
    for row in (made.total, made.unattributed):
        assert (row.complete, "not_watched" in row.flags) == (False, True)
    assert "The books know 6 of 24 hours of this period so far, from 2026-03-02 00:00" in told(made)


def test_books_that_end_in_the_middle_say_until_when(books: Books, store: Store) -> None:
    books.write(ONE, T0, T0 + 2 * HOUR)
    known = report(store, T0, END).completeness
    assert known is not None
    assert (known.until, known.booked_hours, known.is_whole) == (T0 + 2 * HOUR, pytest.approx(2), False)


@pytest.mark.parametrize("quality", [Quality.BRIDGED, Quality.UNKNOWN])
def test_an_outage_in_the_middle_was_not_watched_whether_a_counter_bridges_it_or_not(
    books: Books, store: Store, quality: Quality
) -> None:
    books.write(ONE, T0, T0 + HOUR)
    books.write(ONE, T0 + HOUR, T0 + 4 * HOUR, quality)
    books.write(ONE, T0 + 4 * HOUR, END + HOUR)
    made = report(store, T0, END)
    known = made.completeness
    assert known is not None
    assert (known.booked_hours, known.gap_device_hours) == (pytest.approx(6), pytest.approx(3))
    assert (known.watched_ratio, known.is_whole, made.total.complete) == (pytest.approx(0.5), False, False)
    assert "for 3 of 6 device-hours nobody read a device" in told(made)


def test_a_device_that_came_later_is_named(books: Books, store: Store) -> None:
    books.write(ONE, T0, END + HOUR)
    books.write(OTHER, T0 + 3 * HOUR, END + HOUR)
    made = report(store, T0, END)
    known = made.completeness
    assert known is not None
    hours = {row.device: row.booked_hours for row in known.devices}
    assert hours == {ONE: pytest.approx(6), OTHER: pytest.approx(3)}
    assert (known.watched_ratio, made.total.complete) == (pytest.approx(0.75), False)
    assert f"; {OTHER} for less of it" in told(made)


def test_a_report_up_to_now_is_preliminary_though_nothing_waits(books: Books, store: Store) -> None:
    books.write(ONE, T0, END)
    assert not store.archive.waits(T0, END, settles=False)
    made = report(store, T0, END, now=END)
    assert (made.preliminary, made.completeness and made.completeness.is_whole) == (True, True)
    assert "preliminary" in told(made)
    made = report(store, T0, END + timedelta(seconds=30), now=END + timedelta(seconds=30))
    assert (made.preliminary, made.completeness and made.completeness.is_whole) == (True, False)


def test_a_month_that_goes_on_is_not_complete_and_its_coming_hours_are_not_missing(books: Books, store: Store) -> None:
    books.write(ONE, T0, END)
    made = report(store, T0, T0 + 720 * HOUR, now=END)
    known = made.completeness
    assert known is not None
    assert (known.hours, known.watched_ratio, known.is_whole) == (6, pytest.approx(1), False)
    assert (made.preliminary, made.total.complete) == (True, False)


def test_what_is_over_and_not_yet_booked_is_preliminary_for_an_hour(books: Books, store: Store) -> None:
    books.write(ONE, T0, END)
    over = END + timedelta(minutes=1)
    assert report(store, T0, over, now=over + timedelta(minutes=1)).preliminary
    made = report(store, T0, over, now=over + HOUR)
    assert (made.preliminary, made.completeness and made.completeness.is_whole) == (False, False)


def test_runs_that_go_on_are_told_with_what_is_not_booked_yet(books: Books, store: Store) -> None:
    run_id = books.start_run(ONE, T0)
    books.write(ONE, T0, END, run_id=run_id)
    now = END + timedelta(seconds=45)
    made = report(store, T0, now, now=now)
    flight = made.in_flight
    assert flight is not None
    assert (flight.running_runs, flight.booked_until) == (1, END)
    assert flight.unbooked_device_seconds == pytest.approx(45)
    assert flight.unbooked_kwh == pytest.approx(45 * WATTS / 3.6e6)
    assert "In flight: 1 run going on; 45 s of GPU time" in told(made)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(["slot-1-of-4"], 1 / 4), (["MIG-a-b-2-of-7"], 2 / 7), (["slot-1-of-4", "slot-3-of-4"], 1 / 2)],
)
def test_runs_on_parts_wait_for_their_shares_of_what_their_board_has_not_booked(
    books: Books, store: Store, parts: list[str], expected: float
) -> None:
    for part in parts:
        books.start_run(f"{ONE}/{part}", T0)
    books.write(ONE, T0, END)
    now = END + timedelta(seconds=45)
    flight = report(store, T0, now, now=now).in_flight
    assert flight is not None
    assert flight.running_runs == len(parts)
    assert flight.unbooked_device_seconds == pytest.approx(45 * expected)
    assert flight.unbooked_kwh == pytest.approx(45 * expected * WATTS / 3.6e6)


def test_energy_that_nobody_can_guess_is_not_known_and_no_zero(books: Books, store: Store) -> None:
    books.write(ONE, T0, END)
    books.start_run(OTHER, END)  # which was never read
    flight = report(store, T0, LATER).in_flight
    assert flight is not None
    assert (flight.unbooked_device_seconds, flight.unbooked_kwh) == (7200, None)


def test_slices_that_wait_for_their_measured_intensity_are_told(books: Books, store: Store) -> None:
    books.write(ONE, T0, END)
    made = report(store, T0, END)
    flight = made.in_flight
    assert flight is not None
    assert (flight.unsettled_slices, flight.unsettled_kwh) == (6, pytest.approx(6 * WATTS / 1000))
    assert "6 slices of energy (1.8 kWh) without a measured intensity yet" in told(made)
    settle(store)
    flight = report(store, T0, END).in_flight
    assert flight is not None
    assert (flight.unsettled_slices, flight.unsettled_kwh) == (0, 0)


def test_a_period_without_books_has_no_share(books: Books, store: Store) -> None:
    books.write(ONE, T0, END)
    known = report(store, T0 - 48 * HOUR, T0 - 24 * HOUR).completeness
    assert known is not None
    assert (known.since, known.until, known.watched_ratio, known.is_whole) == (None, None, None, False)


@given(st.floats(0, 1), st.sampled_from([1.0, 24.0, 720.0, 8760.0]))
def test_what_is_less_than_all_never_reads_like_all(ratio: float, whole: float) -> None:
    text = precise_percent_text(ratio)
    assert ("100 %" in text) == (ratio >= 1 - 1e-9)
    part, _, all_of_it = part_text(ratio * whole, whole).partition(" of ")
    assert part != all_of_it or (1 - ratio) * whole <= 0.001

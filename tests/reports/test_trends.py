"""Projects and users beside the period before, contracts by their part of the energy, and GPUs by their hours."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import fsum
from typing import Any

import pytest

from greenrun.core.accounting.usage import previous_period
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.model import Report
from greenrun.store import Store
from tests.reports.build import ALL_BASES, GPUS, HOUR, MIDDLE, NOW, T0, fill, reports_of

DAY = timedelta(days=1)
SPAN = (T0 + DAY, T0 + 2 * DAY)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("books") / "greenrun.db") as opened:
        fill(opened, 140)
        yield opened


@pytest.fixture(scope="module")
def report(store: Store) -> Report:
    return reports_of(store).report(*SPAN, "job", NOW)


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("key", ["project", "user"])
def test_every_report_has_projects_and_users_which_add_up_with_what_nobody_held(report: Report, key: str) -> None:
    rows = report.by_project if key == "project" else report.by_user
    for field in ("it_energy_kwh", "emissions_location_g"):
        parts = fsum(getattr(row, field) or 0.0 for row in rows)
        assert parts + getattr(report.unattributed, field) == close(getattr(report.total, field))


def test_the_period_before_is_what_its_own_report_says(store: Store, report: Report) -> None:
    before = reports_of(store).report(T0, SPAN[0], "project", NOW)
    told = report.previous
    assert told is not None
    assert (told.start, told.end, told.booked_ratio, told.why) == (T0, SPAN[0], close(1), None)
    assert told.it_energy_kwh == close(before.total.it_energy_kwh or 0.0)
    assert told.emissions_location_g == close(before.total.emissions_location_g or 0.0)
    change = 100 * (report.total.emissions_location_g / told.emissions_location_g - 1)
    assert told.emissions_change_pct == pytest.approx(change)
    earlier = {row.group: row for row in before.by_project}
    for row in report.by_project:
        assert row.previous_emissions_g == close(earlier[row.group].emissions_location_g)
        assert row.change_pct == pytest.approx(100 * (row.emissions_location_g / row.previous_emissions_g - 1))


def test_what_was_not_watched_before_has_no_trend_but_a_reason(store: Store) -> None:
    first = reports_of(store).report(T0, SPAN[0], "project", NOW)
    assert first.previous is not None
    assert (first.previous.emissions_change_pct, first.previous.why) == (
        None,
        "the books know nothing of the period before",
    )
    assert {row.change_pct for row in first.by_project} == {None}
    half = reports_of(store).report(T0 + DAY / 2, T0 + 1.5 * DAY, "project", NOW).previous
    assert half is not None
    assert (half.booked_ratio, half.why) == (pytest.approx(0.5), "the books know only a part of the period before")


def at(*day: int) -> datetime:
    return datetime(*day, tzinfo=UTC)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "end", "before"),
    [
        (at(2026, 3, 1), at(2026, 4, 1), (at(2026, 2, 1), at(2026, 3, 1))),
        (at(2026, 1, 1), at(2026, 2, 1), (at(2025, 12, 1), at(2026, 1, 1))),
        (at(2026, 4, 1), at(2026, 7, 1), (at(2026, 1, 1), at(2026, 4, 1))),
        (at(2026, 1, 1), at(2027, 1, 1), (at(2025, 1, 1), at(2026, 1, 1))),
        (at(2026, 3, 1), at(2026, 3, 9), (at(2026, 2, 21), at(2026, 3, 1))),
        (at(2026, 3, 1), at(2026, 4, 1, 6), (at(2026, 1, 28, 18), at(2026, 3, 1))),
    ],
)
def test_months_are_compared_with_months_and_anything_else_with_what_is_as_long(
    start: datetime, end: datetime, before: tuple[datetime, datetime]
) -> None:
    assert previous_period(start, end) == before


def test_contracts_and_the_residual_mix_make_the_market_based_emissions(store: Store) -> None:
    made = Reports(store.archive, lambda: GPUS, ReportSettings(bases=ALL_BASES)).report(
        T0, MIDDLE + 5 * HOUR, "project", NOW
    )
    ppa, residual = made.instruments
    assert (ppa.source, residual.source, ppa.g_per_kwh, residual.g_per_kwh) == ("PPA", "residual mix", close(5), 500)
    total = made.total
    assert (ppa.emissions_g or 0) + (residual.emissions_g or 0) == close(total.emissions_market_g or 0.0)
    assert ppa.facility_kwh + residual.facility_kwh == close(total.facility_energy_kwh or 0.0)
    assert ppa.share_ratio == close(total.market_covered_ratio or 0.0)
    assert ppa.share_ratio + residual.share_ratio == close(1)


def test_gpu_hours_are_those_in_the_books_and_those_of_runs(report: Report) -> None:
    hours = report.gpu_hours
    assert hours is not None
    assert (hours.gpus, hours.available_hours) == (len(GPUS), pytest.approx(24 * len(GPUS)))
    held = fsum(row.run_seconds for row in report.rows) / 3600  # of one GPU each
    assert hours.allocated_hours == pytest.approx(held, abs=0.2)
    assert hours.allocated_ratio == close(hours.allocated_hours / hours.available_hours)

"""Tables say of a row what is known of it, on the page and in the terminal, and nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest

from greenrun.reports.cells import cells, part_text, per_work_text
from greenrun.reports.html import page
from greenrun.reports.model import Report
from greenrun.store import Store
from tests.reports.build import END, NOW, T0, fill, reports_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("books") / "greenrun.db") as opened:
        fill(opened, 5)
        yield opened


@pytest.fixture(scope="module")
def report(store: Store) -> Report:
    return reports_of(store).report(T0, END, "project", NOW)


def with_total(report: Report, **figures: Any) -> Report:
    return report.model_copy(update={"total": report.total.model_copy(update=figures)})


def test_a_cost_below_zero_is_a_cost_and_none_is_none(report: Report) -> None:
    earned = with_total(report, cost=-2.0, currency="EUR")
    assert cells(earned.total)["cost"] == "-2.00 EUR"
    assert "\N{MINUS SIGN}2.00 EUR" in page.as_html(earned)
    assert cells(with_total(report, cost=None, currency="EUR").total)["cost"] == ""


@pytest.mark.parametrize(
    ("energy_j", "unit", "said"), [(2500.0, "samples", "2.5 kJ/samples"), (0.5, None, "0.5 J/unit"), (None, "x", "")]
)
def test_the_energy_of_a_unit_of_work(energy_j: float | None, unit: str | None, said: str) -> None:
    assert per_work_text(energy_j, unit) == said


def test_what_is_not_known_of_the_energy_is_unknown_and_no_zero(report: Report) -> None:
    told = cells(with_total(report, it_energy_kwh=None, emissions_location_g=None, coverage_ratio=None).total)
    assert {told[name] for name in ("energy", "CO2e", "covered")} == {"unknown"}


@pytest.mark.parametrize(("told", "whole"), [([], 0), ([None], None), ([None, 1.0], 1.0)])
def test_a_sum_of_what_is_not_known_is_not_known(report: Report, told: list[float | None], whole: float | None) -> None:
    row = report.waste[0].model_copy(update={"is_waste": True})
    waste = [row.model_copy(update={"it_energy_kwh": energy_kwh}) for energy_kwh in told]
    assert report.model_copy(update={"waste": waste}).wasted_kwh == whole


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(0.00417, 22.6, "< 0.01 of 22.6"), (0.0, 720, "0 of 720"), (384, 720, "384 of 720"), (0.174, 24, "0.17 of 24")],
)
def test_hours_of_hours_are_told_as_people_read_them(part: float, whole: float, said: str) -> None:
    assert part_text(part, whole) == said

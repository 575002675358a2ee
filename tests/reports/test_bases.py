"""Money, contracts, the making of hardware, losses and water: each adds up, none is mixed with another or made up."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from math import fsum
from pathlib import Path
from typing import Any

import pytest

from greenrun.charts import browser
from greenrun.cli import report_output
from greenrun.core.accounting.embodied import Embodied
from greenrun.core.accounting.market_based import Contracts
from greenrun.core.accounting.parts import Part
from greenrun.core.accounting.step_function import Span, Steps
from greenrun.core.accounting.weekly import Weekly
from greenrun.core.energy.model import Component, Quality
from greenrun.reports.build import Reports, ReportSettings
from greenrun.reports.cost_and_scope2 import Bases
from greenrun.reports.exports.sci import sci
from greenrun.reports.figure_models import CostFigures
from greenrun.reports.figures import Share, figures
from greenrun.reports.formats import BY
from greenrun.reports.html import page
from greenrun.reports.model import Report
from greenrun.reports.rows.groups import GroupedParts
from greenrun.reports.rows.members import held_by_parts
from greenrun.store import Store
from tests.reports.build import ALL_BASES as ALL
from tests.reports.build import END, GPUS, HOUR, MIDDLE, NOW, PPA, PUE, T0, TARIFF, fill
from tests.reports.columns import only, whole

ADD_UP = ("cost", "cost_missing_kwh", "emissions_market_g", "embodied_g", "td_loss_g", "emissions_total_g", "water_l")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("books") / "greenrun.db"


@pytest.fixture(scope="module")
def store(path: Path) -> Iterator[Store]:
    with Store(path) as opened:
        fill(opened, 120)
        yield opened


def made_of(store: Store, bases: Bases, by: Any = "job", start: datetime = T0, end: datetime = END) -> Report:
    settings = ReportSettings(zone="GB", pue=PUE, bases=bases, config_hash="f00")
    return Reports(store.archive, lambda: GPUS, settings).report(start, end, by, NOW)


def report(store: Store, bases: Bases, by: str = "job", start: datetime = T0, end: datetime = END) -> dict[str, Any]:
    """The same as plain values."""
    return made_of(store, bases, by, start, end).document()


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9)


def rows_of(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("by", BY)
def test_rows_and_unattributed_make_the_total(store: Store, by: str) -> None:
    """By month and zone too: here everything that was held is booked."""
    made = report(store, ALL, by)
    for field in ADD_UP:
        parts = [row[field] for row in [*made["rows"], made["unattributed"]] if row[field] is not None]
        assert fsum(parts) == close(made["total"][field]), field


@pytest.mark.parametrize("field", ["cost", "emissions_market_g", "td_loss_g", "water_l", "embodied_g"])
def test_periods_that_follow_one_another_add_up(store: Store, field: str) -> None:
    cut = T0 + timedelta(hours=17)
    spans = ((T0, cut), (cut, END), (T0, END))
    first, second, whole = (report(store, ALL, "project", *span)["total"][field] for span in spans)
    assert first + second == close(whole)


def test_the_cost_is_that_of_each_slice_at_its_own_price(store: Store, path: Path) -> None:
    """The tariff changes on full hours, so the mean of the hour is the price of every slice in it."""
    slices = rows_of(path, "SELECT started_at, energy_j * pue / 3.6e6 FROM slices WHERE energy_j IS NOT NULL")
    cost = fsum(kwh * (TARIFF.at(datetime.fromisoformat(at)) or 0.0) for at, kwh in slices)
    assert report(store, ALL)["total"]["cost"] == close(cost)


def test_a_constant_price_is_a_factor_of_facility_energy(store: Store) -> None:
    total = report(store, replace(ALL, price=Weekly.of([], -0.05).steps))["total"]
    assert total["cost"] == close(-0.05 * total["facility_energy_kwh"])
    assert total["cost_missing_kwh"] == 0.0


def test_energy_without_a_price_is_told_and_costs_nothing_made_up(store: Store) -> None:
    hole = Steps.of([Span(T0, MIDDLE, 0.3)])
    total = report(store, replace(ALL, price=lambda start, end: hole))["total"]
    known = report(store, ALL, end=MIDDLE.replace(minute=0))["total"]["facility_energy_kwh"]
    assert total["cost"] == close(0.3 * known)
    assert total["cost_missing_kwh"] == close(total["facility_energy_kwh"] - known)
    nothing = report(store, replace(ALL, price=lambda start, end: Steps.of([])))
    assert (nothing["total"]["cost"], nothing["total"]["currency"]) == (None, "EUR")
    assert nothing["missing"]["cost"] == "no price is known for the hours in which energy was used"
    assert "cost" in {note["field"] for note in nothing["data_quality"]}
    assert nothing["attribution"] == []


def test_contracts_cover_their_share_and_the_residual_mix_the_rest(store: Store) -> None:
    cut = MIDDLE.replace(minute=0)
    during, after = report(store, ALL, end=cut)["total"], report(store, ALL, start=cut + HOUR)["total"]
    assert during["market_covered_ratio"] == close(0.8)
    assert during["emissions_market_g"] == close(during["facility_energy_kwh"] * (0.8 * 5.0 + 0.2 * 500.0))
    assert during["market_factor_source"] == "PPA; residual mix"
    assert after["emissions_market_g"] == close(after["facility_energy_kwh"] * 500.0)
    assert (after["market_covered_ratio"], after["market_factor_source"]) == (0.0, "residual mix")


def test_what_no_contract_covers_has_no_market_based_figure_without_a_residual_mix(store: Store) -> None:
    """A job whose energy is wholly covered has one all the same; the total says why it has none."""
    contracts = Contracts(rows=[replace(PPA, share=1.0)])
    made = report(store, replace(ALL, contracts=lambda: contracts))
    assert made["total"]["emissions_market_g"] is None
    assert "residual_g_per_kwh" in made["missing"]["emissions_market_g"]
    covered = [row for row in made["rows"] if row["market_covered_ratio"] == 1.0]
    assert covered
    for row in covered:
        assert row["emissions_market_g"] == close(5.0 * row["facility_energy_kwh"])


def test_market_based_figures_change_no_other_and_no_sci_score(store: Store) -> None:
    """ISO/IEC 21031 allows no market-based measures."""
    own = {"emissions_market_g", "market_factor_source", "market_covered_ratio"}
    with_contracts, without = made_of(store, ALL), made_of(store, replace(ALL, contracts=None))
    assert sci(with_contracts) == sci(without)
    one, other = with_contracts.document(), without.document()
    for row, same in zip(one["rows"], other["rows"], strict=True):
        assert {key: row[key] for key in row if key not in own} == {key: same[key] for key in same if key not in own}
        assert {same[key] for key in own} == {None}


def test_embodied_emissions_are_of_the_hours_held_known_energy_or_not(store: Store, path: Path) -> None:
    held_h = rows_of(path, "SELECT sum(julianday(ended_at) - julianday(started_at)) * 24 FROM runs")[0][0]
    made = report(store, ALL)
    assert made["total"]["embodied_g"] == pytest.approx(27.0 * held_h, rel=1e-6)
    assert made["unattributed"]["embodied_g"] == 0.0


def test_a_model_without_a_factor_leaves_the_sum_unknown(store: Store) -> None:
    made = report(store, replace(ALL, embodied=Embodied(source="x", by_model={"H100": 35.0})))
    assert (made["total"]["embodied_g"], made["total"]["emissions_total_g"]) == (None, None)
    assert "all hardware in use" in made["missing"]["embodied_g"]


def test_the_total_is_the_sum_of_its_lines(store: Store) -> None:
    total = report(store, ALL)["total"]
    location_g = total["emissions_location_g"]
    assert total["td_loss_g"] == close(0.05 * location_g)
    assert total["emissions_total_g"] == close(location_g + total["td_loss_g"] + total["embodied_g"])
    assert total["water_l"] == close(1.8 * total["it_energy_kwh"])
    plain = report(store, replace(ALL, td_loss_ratio=0.0))["total"]
    assert plain["td_loss_g"] is None
    assert plain["emissions_total_g"] == close(location_g + plain["embodied_g"])


def test_the_score_is_the_operational_part_and_the_embodied_one(store: Store) -> None:
    made = sci(made_of(store, ALL)).document()
    assert made["missing"] == {}
    for job in made["jobs"]:
        if job["operational_g_per_job"] is not None:
            assert job["sci_g_per_job"] == close(job["operational_g_per_job"] + job["M_g"])


def test_a_score_is_per_unit_of_work_where_a_whole_job_told_of_any(store: Store) -> None:
    made = report(store, ALL)
    made["rows"][0] |= {"work": 2000.0, "work_unit": "samples"}
    job = sci(Report.model_validate(made)).document()["jobs"][0]
    assert (job["work"], job["work_unit"]) == (2000.0, "samples")
    assert job["sci_g_per_unit_of_work"] == close(job["sci_g_per_job"] / 2000)
    made["to"] = made["rows"][0]["started_at"]
    assert sci(Report.model_validate(made)).jobs[0].sci_g_per_unit_of_work is None


def test_what_is_not_set_is_null_and_told_why(store: Store) -> None:
    made = report(store, Bases())
    names = {*ADD_UP, "currency", "market_factor_source", "market_covered_ratio"}
    assert {made["total"][name] for name in names} == {None}
    assert names <= set(made["missing"])
    assert set(sci(made_of(store, Bases())).missing) == {"M_g", "sci_g_per_job"}


def test_what_is_set_is_told_with_its_method_source_and_settings(store: Store) -> None:
    made = report(store, ALL)
    method = " ".join(made["method"])
    assert all(word in method for word in ("Costs are", "Market-based", "an assessment"))
    assert made["attribution"] == ["Prices: <somebody>"]
    assert made["config_hash"] == "f00"
    assert json.loads(json.dumps(made)) == made
    assert Report.model_validate(made).document() == made


def test_waste_costs_too(store: Store) -> None:
    made = report(store, ALL)
    wasted = fsum(row["cost"] for row in made["waste"])
    assert wasted + made["unattributed"]["cost"] == close(made["total"]["cost"])


def test_costs_are_shown_where_there_are_any_and_nowhere_else(store: Store) -> None:
    """In the table and on the page; CSV and JSON have all figures."""
    told, silent = made_of(store, ALL, "project"), made_of(store, Bases(), "project")
    amount = f"{told.total.cost:.2f} EUR"
    assert amount in report_output.render(told, "table")
    assert amount in page.as_html(told)
    assert "COST" in report_output.render(told, "table")
    assert "COST" not in report_output.render(silent, "table")
    assert "cost" not in page.as_html(silent).replace(str(browser.page_script()), "")


def test_a_job_s_cost_by_itself_is_that_of_its_row(store: Store) -> None:
    """Without a report, by its runs alone; and null where no price is set."""
    settings = ReportSettings(zone="GB", pue=PUE, bases=ALL)
    reports, names = Reports(store.archive, lambda: GPUS, settings), CostFigures.model_fields
    rows = {row["job_id"]: row for row in report(store, ALL)["rows"]}
    for job_id, runs in store.runs.of_jobs(list(rows)[:9]).items():
        told = reports.cost_of([run.id for run in runs])
        assert dict(told) == {name: pytest.approx(rows[job_id][name]) for name in names}
    silent = Reports(store.archive, lambda: GPUS, ReportSettings()).cost_of([1])
    assert silent == CostFigures(cost=None, currency=None, cost_missing_kwh=None)


@pytest.mark.parametrize(
    ("components", "is_whole", "grams", "lacks"),
    [
        ((Component.CPU,), False, None, None),
        ((Component.CPU, Component.DRAM), True, None, None),
        ((Component.GPU,), False, 27.0, None),
        ((Component.GPU, Component.CPU, Component.DRAM), False, 27.0, "cpu; dram"),
        ((Component.GPU, Component.CPU), True, 27.0, None),
        ((), False, 0.0, None),
    ],
    ids=["no GPU", "no GPU of a whole machine", "a GPU", "a GPU and others", "a whole machine", "nobody"],
)
def test_what_no_factor_covers_has_no_embodied_emissions_instead_of_none(
    components: tuple[Component, ...], *, is_whole: bool, grams: float | None, lacks: str | None
) -> None:
    """A job without GPUs had M = 0 g in its score, as if its CPU had made itself."""
    parts = [
        Part(
            run_id=1, device=each.value, component=each, quality=Quality.MEASURED, hour=T0, seconds=3600.0,
            energy_j=1e6, pue=1.0, booked=None, settled=None,
        )
        for each in components
    ]  # fmt: skip
    embodied = Embodied(source="an assessment", g_per_gpu_hour=27.0, is_whole=is_whole)
    used = whole(parts)
    rates = Bases(embodied=embodied).rates(used.parts.hours, {})
    used = GroupedParts.whole(rates.rated(used.parts))
    row = only(rates.figures(used, figures(Share(used=used), None), held_by_parts(used)))
    assert (row["embodied_g"], row["embodied_lacks"]) == (grams, lacks)

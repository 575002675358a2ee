"""A marginal signal beside the average prices each slice once more, on its own, and nothing else changes by it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.config import load_config
from greenrun.core.carbon.intensity import Kind, Series, SeriesId, Signal
from greenrun.core.errors import ConfigError, ProviderUnavailable
from greenrun.engine.engine import Engine
from greenrun.reports.build import Reports, ReportSettings
from greenrun.store import Store
from greenrun.store.columns import to_text
from tests.world import SLOT, T0, World, new_engine, open_store, run_until, spec

HOUR = timedelta(hours=1)
AVERAGE, MOER = [400, 400, 100, 100, *[300] * 30], [500, 500, 900, 900, *[700] * 30]
DAY = T0 + 6 * HOUR


class Beside(World):
    """A source of marginal values that calls the place by its own name, and must not be asked for a forecast."""

    name = "wt"
    asked: list[str]

    def forecast(self, zone: str, now: Any) -> Any:
        raise AssertionError("its forecast is not planned with")

    def history(self, zone: str, start: Any, end: Any, now: Any) -> Series:
        self.asked.append(zone)
        return super().history(zone, start, end, now)

    def _id(self, zone: str) -> SeriesId:
        return SeriesId(provider="wt", zone=zone, signal=Signal.MARGINAL)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


def sql(store: Store, query: str) -> Any:
    with closing(sqlite3.connect(store.path)) as connection:
        return connection.execute(query).fetchall()


def day(store: Store, beside: Beside | None, *, until: Any = DAY) -> World:
    """Let two jobs pass; the source beside, if any, is there from the beginning."""
    world = World(AVERAGE, gpus=1)
    plain = new_engine(world, store, world.meter(), climatology_days=1)
    engine = plain
    if beside is not None:
        beside.asked = []
        settings = replace(plain.settings, marginal_zone="CAISO")
        engine = Engine(
            store=store, executor=world, meter=world.meter(), forecasts=[world], histories=[world], marginal=[beside],
            settings=settings,
        )  # fmt: skip
    store.jobs.add_jobs([spec(1800, max_delay=3 * HOUR), spec(900, start_now=True)], user="ada", uid=1, now=T0)
    run_until(world, engine, until)
    return world


def report(store: Store, world: World) -> dict[str, Any]:
    made = Reports(store.archive, lambda: world.devices, ReportSettings(zone="GB")).report(T0, DAY, "job", world.now)
    return made.total.document()


def test_each_slice_has_a_marginal_price_beside_the_settled_one(store: Store) -> None:
    world = day(store, Beside(MOER, gpus=1))
    priced = "FROM ledger JOIN slices ON slices.id = slice_id WHERE stage = 'marginal'"
    rows = sql(store, f"SELECT energy_j, pue, intensity_g_per_kwh, emissions_g {priced}")
    assert len(rows) == sql(store, "SELECT count(*) FROM ledger WHERE stage = 'settled'")[0][0] > 100
    assert [grams for *_, grams in rows] == pytest.approx([joules / 3.6e6 * pue * g for joules, pue, g, _ in rows])
    total = report(store, world)
    assert total["emissions_marginal_g"] == pytest.approx(sum(grams for *_, grams in rows))
    assert total["marginal_ratio"] == pytest.approx(total["settled_ratio"])
    [(held,)] = sql(store, f"SELECT sum(emissions_g) {priced} AND run_id IS NOT NULL")
    counted = store.books.counters()["greenrun_marginal_emissions_grams_total", (("project", "default"),)]
    assert counted == pytest.approx(held)


def test_plans_and_average_figures_are_what_they_are_without_it(tmp_path: Path) -> None:
    with open_store(tmp_path, "with.db") as store, open_store(tmp_path, "without.db") as other:
        beside = Beside(MOER, gpus=1)
        one, two = report(store, day(store, beside)), report(other, day(other, None))
        assert {key for key, value in one.items() if value != two[key]} == {
            "ci_marginal_g_per_kwh", "emissions_marginal_g", "marginal_ratio",
        }  # fmt: skip
        assert two["emissions_marginal_g"] is None
        assert set(beside.asked) == {"CAISO"}
        assert "greenrun_marginal_emissions_grams_total" not in {name for name, _ in other.books.counters()}
        assert sql(other, "SELECT count(*) FROM unsettled_marginal") == [(0,)]


def test_a_slice_waits_for_each_price_by_itself(store: Store) -> None:
    day(store, Beside(MOER[:4], gpus=1))
    waiting = sql(store, "SELECT min(ended_at) FROM unsettled_marginal")[0][0]
    assert waiting > (T0 + 4 * SLOT).isoformat()
    assert sql(store, "SELECT count(*) FROM unsettled") < sql(store, "SELECT count(*) FROM unsettled_marginal")
    assert sql(
        store, "SELECT max(started_at) FROM ledger JOIN slices ON slices.id = slice_id WHERE stage = 'marginal'"
    ) < [(waiting,)]


class Late(Beside):
    """It does not answer in the first hours."""

    def history(self, zone: str, start: Any, end: Any, now: Any) -> Series:
        if now < T0 + 4 * HOUR:
            raise ProviderUnavailable("not yet")
        return super().history(zone, start, end, now)


def test_what_waited_while_the_source_was_away_is_asked_for_when_it_is_back(store: Store) -> None:
    day(store, Late(MOER), until=T0 + 5 * HOUR)
    assert sql(store, f"SELECT count(*) FROM unsettled_marginal WHERE ended_at < '{to_text(T0 + 4 * HOUR)}'") == [(0,)]
    assert sql(store, "SELECT count(*) > 100 FROM ledger WHERE stage = 'marginal'") == [(1,)]


def test_what_is_measured_marginally_is_not_learned_from(store: Store) -> None:
    told = Series.of(SeriesId(provider="wt", zone="GB", signal=Signal.MARGINAL), Beside(MOER)._slots(Kind.MEASURED))
    store.grid.save_intensities(told, fetched_at=DAY)
    assert store.grid.measured("GB", T0, DAY) is not None
    assert store.grid.measured("GB", T0, DAY, without=["wt"]) is None


CONFIG = """
[grid]
zone = "GB"
provider = "uk"
marginal = "{marginal}"
[provider.uk]
kind = "uk_carbon_intensity"
[provider.other]
kind = "file"
path = "x.csv"
[provider.wt]
kind = "file"
path = "y.csv"
zone = "CAISO"
signal = "marginal"
"""


@pytest.mark.parametrize(
    ("name", "why"),
    [("nobody", "there is no"), ("uk", "is used for averages already"), ("other", "serves averages")],
)
def test_a_source_that_cannot_be_one_is_refused(tmp_path: Path, name: str, why: str) -> None:
    file = tmp_path / "greenrun.toml"
    file.write_text(CONFIG.format(marginal=name))
    with pytest.raises(ConfigError, match=why):
        load_config(file, {})


def test_a_source_of_marginal_values_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "greenrun.toml"
    file.write_text(CONFIG.format(marginal="wt"))
    assert load_config(file, {}).grid.marginal == "wt"

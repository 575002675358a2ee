"""The quality of forecasts is judged from the store, kept at hand, and served as it is."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.carbon.intensity import Forecast, Kind, Series, SeriesId, Signal
from greenrun.core.carbon.verification import DAY_H, LEADS_H, MISSING_WINDOW
from greenrun.core.histogram import FORECAST_ERROR
from greenrun.grid.forecast_quality import ForecastQuality
from greenrun.store import Store
from tests.api.fakes import HOUR, NOW, World, judged
from tests.slots import slots_of

DAY = timedelta(days=1)


def day(hour: int) -> float:
    return 300.0 + 10.0 * ((hour * 7) % 24)


def series(provider: str, first: int, last: int, kind: Kind, add: float = 0.0) -> Series:
    hours = range(first, last)
    starts = [NOW - 5 * DAY + hour * HOUR for hour in hours]
    return Series.of(
        SeriesId(provider=provider, zone="GB"), slots_of(starts, [day(hour) + add for hour in hours], HOUR, kind)
    )


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """Two sources' forecasts over four days, and what was measured."""
    with Store(tmp_path / "greenrun.db") as opened:
        for hour in range(0, 4 * 24, 6):
            at = NOW - 5 * DAY + hour * HOUR
            for provider, add in (("good", 0.0), ("high", 20.0)):
                told = series(provider, hour, hour + 30, Kind.FORECAST, add)
                opened.grid.save_forecast(Forecast(series=told, fetched_at=at))
        opened.grid.save_intensities(series("meter", 0, 120, Kind.MEASURED), fetched_at=NOW)
        yield opened


def test_each_source_is_judged_by_itself_from_what_the_store_kept(store: Store) -> None:
    quality = ForecastQuality(store, ["GB", "DE"])
    assert (quality.latest, quality.judged_at) == ((), None)
    quality.refresh(NOW)
    found = {row.series.provider: {lead.lead_h: lead for lead in row.leads} for row in quality.latest}
    assert quality.judged_at == NOW
    assert {name: leads[DAY_H].bias_g_per_kwh for name, leads in found.items()} == {"good": 0.0, "high": 20.0}
    assert found["good"][DAY_H].captured_ratio == 1.0
    assert found["good"][24, 48].hours == 16 * 6
    assert "captured_ratio" in found["good"][24, 48].missing


def test_the_quality_is_served_with_what_is_missing_and_why() -> None:
    world = World()
    assert world.ask("GET", "/v1/forecast/quality").json() == {"zone": "GB", "judged_at": None, "series": []}
    world.scheduler.quality.latest, world.scheduler.quality.judged_at = [judged()], NOW
    answer = world.ask("GET", "/v1/forecast/quality", params={"zone": "GB"}).json()
    (only,) = answer["series"]
    assert (answer["judged_at"], only["provider"], only["basis"]) == ("2026-03-02T12:00:00Z", "test", "lifecycle")
    assert [(lead["from_h"], lead["to_h"]) for lead in only["leads"]] == [*LEADS_H, DAY_H]
    assert only["leads"][0]["captured_ratio"] is None
    assert only["leads"][0]["missing"] == {"captured_ratio": MISSING_WINDOW}
    assert only["leads"][-1]["captured_ratio"] == 0.8


def test_the_quality_of_another_zone_s_forecasts_is_not_known() -> None:
    answer = World().ask("GET", "/v1/forecast/quality", params={"zone": "FR"})
    assert answer.status_code == 404
    assert "has forecasts of GB only" in answer.json()["detail"]


def errors(store: Store, horizon: str, part: str = "count") -> float:
    """How many errors of a horizon were counted in all its buckets, or their sum."""
    amounts = {
        (name, dict(labels)["horizon"]): 0.0
        for name, labels in store.books.counters()
        if name.startswith(FORECAST_ERROR)
    }
    for (name, labels), value in store.books.counters().items():
        if name.startswith(FORECAST_ERROR):
            amounts[name, dict(labels)["horizon"]] += value
    return amounts.get((f"{FORECAST_ERROR}_{'bucket' if part == 'count' else 'sum'}", horizon), 0.0)


def test_the_error_of_each_measured_hour_is_counted_once_also_over_a_restart(store: Store) -> None:
    """Of both sources the one that spoke last counts: it was off by 20 g/kWh."""
    ForecastQuality(store, ["GB"]).refresh(NOW - DAY)
    before = errors(store, "1h")
    for _ in range(2):
        ForecastQuality(store, ["GB"]).refresh(NOW)
    assert 0 < before < errors(store, "1h")
    assert (errors(store, "1h"), errors(store, "24h")) == (90 + 25, 16 * 6)  # forecasts are good for a day; of 30 hours
    assert errors(store, "1h", "sum") == 20.0 * errors(store, "1h")


def test_errors_are_of_averages_though_a_marginal_source_knows_more_of_the_time(store: Store) -> None:
    beside = series("moer", -24, 120, Kind.MEASURED)
    marginal = replace(beside, id=replace(beside.id, signal=Signal.MARGINAL))
    store.grid.save_intensities(marginal, fetched_at=NOW)
    ForecastQuality(store, ["GB"], {"moer"}).refresh(NOW)
    assert errors(store, "1h") == 90 + 25


def test_hours_are_counted_when_they_are_measured_and_not_before(tmp_path: Path) -> None:
    with Store(tmp_path / "greenrun.db") as store:
        told = series("only", 0, 30, Kind.FORECAST, 5.0)
        store.grid.save_forecast(Forecast(series=told, fetched_at=NOW - 5 * DAY))
        quality = ForecastQuality(store, ["GB"])
        quality.refresh(NOW)
        assert errors(store, "1h") == 0
        for until, counted in ((10, 9), (25, 24)):
            store.grid.save_intensities(series("meter", 0, until, Kind.MEASURED), fetched_at=NOW)
            quality.refresh(NOW)
            assert errors(store, "1h") == counted
        assert errors(store, "24h") == 1

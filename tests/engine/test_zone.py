"""A zone's grid through outages: the active forecast goes down the fallback levels and up again, logged each time."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from greenrun.core.carbon.intensity import FallbackLevel, Forecast, Kind
from greenrun.core.errors import ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.core.jobs.job import State
from greenrun.engine.polling import RequestCounts
from greenrun.engine.zone import GridZone
from greenrun.store import Store
from tests.core.hours import DAY, HOUR
from tests.engine.hourly_grid import AGEING, MEAN, Source, a_grid, learning, levels
from tests.store.examples import latest
from tests.world import T0, World, new_engine, open_store, run_until, spec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


def changes(logged: list[Any]) -> list[tuple[str, str]]:
    """The logged changes of the fallback level."""
    return [(row["before"], row["rung"]) for row in logged if row["event"] == "forecast in use changed"]


def test_through_an_outage_the_grid_steps_down_and_up_again_with_one_line_each(store: Store) -> None:
    source = Source(reach=DAY * 2)
    grid = a_grid(store, source)
    with capture_logs() as logged:
        assert levels(grid, T0, 3) == ["fresh"]
        source.trouble = ProviderUnavailable("the source is down")
        assert levels(grid, T0 + 3 * HOUR, 40) == ["fresh", "stale", "climatology"]
        source.trouble = None
        assert levels(grid, T0 + 43 * HOUR, 3) == ["fresh"]
    assert changes(logged) == [
        ("none", "fresh"),
        ("fresh", "stale"),
        ("stale", "climatology"),
        ("climatology", "fresh"),
    ]
    failures = [row for row in logged if row["event"].startswith("provider")]
    assert [(row["asked"], row["event"].split(",")[0]) for row in failures] == [
        ("forecast", "provider failed"), ("history", "provider failed"),
        ("forecast", "provider answers again"), ("history", "provider answers again"),
    ]  # fmt: skip


def test_with_nothing_measured_a_mean_comes_after_a_stale_forecast_and_nothing_after_that(store: Store) -> None:
    mean, source = Source(name="mean", fallback_level=FallbackLevel.STATIC, reach=DAY), Source(since=T0 + 90 * DAY)
    grid = a_grid(store, mean, source, history=source)
    assert levels(grid, T0, 2) == ["fresh"]
    source.trouble = ProviderGarbage("the source talks nonsense")
    assert levels(grid, T0 + 2 * HOUR, 40) == ["fresh", "stale", "static"]
    made = grid.outlook(T0 + 41 * HOUR, T0 + 50 * HOUR)
    assert made is not None
    assert (set(made.values), set(made.kinds), made.id.provider) == ({MEAN}, {Kind.ESTIMATED}, "mean")
    mean.trouble = ProviderUnavailable("not even that")
    assert levels(grid, T0 + 42 * HOUR, 40) == ["static", "none"]
    assert grid.outlook(T0 + 82 * HOUR, T0 + 90 * HOUR) is None
    assert grid.heard_at == T0 + HOUR, "a mean that is always there tells nothing of those that forecast"


def test_what_past_days_tell_is_an_estimate_of_its_own_series(store: Store) -> None:
    source = Source()
    grid = a_grid(store, source)
    grid.apply_update(grid.fetch(T0))
    grid.update_active_forecast(T0 + 40 * HOUR)
    assert grid.forecast is not None
    told = grid.forecast.series
    assert (grid.forecast.fallback_level, told.id.provider, set(told.kinds)) == (
        FallbackLevel.CLIMATOLOGY, "uk+climatology", {Kind.ESTIMATED}
    )  # fmt: skip
    assert told.at(T0 + 40 * HOUR) is not None


def test_a_frozen_source_is_stale_although_it_answers(store: Store) -> None:
    source = Source(frozen_at=T0)
    grid = a_grid(store, source)
    assert levels(grid, T0, 47) == ["fresh", "stale", "climatology"]
    source.frozen_at = None
    assert levels(grid, T0 + 47 * HOUR, 2) == ["fresh"]


@pytest.mark.parametrize("hour", [5, 30])
def test_a_restart_makes_nothing_younger(store: Store, hour: int) -> None:
    source = Source(frozen_at=T0)
    grid = a_grid(store, source)
    levels(grid, T0, hour)
    again = a_grid(store, source)
    now = T0 + hour * HOUR
    again.restore(now)
    grid.update_active_forecast(now)
    assert (again.active_forecast.fallback_level, again.active_forecast.since) == (
        grid.active_forecast.fallback_level,
        grid.active_forecast.since,
    )
    assert levels(again, now, 1) == [grid.active_forecast.fallback_level.value]


def test_what_was_said_before_all_that_is_reread_and_only_repeated_since_is_old(store: Store) -> None:
    source = Source(reach=9 * DAY)
    issue = source.forecast("GB", T0)
    for hour in range(70):
        store.grid.save_forecast(Forecast(series=issue.series, fetched_at=T0 + hour * HOUR))
    grid = a_grid(store, source)
    grid.restore(T0 + 70 * HOUR)
    assert grid.active_forecast.fallback_level is not FallbackLevel.FRESH
    assert grid.heard_at == T0 + 69 * HOUR


def test_another_source_steps_in_and_the_preferred_one_is_gone_back_to(store: Store) -> None:
    first, second = Source(), Source(name="other")
    grid = a_grid(store, first, second)
    used = []
    for hour, trouble in enumerate([None, *[ProviderUnavailable("down")] * 3, None]):
        first.trouble = trouble
        levels(grid, T0 + hour * HOUR, 1)
        assert grid.forecast is not None
        used.append(grid.forecast.series.id.provider)
    assert used == ["uk", "uk", "uk", "other", "uk"]
    assert [row.provider for row in grid.received] == ["uk", "other"]


def test_a_source_that_does_not_serve_a_zone_is_not_of_it_and_has_not_failed(store: Store) -> None:
    source, tally = Source(zones=("GB",)), RequestCounts()
    grid = GridZone(store, "DE", [source], [source], replace(learning(28), is_home=False), tally)
    with capture_logs() as logged:
        levels(grid, T0, 3)
    assert {row["log_level"] for row in logged} == {"info"}
    assert (tally.requests, tally.failures) == ({}, {})
    assert len(logged) == 2
    assert grid.active_forecast.why.startswith("no provider has said anything")


def test_a_refusal_by_a_source_that_serves_the_zone_is_a_failure_told_once(store: Store) -> None:
    source, tally = Source(trouble=ProviderRefused("the key is one of the sandbox")), RequestCounts()
    grid = GridZone(store, "GB", [source], [source], replace(learning(28), is_home=False), tally)
    with capture_logs() as logged:
        levels(grid, T0, 3)
    assert [row["log_level"] for row in logged if row["asked"] == "forecast"] == ["warning"]
    assert tally.failures == {("uk", "ProviderRefused"): 3}
    assert tally.requests == {"uk": 3}


def test_zones_besides_the_host_s_are_kept_and_shown_and_change_nothing_of_its_own(store: Store) -> None:
    world = World(values=[100.0] * 48)
    engine = new_engine(world, store, world.meter(), also=("DE", "FR"))
    run_until(world, engine, T0 + HOUR)
    assert [grid.name for grid in engine.zones] == ["GB", "DE", "FR"]
    assert {grid.name: grid.active_forecast.fallback_level for grid in engine.zones} == dict.fromkeys(
        ("GB", "DE", "FR"), FallbackLevel.FRESH
    )
    kept = [latest(store, zone) for zone in ("GB", "DE", "FR")]
    assert [forecast.series.id.zone for forecast in kept if forecast] == ["GB", "DE", "FR"]
    assert engine.zone.forecast is not None
    assert engine.zone.forecast.series.id.zone == "GB"
    assert store.grid.measured("DE", T0, T0 + HOUR) is not None


def test_jobs_meet_their_limits_and_run_once_while_the_source_fails_for_two_days(store: Store) -> None:
    world = World(values=[100.0 + (slot % 48) for slot in range(400)])
    world.now = T0 + 30 * HOUR
    store.grid.save_intensities(world.history("GB", T0, world.now, world.now), fetched_at=world.now)
    engine = new_engine(world, store, world.meter(), staleness=AGEING, climatology_days=28, tick=HOUR)
    run_until(world, engine, world.now)
    specs = [spec(3600, max_delay=timedelta(hours=wait)) for wait in (3, 12, 20, 40)]
    jobs = [job for job, _ in store.jobs.add_jobs(specs, user="ada", uid=1, now=world.now)]
    world.provider_down = True
    with capture_logs() as logged:
        run_until(world, engine, T0 + 72 * HOUR)
        world.provider_down = False
        run_until(world, engine, T0 + 73 * HOUR)
    assert changes(logged) == [("fresh", "stale"), ("stale", "climatology"), ("climatology", "fresh")]
    for job in jobs:
        [run] = store.runs.of_jobs([job.id])[job.id]
        assert run.started_at is not None
        assert run.started_at <= job.latest_start(24 * HOUR) + timedelta(minutes=1)
        assert store.jobs.job(job.id).state is State.SUCCEEDED
    assert sorted(world.launches) == sorted(job.id for job in jobs)


def test_energy_used_while_nobody_forecasts_is_priced_as_an_estimate_and_settled_with_what_was_measured(
    store: Store,
) -> None:
    source = Source(reach=6 * HOUR)
    world = World(values=[100.0] * 400)
    engine = new_engine(
        world, store, world.meter(), staleness=AGEING, climatology_days=28,
        wrap=lambda port, name: source if name == "provider" else port,
    )  # fmt: skip
    run_until(world, engine, T0 + HOUR)
    source.trouble = ProviderUnavailable("down")
    run_until(world, engine, T0 + 10 * HOUR)
    late = [row for row in store.books.entries() if row.slice.start >= T0 + 8 * HOUR]
    assert {(row.booked.kind, row.booked.series.provider if row.booked.series else None) for row in late} == {
        (Kind.ESTIMATED, "uk+climatology")
    }
    assert {row.settled for row in late} == {None}
    source.trouble = None
    run_until(world, engine, T0 + 12 * HOUR)
    late = [row for row in store.books.entries() if T0 + 8 * HOUR <= row.slice.start < T0 + 9 * HOUR]
    assert {row.settled.kind if row.settled else None for row in late} == {Kind.MEASURED}

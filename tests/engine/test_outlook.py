"""The engine plans with an outlook that is at hand, learned from the store, and shows the provider's own forecast."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from greenrun.core.carbon.intensity import FallbackLevel, Forecast, Kind, Series
from greenrun.core.errors import ProviderUnavailable
from greenrun.core.planning.model import Placement
from greenrun.engine.engine import Engine, EngineSettings
from greenrun.engine.zone import GridZone, ZoneSettings
from greenrun.store import Store
from tests.core.hours import DAY, HOUR, course, hourly
from tests.world import T0, World, open_store, spec


class Source:
    """A zone's forecast a day ahead, always `bias` off, and what was measured from `since` on."""

    name = "test"
    refresh_every = HOUR
    settle_after = timedelta(0)

    def __init__(self, since: datetime, bias: float = -40.0) -> None:
        self.since = since
        self.bias = bias
        self.asked: list[tuple[datetime, datetime]] = []
        self.is_down = False

    def forecast(self, zone: str, now: datetime) -> Forecast:
        if self.is_down:
            raise ProviderUnavailable("the source is down")
        begin = now.replace(minute=0, second=0, microsecond=0)
        series = hourly(begin, 24, lambda at: course(at) + self.bias, Kind.FORECAST)
        return Forecast(series=series, fetched_at=now, issued_at=begin)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        self.asked.append((start, end))
        if self.is_down:
            raise ProviderUnavailable("the source is down")
        whole = hourly(T0 - 70 * DAY, 90 * 24)
        over = whole.ends_s <= min(end, now).timestamp()
        kept = over & (whole.starts_s >= max(start, self.since).timestamp())
        kinds = (Kind.MEASURED,) * int(kept.sum())
        return Series(whole.id, whole.starts_s[kept], whole.ends_s[kept], whole.values[kept], kinds)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


def a_grid(store: Store, source: Source, days: int = 28) -> GridZone:
    """The grid of a daemon that has just started."""
    return GridZone(store, "GB", [source], [source], ZoneSettings(climatology_days=days))


def test_less_than_a_day_of_measured_values_is_no_climatology(store: Store) -> None:
    """Of hours that were never measured it would say nothing, and of the others too much."""
    for hours, is_known in ((23, False), (24, True)):
        store.grid.save_intensities(hourly(T0 - hours * HOUR, hours), fetched_at=T0)
        grid = a_grid(store, Source(T0))
        grid.restore(T0)
        assert (grid.active_forecast.fallback_level is FallbackLevel.CLIMATOLOGY, grid.forecast is not None) == (
            is_known,
            is_known,
        )


def refreshed(grid: GridZone, now: datetime, rounds: int = 1) -> GridZone:
    """The grid after so many hourly rounds of asking, the last one at `now`."""
    for ago in range(rounds - 1, -1, -1):
        grid.apply_update(grid.fetch(now - ago * HOUR))
    return grid


def test_the_same_outlook_is_at_hand_until_a_slot_ends_or_there_is_news(store: Store) -> None:
    grid = refreshed(a_grid(store, Source(T0 - 40 * DAY)), T0)
    first = grid.outlook(T0, T0 + 2 * DAY)
    assert first is not None
    in_between = T0 + timedelta(minutes=59)
    assert grid.outlook(in_between, in_between + 2 * DAY) is first
    later = grid.outlook(T0 + HOUR, T0 + HOUR + 2 * DAY)
    assert later is not None
    assert (later.start, later.end) == (T0 + HOUR, T0 + HOUR + 2 * DAY)
    refreshed(grid, T0 + HOUR)
    assert grid.outlook(T0 + HOUR, T0 + HOUR + 2 * DAY) is not later


def test_the_outlook_reaches_past_the_forecast_which_itself_stays_as_it_came(store: Store) -> None:
    grid = refreshed(a_grid(store, Source(T0 - 40 * DAY)), T0, rounds=8)
    made = grid.outlook(T0, T0 + 2 * DAY)
    assert made is not None
    assert made.kinds == (Kind.FORECAST,) * 24 + (Kind.ESTIMATED,) * 24
    assert grid.forecast is not None
    assert grid.forecast.series.values == pytest.approx([course(T0 + hour * HOUR) - 40.0 for hour in range(24)])


def test_without_days_to_learn_from_the_forecast_is_the_outlook(store: Store) -> None:
    source = Source(T0 - 40 * DAY)
    grid = refreshed(a_grid(store, source, days=0), T0)
    made = grid.outlook(T0, T0 + 2 * DAY)
    assert made is not None
    assert grid.forecast is not None
    assert (made.id, made.slots) == (grid.forecast.series.id, grid.forecast.series.slots)
    assert source.asked == [(T0 - HOUR, T0)]


def test_a_new_daemon_asks_for_the_days_before_week_by_week_and_then_no_more(store: Store) -> None:
    source = Source(T0 - 40 * DAY)
    refreshed(a_grid(store, source), T0, rounds=9)
    earlier = [row for row in source.asked if row[1] - row[0] > 2 * DAY]
    assert [end - start for start, end in earlier][:3] == [7 * DAY] * 3
    assert len(earlier) == 4
    known = store.grid.measured("GB", T0 - 60 * DAY, T0)
    assert known is not None
    assert known.start is not None
    assert known.start == T0 - 28 * DAY - 4 * HOUR  # the fifth round was four hours ago


def test_a_source_that_has_nothing_older_is_not_asked_again(store: Store) -> None:
    source = Source(T0 - 9 * DAY)
    refreshed(a_grid(store, source), T0, rounds=9)
    assert len([row for row in source.asked if row[1] - row[0] > 2 * DAY]) == 2


def test_a_restarted_daemon_knows_what_was_measured_and_how_forecasts_err(store: Store) -> None:
    source = Source(T0 - 70 * DAY)
    measured = source.history("GB", T0 - 70 * DAY, T0, T0)
    store.grid.save_intensities(measured, fetched_at=T0)
    for ago in range(40 * 4, 0, -1):
        store.grid.save_forecast(source.forecast("GB", T0 - ago * 6 * HOUR))
    grid = a_grid(store, source)
    grid.restore(T0)
    first = grid.outlook(T0, T0 + DAY)
    assert first is not None
    assert abs(first.values[0] - course(T0)) > 15
    taught = refreshed(grid, T0).outlook(T0, T0 + DAY)
    assert taught is not None
    assert taught.values == pytest.approx([course(T0 + hour * HOUR) for hour in range(24)], abs=12)


def test_with_the_providers_down_what_was_measured_still_tells_of_the_hours_to_come(store: Store) -> None:
    source = Source(T0 - 70 * DAY)
    store.grid.save_intensities(source.history("GB", T0 - 70 * DAY, T0, T0), fetched_at=T0)
    source.is_down = True
    grid = a_grid(store, source)
    grid.restore(T0)
    refreshed(grid, T0)
    made = grid.outlook(T0, T0 + 2 * DAY)
    assert made is not None
    assert (len(made), set(made.kinds)) == (48, {Kind.ESTIMATED})
    assert np.argmin(made.values[:24]) == 12


@pytest.mark.parametrize(("days", "start"), [(0, T0 + 5.5 * DAY), (28, T0 + 6.5 * DAY)])
def test_a_job_waits_for_a_cleaner_day_past_the_forecasts_end(store: Store, days: int, start: datetime) -> None:
    """On a Saturday the Sunday's noon is not foretold yet, but every Sunday's was cleaner."""
    source, world, saturday = Source(T0 - 70 * DAY, bias=0.0), World(values=[100.0]), T0 + 5 * DAY
    store.grid.save_intensities(source.history("GB", T0 - 30 * DAY, saturday, saturday), fetched_at=saturday)
    engine = Engine(
        store=store, executor=world, meter=world.meter(), forecasts=[source], histories=[source],
        settings=EngineSettings(zone="GB", climatology_days=days),
    )  # fmt: skip
    engine.refresh(saturday)
    [place] = engine.preview([spec(3600, max_delay=40 * HOUR)], user="ada", uid=1, now=saturday)
    assert isinstance(place, Placement)
    assert place.start == start
    assert engine.forecast is not None
    assert engine.forecast.series.end == saturday + DAY

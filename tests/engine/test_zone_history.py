"""What was measured comes in from sources that fail, lack it or step in for one another, and settles what it can."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from greenrun.core.carbon.intensity import Kind, Series
from greenrun.core.errors import ProviderRefused, ProviderUnavailable
from greenrun.engine.polling import RequestCounts
from greenrun.engine.zone import GridZone
from greenrun.store import Store
from greenrun.store.ledger.books import BookRepository
from tests.core.hours import DAY, HOUR
from tests.engine.hourly_grid import Source, a_grid, learning, levels
from tests.world import T0, World, new_engine, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as opened:
        yield opened


def test_history_is_asked_for_a_week_at_a_time(store: Store) -> None:
    source = Source()
    grid = a_grid(store, source)
    levels(grid, T0, 6)
    later = T0 + 40 * DAY
    store.grid.save_intensities(source._series("GB", T0 + 28 * DAY, T0 + 29 * DAY, Kind.MEASURED), fetched_at=later)
    again = a_grid(store, source)
    again.restore(later)
    again.apply_update(again.fetch(later))
    assert max(end - start for _, start, end in source.asked) == 7 * DAY
    known = store.grid.measured("GB", T0 + 29 * DAY, later)
    assert known is not None
    assert (known.holes(), known.end) == ([], later)


def test_a_source_without_older_values_is_told_of_once_and_asked_for_them_now_and_then(store: Store) -> None:
    """That it has none of last week is no failure of what it measures now, at each round of asking anew."""

    class Young(Source):
        def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
            if end <= self.since:
                self.asked.append((zone, start, end))
                raise ProviderRefused("there is nothing that old", status=404)
            return super().history(zone, start, end, now)

    source, tally = Young(since=T0 - 2 * DAY), RequestCounts()
    grid = GridZone(store, "GB", [source], [source], replace(learning(28), is_home=False), tally)
    with capture_logs() as logged:
        levels(grid, T0, 14)
    assert [row["asked"] for row in logged if row["event"].startswith("provider")] == ["earlier history"]
    assert len([end for _, _, end in source.asked if end <= source.since]) == 3
    assert sum(tally.failures.values()) == 3


def test_a_source_that_steps_in_for_an_hour_displaces_nothing_that_was_learned(store: Store) -> None:
    """The hours in between are then fetched of the first one, as far as it has them."""
    first, second = Source(), Source(name="other")
    grid = GridZone(store, "GB", [first, second], [first, second], replace(learning(28), is_home=False))
    for hour in range(12):
        first.trouble = ProviderUnavailable("down") if 6 <= hour < 9 else None
        grid.apply_update(grid.fetch(T0 + hour * HOUR))
        known = grid._outlook._measured
        assert known is not None
        assert known.id.provider == "uk"
    assert known.holes() == []
    assert (known.start, known.end) == (T0 - 28 * DAY + 4 * HOUR, T0 + 11 * HOUR)
    first.trouble = ProviderUnavailable("down for good")
    for hour in range(12, 60):
        grid.apply_update(grid.fetch(T0 + hour * HOUR))
    assert grid._outlook._measured is not None
    assert grid._outlook._measured.id.provider == "other"


def test_the_second_source_of_measured_values_is_asked_only_where_the_first_failed(store: Store) -> None:
    first, second = Source(), Source(name="other")
    grid = GridZone(store, "GB", [first, second], [first, second], learning(0))
    for only in ({"other"}, {"uk"}, {"other"}):
        grid.apply_update(grid.fetch(T0, only))
    assert (len(first.asked), len(second.asked)) == (1, 0)
    first.trouble = ProviderUnavailable("down")
    for only in ({"uk"}, {"other"}):
        grid.apply_update(grid.fetch(T0 + HOUR, only))
    assert len(second.asked) == 1


def test_what_nothing_settles_is_not_read_again_at_every_tick_and_settles_at_once_when_it_can(tmp_path: Path) -> None:
    """After days without measured values there are thousands of slices, and a tick every few seconds."""

    class Counted(BookRepository):
        reads = 0

        def unsettled(self, *args: Any, **more: Any) -> Any:
            rows = super().unsettled(*args, **more)
            self.reads += bool(rows)
            return rows

    with Store(tmp_path / "greenrun.db") as store:
        counted = store.books = Counted(store.database)
        world = World(values=[100.0] * 48)
        engine = new_engine(world, store, world.meter())
        world.provider_down = True
        for _ in range(60):
            engine.tick(world.now)
            world.now += timedelta(seconds=10)
        assert 5 <= counted.reads <= 10
        world.now = T0 + HOUR
        engine.tick(world.now)
        assert not any(row.settled for row in store.books.entries())
        engine.refresh(world.now)
        engine.tick(world.now)
        assert any(row.settled for row in store.books.entries())

"""What is configured is told whether or not it was asked, and a check asks past every cache and never fails."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from greenrun.core.carbon.intensity import Forecast, Kind, Series
from greenrun.core.errors import ProviderUnavailable
from greenrun.grid.sources import Role, check, state_of
from greenrun.providers import find_kind
from greenrun.providers.cached import Cached
from greenrun.providers.energinet import EnerginetSettings
from greenrun.providers.settings import FileSettings, KeySettings
from greenrun.store import Store
from tests.grid.past import DAY, HOUR, LIVE, NOW, Backfilled, Past, hours


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


class Ahead(Past):
    """A source that has a forecast too."""

    def forecast(self, zone: str, now: datetime) -> Forecast:
        slots = hours(now.replace(minute=0), now.replace(minute=0) + 2 * DAY, Kind.FORECAST)
        return Forecast(series=Series.of(self.series_id(zone), slots), fetched_at=now, issued_at=now - HOUR)


def test_a_source_is_told_with_its_role_its_reach_and_what_came_of_asking(store: Store) -> None:
    store.grid.save_intensities(Series.of(LIVE, hours(NOW - DAY, NOW)), fetched_at=NOW)
    store.grid.save_intensities(Series.of(replace(LIVE, zone="FR"), hours(NOW - DAY, NOW + DAY)), fetched_at=NOW)
    ahead = Forecast(series=Series.of(LIVE, hours(NOW, NOW + DAY, Kind.FORECAST)), fetched_at=NOW - HOUR)
    store.grid.save_forecast(ahead)
    store.grid.save_intensities(Series.of(replace(LIVE, basis=None), hours(NOW - 9 * DAY, NOW)), fetched_at=NOW - HOUR)
    world = Backfilled(store, (Past(),), settings={"live": EnerginetSettings(), "spare": EnerginetSettings()})
    world.backfill.fetch(None, None, NOW - DAY, NOW, NOW)
    world.failures["live", "ProviderRefused"] = 2
    live, spare = world.sources.states()
    assert (live.role, spare.role) == (Role.HISTORY, Role.UNUSED)
    assert (live.attribution, live.zones) == ("Source: nobody", {"GB": "Great Britain"})
    assert live.reach is not None
    assert (live.reach.forecast_at, live.reach.forecast_end) == (NOW - HOUR, NOW + DAY)
    assert (live.reach.measured_from, live.reach.measured_until, live.reach.measured_at) == (NOW - DAY, NOW, NOW)
    assert live.asked is not None
    assert (live.asked.requests, live.asked.failures) == (1, {"ProviderRefused": 2})
    assert (spare.reach, spare.asked) == (None, None)


def test_a_key_that_cannot_be_read_is_told_and_one_that_can_is_not_shown(tmp_path: Path) -> None:
    key = tmp_path / "key"
    settings = KeySettings(kind="energinet", url="https://example.org", key_file=key)
    told = state_of("em", settings, ["em"], [])
    assert told.key_problem is not None
    assert str(key) in told.key_problem
    key.write_text("s3cret")
    key.chmod(0o600)
    told = state_of("em", settings, ["em"], [])
    assert (told.key_problem, "s3cret" in repr(told)) == (None, False)


def test_a_check_tells_how_far_a_source_reaches_and_what_it_measured_of_the_last_day() -> None:
    source = Ahead(holes=frozenset({NOW - 5 * HOUR}))
    told = check(source, "GB", NOW)
    assert told.answers
    assert told.series == LIVE
    assert told.known_at == NOW - HOUR
    assert told.forecast is not None
    assert (told.forecast.slots, told.forecast.end, told.forecast.step) == (48, NOW + 2 * DAY, HOUR)
    assert told.history is not None
    assert (told.history.slots, told.history.start) == (23, NOW - DAY)
    assert told.history.holes == [(NOW - 5 * HOUR, NOW - 4 * HOUR)]


def test_a_check_asks_again_whatever_was_answered_before() -> None:
    source = Past()
    cached = Cached(source)
    for _ in range(2):
        check(cached, "GB", NOW)
    assert len(source.asked) == 2


def test_a_source_that_does_not_answer_is_told_with_its_sentence() -> None:
    told = check(Past(fault=ProviderUnavailable("it is down")), "GB", NOW)
    assert (told.answers, told.history_problem) == (False, "it is down")
    assert told.forecast_problem == "live has no forecasts; name another provider"
    empty = check(Past(since=NOW + DAY), "GB", NOW)
    assert (empty.answers, empty.history) == (False, None)
    assert empty.history_problem == "live has nothing measured in the last day that it tells of yet"


def test_a_check_tells_what_may_still_be_asked_and_how_many_values_were_none() -> None:
    told = check(Past(web=SimpleNamespace(quota_left=5, dropped=Counter(missing=2), warnings=["ageing"])), "GB", NOW)
    assert (told.quota_left, told.dropped, told.warnings) == (5, {"missing": 2}, ["ageing"])


def test_zones_and_keys_are_known_of_a_kind_without_opening_it() -> None:
    assert find_kind("energinet").zones["DK-DK1"] == "Western Denmark"
    assert find_kind("file").zones == {}
    assert [find_kind(kind).needs_key for kind in ("file", "energinet", "entsoe")] == [False, False, True]


def test_reaches_tell_of_every_series_apart(store: Store) -> None:
    assert store.grid.reaches() == []
    store.grid.save_intensities(Series.of(LIVE, hours(NOW - DAY, NOW)), fetched_at=NOW)
    store.grid.save_issued(
        [Forecast(series=Series.of(LIVE, hours(NOW - DAY, NOW, Kind.FORECAST)), fetched_at=NOW - DAY)]
    )
    other = replace(LIVE, basis=None)
    ahead = Forecast(series=Series.of(other, hours(NOW, NOW + DAY, Kind.FORECAST)), fetched_at=NOW, issued_at=NOW)
    store.grid.save_forecast(ahead)
    first, second = store.grid.reaches()
    assert (first.id, first.measured_until, first.forecast_end, first.forecast_issued_at) == (LIVE, NOW, NOW, NOW - DAY)
    assert (second.id, second.measured_until, second.forecast_at) == (other, None, NOW)


def test_a_file_s_settings_need_no_key(tmp_path: Path) -> None:
    told = state_of("f", FileSettings(path=tmp_path / "a.csv"), [], ["f"])
    assert (told.needs_key, told.key_problem, told.role) == (False, None, Role.HISTORY)


def test_a_check_counts_zeros_and_doubts_the_unit() -> None:
    class Kilograms(Past):
        def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
            told = super().history(zone, start, end, now)
            slots = [replace(slot, intensity_g_per_kwh=0.0 if n == 3 else 0.2) for n, slot in enumerate(told)]
            return Series.of(told.id, slots)

    told = check(Kilograms(), "GB", NOW)
    assert told.zeros == 1
    assert [("kg/kWh" in doubt) for doubt in told.doubts] == [True]
    assert check(Past(), "GB", NOW).doubts == []

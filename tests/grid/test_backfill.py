"""What is imported or fetched once more joins the series it belongs to, and no other; what cannot stay is refused."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from greenrun.core.carbon.intensity import Basis, Forecast, Kind, Series, SeriesId, Signal
from greenrun.core.errors import InvalidInput, ProviderGarbage, ProviderRefused, ProviderUnavailable
from greenrun.grid.backfill import Backfill, ImportedBlock, ImportResult, StatedSeries
from greenrun.providers.cached import Cached
from greenrun.providers.settings import FileSettings, ProviderSettings
from greenrun.store import Store
from tests.grid.past import DAY, HOUR, LIVE, NOW, Backfilled, Past, hours
from tests.store.examples import latest


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "greenrun.db") as opened:
        yield opened


def part(start: datetime = NOW - 10 * DAY, count: int = 24, issued_at: datetime | None = None) -> ImportedBlock:
    """Hours in a row."""
    rows = [(slot.start, slot.end, slot.intensity_g_per_kwh) for slot in hours(start, start + count * HOUR)]
    return ImportedBlock(rows=rows, issued_at=issued_at)


def bring(backfill: Backfill, *parts: ImportedBlock, **stated: Any) -> ImportResult:
    return backfill.import_parts(StatedSeries(**{"provider": "mine", **stated}), parts or [part()], NOW)


def refused(backfill: Backfill, *parts: ImportedBlock, **stated: Any) -> str:
    """Why an import was refused; it changed nothing."""
    before = backfill._store.reaches()
    with pytest.raises(InvalidInput) as raised:
        bring(backfill, *parts, **stated)
    assert backfill._store.reaches() == before
    assert raised.value.problems
    return str(raised.value)


# import


def test_values_are_kept_as_measured_and_a_second_time_adds_nothing(store: Store) -> None:
    world = Backfilled(store)
    first, second = bring(world.backfill), bring(world.backfill)
    assert (first.given, first.new, second.given, second.new) == (24, 24, 24, 0)
    assert first.series == SeriesId(provider="mine", zone="GB")
    kept = store.grid.intensities(first.series, NOW - 11 * DAY, NOW)
    assert kept.slots == tuple(hours(NOW - 10 * DAY, NOW - 9 * DAY))
    assert world.news == [NOW], "what is known already is no news"


def test_values_named_for_a_provider_join_the_series_it_has(store: Store) -> None:
    store.grid.save_intensities(Series.of(LIVE, hours(NOW - DAY, NOW)), fetched_at=NOW)
    world = Backfilled(store, settings={"live": ProviderSettings(kind="energinet")})
    done = bring(world.backfill, provider="live")
    assert (done.series, done.is_used) == (LIVE, True)
    assert store.grid.measured("GB", NOW - 10 * DAY, NOW).start == NOW - 10 * DAY


def test_values_of_another_name_or_that_count_something_else_stay_apart_and_it_is_told(store: Store) -> None:
    store.grid.save_intensities(Series.of(LIVE, hours(NOW - DAY, NOW)), fetched_at=NOW)
    world = Backfilled(store, settings={"live": ProviderSettings(kind="energinet")})
    other = bring(world.backfill, provider="live", basis=Basis.DIRECT)
    assert (other.series.basis, other.is_used) == (Basis.DIRECT, False)
    assert not bring(world.backfill).is_used
    assert store.grid.intensities(LIVE, NOW - 11 * DAY, NOW).start == NOW - DAY


def test_an_import_is_used_at_once_where_nothing_else_is_known(store: Store) -> None:
    assert bring(Backfilled(store).backfill).is_used
    assert not bring(Backfilled(store).backfill, zone="FR").is_used


def test_what_a_provider_s_values_count_is_not_guessed(store: Store) -> None:
    world = Backfilled(store, settings={"live": ProviderSettings(kind="energinet")})
    assert "nothing was fetched from 'live' for GB yet" in refused(world.backfill, provider="live")
    assert bring(world.backfill, provider="live", basis=Basis.DIRECT).series.basis is Basis.DIRECT
    bring(world.backfill, provider="live", basis=Basis.LIFECYCLE)
    assert "'live' has several series of GB" in refused(world.backfill, provider="live")
    assert bring(world.backfill, provider="live", signal=Signal.AVERAGE, basis=Basis.DIRECT).new == 0


def test_what_a_file_s_values_count_is_what_its_settings_say(store: Store, tmp_path: Path) -> None:
    settings = FileSettings(path=tmp_path / "a.csv", signal=Signal.MARGINAL)
    done = bring(Backfilled(store, settings={"f": settings}).backfill, provider="f")
    assert done.series == SeriesId(provider="f", zone="GB", signal=Signal.MARGINAL)


@pytest.mark.parametrize(
    ("parts", "stated", "said"),
    [
        ([part(NOW - 401 * DAY)], {}, "set [grid] history_retention higher"),
        ([part(NOW - 401 * DAY, issued_at=NOW - 401 * DAY)], {}, "set [grid] forecast_retention higher"),
        ([part(NOW - 2 * HOUR, 3)], {}, "is not over yet"),
        ([part(NOW - 30 * HOUR, issued_at=NOW - 30 * HOUR)], {}, "in the last 48h: leave it out"),
        ([part(), part(NOW - 10 * DAY + HOUR / 2)], {}, "slots overlap"),
        ([part(), part()], {}, "every instant must be in one slot at most"),
        ([part(), part(issued_at=NOW - 10 * DAY)], {}, "some were measured and some are forecasts"),
        ([part()], {"zone": "Germany"}, "did you mean 'DE'?"),
        ([part()], {"provider": "live+climatology"}, "cannot be a source's name"),
        ([part()], {"provider": ""}, "cannot be a source's name"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_changes(
    store: Store, parts: list[ImportedBlock], stated: dict[str, Any], said: str
) -> None:
    assert said in refused(Backfilled(store).backfill, *parts, **stated)


def test_all_problems_are_told_at_once(store: Store) -> None:
    told = refused(Backfilled(store).backfill, part(NOW - 401 * DAY), part(), part(NOW - HOUR, 2))
    assert ("parts[0]" in told, "parts[1]" in told, "parts[2]" in told) == (True, False, True)


def test_without_a_zone_one_must_be_named(store: Store) -> None:
    backfill = Backfilled(store, zone=None).backfill
    assert "no zone is set" in refused(backfill)
    assert bring(backfill, zone="DE").series.zone == "DE"


def test_forecasts_are_kept_as_issued_and_never_taken_for_the_present_one(store: Store) -> None:
    live = Forecast(series=Series.of(LIVE, hours(NOW, NOW + DAY, Kind.FORECAST)), fetched_at=NOW)
    store.grid.save_forecast(live)
    world = Backfilled(store, settings={"live": ProviderSettings(kind="energinet")})
    issued = [part(at, issued_at=at) for at in (NOW - 20 * DAY, NOW - 19 * DAY)]
    done = [bring(world.backfill, *issued, provider="live") for _ in range(2)]
    assert [(row.new, row.is_used) for row in done] == [(2, True), (0, True)]
    assert not bring(world.backfill, *issued).is_used
    assert latest(store).series.slots == live.series.slots
    assert not store.grid.save_forecast(live), "the live one is still the latest, so saying the same adds nothing"
    seen = store.grid.issues("GB", NOW - 30 * DAY, timedelta(hours=6))
    of_live = [issue.known_at for issue in seen if issue.series.id == LIVE]
    assert of_live == [NOW - 20 * DAY, NOW - 19 * DAY, NOW]


# fetch


def test_a_week_is_asked_for_kept_and_its_holes_told(store: Store) -> None:
    start, end = NOW - 30 * DAY, NOW - 23 * DAY
    source = Past(holes=frozenset({start + HOUR}))
    world = Backfilled(store, (source,))
    first, second = (world.backfill.fetch(None, None, start, end, NOW) for _ in range(2))
    assert (first.series, first.given, first.new, second.new) == (LIVE, 7 * 24 - 1, 7 * 24 - 1, 0)
    assert first.holes == [(start + HOUR, start + 2 * HOUR)]
    assert source.asked == [("GB", start, end)] * 2
    assert (first.start, first.end) == (start, end)
    assert (world.requests["live"], world.news) == (2, [NOW])


def test_no_more_than_the_last_week_is_asked_for_at_once(store: Store) -> None:
    source = Past()
    done = Backfilled(store, (source,)).backfill.fetch(None, None, NOW - 300 * DAY, NOW, NOW)
    assert (done.start, source.asked) == (NOW - 7 * DAY, [("GB", NOW - 7 * DAY, NOW)])


def test_what_was_imported_is_final_where_it_is_old_enough(store: Store) -> None:
    store.grid.save_intensities(Series.of(LIVE, hours(NOW - 3 * DAY, NOW - 2 * DAY)), fetched_at=NOW - 2 * DAY)
    bring(Backfilled(store).backfill, part(NOW - 2 * DAY, 48), provider="live")
    final = store.grid.intensities(LIVE, NOW - 2 * DAY, NOW, final_after=DAY)
    assert (final.start, final.end) == (NOW - 2 * DAY, NOW - DAY)


def test_it_asks_the_source_itself_and_not_what_was_answered_before(store: Store) -> None:
    source = Past()
    world = Backfilled(store, (Cached(source),))
    for _ in range(2):
        world.backfill.fetch(None, None, NOW - DAY, NOW, NOW)
    assert len(source.asked) == 2


def test_another_zone_is_asked_for_by_name(store: Store) -> None:
    source = Past()
    done = Backfilled(store, (source,)).backfill.fetch("FR", "live", NOW - DAY, NOW + DAY, NOW)
    assert (done.series and done.series.zone, source.asked) == ("FR", [("FR", NOW - DAY, NOW)])


def test_the_next_source_is_asked_where_one_fails_and_it_is_told(store: Store) -> None:
    world = Backfilled(store, (Past("a", fault=ProviderUnavailable("later", retry_after_s=60.0)), Past("b")))
    done = world.backfill.fetch(None, None, NOW - DAY, NOW, NOW)
    assert done.series is not None
    assert done.series.provider == "b"
    assert [(row.provider, row.is_final, row.retry_after_s) for row in done.failures] == [("a", False, 60.0)]
    assert world.failures == {("a", "ProviderUnavailable"): 1}


@pytest.mark.parametrize(
    ("fault", "is_final"),
    [(ProviderRefused("no"), True), (ProviderGarbage("what"), False), (ProviderUnavailable("later"), False)],
)
def test_where_nobody_answers_it_is_told_whether_asking_again_may_help(
    store: Store, fault: Exception, is_final: bool
) -> None:
    world = Backfilled(store, (Past(fault=fault),))
    done = world.backfill.fetch(None, None, NOW - DAY, NOW, NOW)
    assert (done.series, done.given, done.holes) == (None, 0, [(NOW - DAY, NOW)])
    assert [(row.is_final, row.message) for row in done.failures] == [(is_final, str(fault))]
    assert world.news == []


@pytest.mark.parametrize(
    ("start", "end", "provider", "said"),
    [
        (NOW - DAY, NOW - 2 * DAY, None, "is not before"),
        (NOW + DAY, NOW + 2 * DAY, None, "not over yet"),
        (NOW - 401 * DAY, NOW - 400 * DAY, None, "set [grid] history_retention higher"),
        (NOW - DAY, NOW, "other", "it names 'live'"),
    ],
)
def test_what_cannot_be_fetched_asks_nobody(
    store: Store, start: datetime, end: datetime, provider: str | None, said: str
) -> None:
    source = Past()
    with pytest.raises(InvalidInput) as raised:
        Backfilled(store, (source,)).backfill.fetch(None, provider, start, end, NOW)
    assert (said in str(raised.value), source.asked) == (True, [])


def test_without_a_source_of_history_it_is_told_what_to_set(store: Store) -> None:
    with pytest.raises(InvalidInput, match="set \\[grid\\] history_provider"):
        Backfilled(store).backfill.fetch(None, None, NOW - DAY, NOW, NOW)


@pytest.mark.parametrize(
    ("values", "basis", "why"),
    [
        pytest.param([0.0] * 24, None, "24 of 24 (zeros to the end)", id="zeros"),
        pytest.param([0.3] * 24, Basis.LIFECYCLE, "kg/kWh", id="kilograms"),
        pytest.param([300.0] * 4 + [0.0] * 20, Basis.DIRECT, "20 of 24 (zeros to the end)", id="a jump to zeros"),
    ],
)
def test_what_cannot_be_intensities_is_not_imported(
    store: Store, values: list[float], basis: Basis | None, why: str
) -> None:
    rows = [(NOW - 10 * DAY + n * HOUR, NOW - 10 * DAY + (n + 1) * HOUR, value) for n, value in enumerate(values)]
    assert why in refused(Backfilled(store).backfill, ImportedBlock(rows=rows), basis=basis, zone="DE")


def test_zeros_that_are_kept_values_that_are_not_and_another_unit_are_told(store: Store) -> None:
    world = Backfilled(store)
    rows = [
        (NOW - 10 * DAY + n * HOUR, NOW - 10 * DAY + (n + 1) * HOUR, value)
        for n, value in enumerate([0.0, 0.0, 0.4, 0.3])
    ]
    told = bring(world.backfill, ImportedBlock(rows=rows), zone="DE")
    assert (told.new, told.zeros, told.dropped) == (4, 2, {})
    assert "kg/kWh" in str(told.doubt)
    rows = [
        (NOW - 10 * DAY + n * HOUR, NOW - 10 * DAY + (n + 1) * HOUR, value)
        for n, value in enumerate([300.0, 0.0, 310.0])
    ]
    told = bring(world.backfill, ImportedBlock(rows=rows), provider="lc", zone="DE", basis=Basis.LIFECYCLE)
    assert (told.given, told.new, told.zeros, told.dropped, told.doubt) == (3, 2, 0, {"too clean": 1}, None)

"""Forecasts are kept as issued, measured values with their revisions, and a replay's beginning for good."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from greenrun.core.carbon.calibration import ISSUE_EVERY
from greenrun.core.carbon.intensity import Basis, FallbackLevel, Forecast, Kind, Series, SeriesId, Signal, Slot
from greenrun.store import Store, grid
from tests.store.examples import NOW, SERIES, after, forecast, latest, series

MEASURED = Kind.MEASURED


def seen(forecast: Forecast | None) -> object:
    """What there is to compare of a forecast."""
    assert forecast is not None
    return forecast.series.id, forecast.series.slots, forecast.fetched_at, forecast.issued_at, forecast.fallback_level


def values(store: Store, start_s: float = 0, end_s: float = 7200) -> list[float]:
    return [slot.intensity_g_per_kwh for slot in store.grid.intensities(SERIES, after(start_s), after(end_s))]


def test_the_latest_forecast_of_a_zone_comes_back_whole(store: Store) -> None:
    issued = forecast(100.0, 93.25, 1 / 3, fallback_level=FallbackLevel.STALE, issued_at=None)
    assert latest(store) is None
    assert store.grid.save_forecast(issued)
    assert seen(latest(store)) == seen(issued)
    assert latest(store, "DE") is None


def test_a_forecast_that_says_the_same_adds_none_and_is_known_to_hold_later(store: Store) -> None:
    store.grid.save_forecast(forecast(100.0, issued_at=None))
    assert not store.grid.save_forecast(forecast(100.0, issued_at=None, fetched_at=after(300)))
    assert seen(latest(store)) == seen(forecast(100.0, issued_at=None, fetched_at=after(300)))
    assert len(store.grid.forecasts("GB", NOW)) == 1


def test_a_new_issue_is_kept_even_when_its_values_are_the_last_ones(store: Store) -> None:
    saved = [store.grid.save_forecast(forecast(100.0, issued_at=after(at), fetched_at=after(at))) for at in (0, 300)]
    assert saved == [True, True]
    assert seen(latest(store)) == seen(forecast(100.0, issued_at=after(300), fetched_at=after(300)))


def test_a_forecast_of_the_past_is_kept_once_and_the_latest_stays_the_latest(store: Store) -> None:
    live = forecast(100.0, issued_at=None, fetched_at=after(300))
    store.grid.save_forecast(live)
    old = [forecast(at / 100, issued_at=after(-at), fetched_at=after(-at)) for at in (7200, 3600)]
    assert [store.grid.save_issued(old), store.grid.save_issued(old)] == [2, 0]
    assert seen(latest(store)) == seen(live)
    assert not store.grid.save_forecast(live)
    assert [each.known_at for each in store.grid.forecasts("GB", after(-3600))] == [
        after(-7200),
        after(-3600),
        after(300),
    ]
    assert store.grid.prune(forecasts=after(-5000), measured=NOW) == 1


def test_forecasts_since_an_instant_come_with_the_one_before(store: Store) -> None:
    for at in (0, 100, 200, 300):
        store.grid.save_forecast(forecast(float(at), issued_at=after(at), fetched_at=after(at)))
    assert [each.fetched_at for each in store.grid.forecasts("GB", after(200))] == [after(100), after(200), after(300)]
    assert [each.fetched_at for each in store.grid.forecasts("GB", after(301))] == [after(300)]
    assert store.grid.forecasts("FR", NOW) == []


def test_measured_values_come_back_and_a_same_value_adds_no_row(store: Store) -> None:
    measured = series(100.0, 110.0, kind=MEASURED)
    assert [store.grid.save_intensities(measured, fetched_at=after(at)) for at in (7200, 7300)] == [2, 0]
    assert store.grid.intensities(SERIES, NOW, after(3600)).slots == measured.slots


def test_a_changed_value_is_a_revision_and_the_one_fetched_last_holds(store: Store) -> None:
    store.grid.save_intensities(series(100.0, 110.0, kind=MEASURED), fetched_at=after(7200))
    assert store.grid.save_intensities(series(100.0, 111.0, kind=MEASURED), fetched_at=after(7300)) == 1
    assert values(store) == [100.0, 111.0]
    store.grid.save_intensities(series(90.0, 110.0, kind=MEASURED), fetched_at=after(7100))  # arrived late
    assert values(store) == [100.0, 111.0]


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        (series(100.0, step_s=3600), series(90.0, 110.0), [90.0, 110.0]),
        (series(90.0, 110.0), series(100.0, step_s=3600), [100.0]),
    ],
    ids=["60 -> 30-30", "30-30 -> 60"],
)
def test_a_revision_may_cut_the_time_differently(
    store: Store, first: Series, then: Series, expected: list[float]
) -> None:
    for at, measured in ((7200, first), (7300, then)):
        store.grid.save_intensities(measured, fetched_at=after(at))
    assert values(store) == expected


def test_a_value_is_final_once_it_was_fetched_long_enough_past_its_slots_end(store: Store) -> None:
    """The slots end after 1800 and 3600 s; their values are final an hour later."""
    hour = timedelta(hours=1)

    def final() -> list[float]:
        return [slot.intensity_g_per_kwh for slot in store.grid.intensities(SERIES, NOW, after(7200), final_after=hour)]

    first, revised = series(100.0, 110.0, kind=MEASURED), series(100.0, 120.0, kind=MEASURED)
    seen = []
    for measured, at in ((first, 3600), (first, 5399), (first, 5400), (first, 3700), (revised, 7199), (revised, 7200)):
        store.grid.save_intensities(measured, fetched_at=after(at))
        seen.append(final())
    assert seen == [[], [], [100.0], [100.0], [100.0], [100.0, 120.0]]
    assert values(store) == [100.0, 120.0]


def test_intensities_are_the_slots_that_touch_an_interval(store: Store) -> None:
    store.grid.save_intensities(series(1.0, 2.0, 3.0, kind=MEASURED), fetched_at=after(7200))
    assert values(store, 1800, 3600) == [2.0]
    assert values(store, 1799, 3601) == [1.0, 2.0, 3.0]


def test_series_that_differ_in_any_part_are_kept_apart(store: Store) -> None:
    store.grid.save_intensities(series(1.0, kind=MEASURED), fetched_at=after(7200))
    others = [
        SeriesId(provider="uk", zone="GB"),
        SeriesId(provider="uk", zone="GB", basis=Basis.DIRECT),
        SeriesId(provider="uk", zone="GB", basis=Basis.LIFECYCLE, signal=Signal.MARGINAL),
        SeriesId(provider="file", zone="GB", basis=Basis.LIFECYCLE),
    ]
    assert [len(store.grid.intensities(other, NOW, after(1800))) for other in others] == [0, 0, 0, 0]


def test_nothing_measured_is_an_empty_series(store: Store) -> None:
    assert store.grid.save_intensities(series(kind=MEASURED), fetched_at=NOW) == 0
    assert store.grid.intensities(SERIES, NOW, after(1800)).slots == ()


def test_slots_across_a_change_of_the_clocks_stay_where_they_were(store: Store) -> None:
    starts = [datetime(2026, 10, 25, hour, minute, tzinfo=UTC) for hour in (0, 1) for minute in (0, 30)]
    slots = [Slot(start, end, 50.0, MEASURED) for start, end in pairwise(starts)]
    store.grid.save_intensities(Series.of(SERIES, slots), fetched_at=NOW)
    assert store.grid.intensities(SERIES, starts[0], starts[-1]).slots == tuple(slots)


def test_an_anchor_keeps_its_first_instant(store: Store) -> None:
    assert [
        store.grid.anchor("replay", NOW),
        store.grid.anchor("replay", after(9)),
        store.grid.anchor("b", after(9)),
    ] == [
        NOW,
        NOW,
        after(9),
    ]


def test_pruning_drops_old_forecasts_and_measured_values_only(store: Store) -> None:
    for at in (0, 100):
        store.grid.save_forecast(forecast(float(at), issued_at=after(at), fetched_at=after(at)))
    store.grid.save_intensities(series(1.0, 2.0, kind=MEASURED, start_s=-3600), fetched_at=NOW)
    assert store.grid.prune(forecasts=NOW, measured=NOW) == 1  # the first slot, which ended before
    assert store.grid.prune(forecasts=after(50), measured=after(50)) == 2
    assert [each.fetched_at for each in store.grid.forecasts("GB", NOW)] == [after(100)]
    assert values(store, -3600) == []


def test_issues_are_the_first_of_each_interval_as_first_fetched(store: Store) -> None:
    """Also where a forecast was found unchanged later, which moves the instant at which it is known to hold."""
    for number, at in enumerate((60, 100, 3700, 5000, 7300)):
        store.grid.save_forecast(forecast(float(number), issued_at=None, fetched_at=after(at)))
    store.grid.save_forecast(forecast(4.0, issued_at=None, fetched_at=after(9000)))
    hour = timedelta(hours=1)
    assert [each.fetched_at for each in store.grid.issues("GB", NOW, hour)] == [after(at) for at in (60, 3700, 7300)]
    assert [each.fetched_at for each in store.grid.issues("GB", after(4000), hour)] == [
        after(at) for at in (5000, 7300)
    ]
    assert store.grid.issues("FR", NOW, hour) == []


def test_marginal_values_are_not_taken_for_averages_though_nobody_names_their_source_any_more(store: Store) -> None:
    marginal = replace(SERIES, provider="left out", signal=Signal.MARGINAL)
    store.grid.save_intensities(Series.of(marginal, series(1.0, 2.0, 3.0, kind=MEASURED).slots), fetched_at=NOW)
    assert getattr(store.grid.measured("GB", NOW, after(7200)), "id", None) == marginal
    late = series(100.0, kind=MEASURED, start_s=-2 * 86_400)
    store.grid.save_intensities(late, fetched_at=NOW)
    assert getattr(store.grid.measured("GB", after(-4 * 86_400), after(7200)), "id", None) == SERIES


def test_measured_values_of_a_zone_are_those_of_the_series_that_reaches_furthest(store: Store) -> None:
    assert store.grid.measured("GB", NOW, after(7200)) is None
    other = replace(SERIES, provider="other")
    store.grid.save_intensities(series(100.0, kind=MEASURED), fetched_at=after(9000))
    longer = series(1.0, 2.0, 3.0, kind=MEASURED)
    store.grid.save_intensities(Series.of(other, longer.slots), fetched_at=after(7200))
    found = store.grid.measured("GB", NOW, after(90000))
    assert found is not None
    assert (found.id, found.values.tolist()) == (other, [1.0, 2.0, 3.0])
    assert store.grid.measured("FR", NOW, after(7200)) is None


def test_old_forecasts_are_thinned_to_those_that_are_learned_from(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "THINNED_AT_ONCE", 5)
    hours = [3600 * number + 60 for number in range(48)]
    for number, at in enumerate(hours):
        store.grid.save_forecast(forecast(100.0 + number, 200.0, fetched_at=after(at), issued_at=after(at)))
    learned = store.grid.issues("GB", NOW, ISSUE_EVERY)
    assert store.grid.thin_forecasts(after(24 * 3600)) == 24 - 5  # 3 to 6 o'clock, and four times six hours
    kept = [each.fetched_at for each in store.grid.issues("GB", NOW, timedelta(seconds=1))]
    assert kept[5:] == [after(at) for at in hours[24:]]
    again = store.grid.issues("GB", NOW, ISSUE_EVERY)
    assert [(row.fetched_at, row.series.slots) for row in again] == [
        (row.fetched_at, row.series.slots) for row in learned
    ]
    assert store.grid.thin_forecasts(after(24 * 3600)) == 0

"""What every provider promises, whatever its source: the suite that each kind's tests run over their cases."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from greenrun.core.carbon.intensity import FallbackLevel, Forecast, Kind, Series, Slot
from greenrun.core.errors import ProviderRefused
from greenrun.providers import Provider

A_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A provider opened on known data, and what its source knows at `now`.

    `covers_now`: the source has the slot that holds `now`. `holes`: the intervals that the source itself lacks.
    `unknown_zone`: one that it must refuse, None where it serves any. `beyond`: the same provider over a source that
    differs only in what is not known at `now` (later issues, slots beyond the horizon); None where nothing is hidden.
    """

    provider: Provider
    zone: str
    now: datetime
    has_forecast: bool = True
    has_history: bool = True
    covers_now: bool = True
    holes: list[tuple[datetime, datetime]] = field(default_factory=list)
    unknown_zone: str | None = "NOWHERE"
    beyond: Provider | None = None
    fallback_level: FallbackLevel = FallbackLevel.FRESH


class ProviderContract:
    """Subclass it with a `case` fixture; every test of it must hold for every kind of provider.

    A promise about what a source does not have is kept by refusing, which has its own test.
    """

    @pytest.fixture
    def case(self) -> Case:
        """The provider under test."""
        raise NotImplementedError

    def test_forecast_says_where_it_comes_from(self, case: Case) -> None:
        """A forecast carries its provider, zone and times, so that it is never mixed with another."""
        if not case.has_forecast:
            return
        forecast = _forecast(case)
        assert (forecast.series.id.provider, forecast.series.id.zone) == (case.provider.name, case.zone)
        assert (forecast.fetched_at, forecast.fallback_level) == (case.now, case.fallback_level)
        assert forecast.known_at <= case.now

    def test_forecast_begins_with_the_slot_that_holds_now(self, case: Case) -> None:
        """The first slot has not ended, and holds `now` wherever the source has such a slot."""
        if not case.has_forecast:
            return
        series = _forecast(case).series
        assert series.slots[0].end > case.now
        assert (series.at(case.now) is not None) == case.covers_now

    def test_forecast_slots_are_of_forecast_kinds(self, case: Case) -> None:
        """What lies ahead is never called measured."""
        if not case.has_forecast:
            return
        ahead = {slot.kind for slot in _forecast(case).series if slot.end > case.now}
        assert ahead <= {Kind.FORECAST, Kind.ESTIMATED}

    def test_forecast_is_a_valid_series_without_new_holes(self, case: Case) -> None:
        """Slots are in order and tile exactly, but where the source itself has a hole."""
        if not case.has_forecast:
            return
        series = _forecast(case).series
        assert _gaps(series) == [hole for hole in case.holes if series.slots[0].end <= hole[0] < series.slots[-1].end]

    def test_asking_twice_gives_the_same_answer(self, case: Case) -> None:
        """Equal questions have equal answers."""
        if not case.has_forecast:
            return
        assert _told(_forecast(case)) == _told(_forecast(case))

    def test_forecast_knows_nothing_that_is_not_published(self, case: Case) -> None:
        """No clairvoyance: changing what is not known at `now` changes nothing."""
        if not case.has_forecast:
            return
        if case.beyond is not None:
            assert _told(case.beyond.forecast(case.zone, case.now)) == _told(_forecast(case))

    def test_history_is_measured_and_published(self, case: Case) -> None:
        """History holds slots that touch the interval and had ended, all measured, and never one that had not."""
        if not case.has_history:
            return
        series = _history(case, case.now - timedelta(days=2), case.now + timedelta(days=2))
        assert {slot.kind for slot in series} == {Kind.MEASURED}
        assert max(slot.end for slot in series) <= case.now
        assert (series.id.provider, series.id.zone) == (case.provider.name, case.zone)

    def test_history_gives_whole_slots_that_touch_the_interval(self, case: Case) -> None:
        """A narrow question gets the whole slot around it, and an empty answer is empty, not an error."""
        if not case.has_history:
            return
        slot = _history(case, case.now - timedelta(days=2), case.now).slots[-1]
        inside = slot.start + (slot.end - slot.start) / 3
        assert _history(case, inside, inside + (slot.end - slot.start) / 3).slots == (slot,)
        assert _history(case, case.now, case.now + A_SECOND).slots in ((), (slot,))

    def test_a_source_without_forecasts_or_history_refuses(self, case: Case) -> None:
        """What a source cannot tell is refused in a sentence, never answered with something else."""
        asks: list[tuple[bool, Callable[[], object]]] = [
            (case.has_forecast, lambda: case.provider.forecast(case.zone, case.now)),
            (case.has_history, lambda: case.provider.history(case.zone, case.now - A_SECOND, case.now, case.now)),
        ]
        for able, ask in asks:
            if able:
                ask()
            else:
                with pytest.raises(ProviderRefused, match=r"\w+ \w+ \w+"):
                    ask()

    def test_an_unknown_zone_is_refused_by_name(self, case: Case) -> None:
        """Another zone's numbers are never served for this one."""
        if case.unknown_zone is None:
            return
        with pytest.raises(ProviderRefused, match=case.unknown_zone):
            case.provider.forecast(case.unknown_zone, case.now)
        with pytest.raises(ProviderRefused, match=case.unknown_zone):
            case.provider.history(case.unknown_zone, case.now - A_SECOND, case.now, case.now)

    def test_it_says_how_often_to_ask_and_when_values_are_final(self, case: Case) -> None:
        """Asking is paced, and a value is final at some time after its slot."""
        assert case.provider.refresh_every >= A_SECOND
        assert case.provider.settle_after >= timedelta(0)


def _forecast(case: Case) -> Forecast:
    return case.provider.forecast(case.zone, case.now)


def _history(case: Case, start: datetime, end: datetime) -> Series:
    return case.provider.history(case.zone, start, end, case.now)


def _told(forecast: Forecast) -> tuple[datetime | None, tuple[Slot, ...]]:
    return forecast.issued_at, forecast.series.slots


def _gaps(series: Series) -> list[tuple[datetime, datetime]]:
    return [(before.end, after.start) for before, after in pairwise(series) if before.end != after.start]

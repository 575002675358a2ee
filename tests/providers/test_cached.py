"""A cached source: asked when it can have news, once at a time, and left alone for a while where it refused."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from greenrun.core.carbon.intensity import Forecast, Kind, Series, SeriesId
from greenrun.core.errors import ProviderRefused, ProviderUnavailable
from greenrun.providers.cached import REFUSED_FOR, Cached
from tests.providers.source import NOW
from tests.slots import slots_of

HOUR = timedelta(hours=1)


@dataclass
class Told:
    """A source that counts what it is asked, and fails on request."""

    name: str = "grid"
    label: str = ""
    attribution: str = ""
    refresh_every: timedelta = HOUR
    settle_after: timedelta = HOUR
    zones: dict[str, str] = field(default_factory=dict)
    web: None = None
    asked: int = 0
    fails: Exception | None = None

    def forecast(self, zone: str, now: datetime) -> Forecast:
        """Four hours from now on."""
        return Forecast(series=self._series(zone, now, Kind.FORECAST), fetched_at=now)

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        """Four hours from the start on."""
        return self._series(zone, start, Kind.MEASURED)

    def _series(self, zone: str, begin: datetime, kind: Kind) -> Series:
        self.asked += 1
        if self.fails:
            raise self.fails
        starts = [begin + index * HOUR for index in range(4)]
        return Series.of(SeriesId(provider=self.name, zone=zone), slots_of(starts, [1.0, 2.0, 3.0, 4.0], HOUR, kind))


def test_a_forecast_is_asked_for_when_there_may_be_news() -> None:
    """Within the source's own beat the first answer holds, from now on; then it is asked again."""
    source = Told()
    cached = Cached(source)
    first = cached.forecast("GB", NOW)
    again = cached.forecast("GB", NOW + HOUR / 2)
    assert (source.asked, again.fetched_at, again.series.slots) == (1, NOW, first.series.slots)
    assert cached.forecast("GB", NOW + HOUR).fetched_at == NOW + HOUR
    assert cached.forecast("FR", NOW + HOUR).series.id.zone == "FR"
    assert source.asked == 3


def test_an_equal_question_for_history_is_asked_once() -> None:
    """The same interval has the same answer; another one is asked for."""
    source = Told()
    cached = Cached(source)
    for start in (NOW - 4 * HOUR, NOW - 4 * HOUR, NOW - 5 * HOUR):
        cached.history("GB", start, NOW, NOW)
    assert source.asked == 2


def test_trouble_is_asked_again_and_a_refusal_only_later() -> None:
    """A source that may be back in a minute is asked in a minute; one that said no is left alone for an hour."""
    source = Told(fails=ProviderUnavailable("later"))
    cached = Cached(source)
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            cached.forecast("GB", NOW)
    assert source.asked == 2
    source.fails = ProviderRefused("no")
    for _ in range(3):
        with pytest.raises(ProviderRefused):
            cached.forecast("GB", NOW)
    assert source.asked == 3
    source.fails = None
    assert cached.history("GB", NOW - HOUR, NOW, NOW)
    assert cached.forecast("GB", NOW + REFUSED_FOR).fetched_at == NOW + REFUSED_FOR


def test_a_clock_that_was_set_back_asks_again() -> None:
    """An answer from the future is not fresh."""
    source = Told()
    cached = Cached(source)
    cached.forecast("GB", NOW)
    cached.forecast("GB", NOW - HOUR)
    assert source.asked == 2


def test_an_answer_loses_the_slots_that_have_ended() -> None:
    """A forecast begins with the slot that holds now, also where it was fetched before; one that is over is no more."""
    source = Told(refresh_every=24 * HOUR)
    cached = Cached(source)
    cached.forecast("GB", NOW)
    assert [slot.intensity_g_per_kwh for slot in cached.forecast("GB", NOW + 1.5 * HOUR).series] == [2.0, 3.0, 4.0]
    assert source.asked == 1
    cached.forecast("GB", NOW + 4 * HOUR)
    assert source.asked == 2


def test_what_is_too_old_for_a_source_keeps_nobody_from_asking_for_the_present() -> None:
    """A refusal of last year's values is no refusal of those of the last hour, and the other way round it may be."""
    source = Told(fails=ProviderRefused("too old"))
    cached = Cached(source)
    with pytest.raises(ProviderRefused):
        cached.history("GB", NOW - 9 * HOUR, NOW - 5 * HOUR, NOW)
    source.fails = None
    assert cached.history("GB", NOW - HOUR, NOW, NOW)
    with pytest.raises(ProviderRefused):
        cached.history("GB", NOW - 9 * HOUR, NOW - 5 * HOUR, NOW)
    assert source.asked == 2

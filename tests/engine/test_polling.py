"""Questions to providers are counted and timed alike, whether they are answered or not."""

from datetime import datetime, timedelta

from greenrun.core.carbon.intensity import Forecast, Series
from greenrun.core.errors import ProviderRefused, ProviderUnavailable
from greenrun.engine.polling import ProviderPolling, RequestCounts
from tests.api.fakes import HOUR, NOW, forecast


class Source:
    """Answers with a forecast, and fails when asked for the past."""

    name = "test"
    refresh_every = HOUR
    settle_after = HOUR

    def __init__(self, failure: Exception) -> None:
        self.failure = failure

    def forecast(self, zone: str, now: datetime) -> Forecast:
        return forecast()

    def history(self, zone: str, start: datetime, end: datetime, now: datetime) -> Series:
        raise self.failure


def asked(failure: Exception) -> tuple[int, int]:
    """Ask for both; return how many questions were counted, and how many were timed."""
    source, tally = Source(failure), RequestCounts()
    asking = ProviderPolling("GB", [source], [source], tally)
    assert len(list(asking.forecasts(NOW))) == 1
    assert asking.history(NOW - timedelta(days=1), NOW, NOW) is None
    return tally.requests["test"], sum(tally.seconds["test"].counts.values())


def test_an_answer_and_a_failure_are_timed() -> None:
    assert asked(ProviderUnavailable("it is away")) == (2, 2)


def test_what_a_source_knows_that_it_lacks_is_neither_counted_nor_timed() -> None:
    assert asked(ProviderRefused("it has no past")) == (1, 1)

"""Day-ahead prices are asked for where they are missing, kept, and missed quietly when their source fails."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from structlog.testing import capture_logs

from greenrun.core.accounting.step_function import Span, Steps
from greenrun.core.errors import ProviderUnavailable
from greenrun.grid.day_ahead import DayAhead
from greenrun.grid.electricity import AHEAD, BACK, DayAheadPrices

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Market(DayAhead):
    """Tells a price of each hour up to the end of today, or fails."""

    def __init__(self) -> None:
        super().__init__("DE-LU", url="https://market.example", timeout=HOUR)
        self.asked: list[tuple[datetime, datetime]] = []
        self.until = NOW.replace(hour=23, minute=0)
        self.fails = False

    def prices(self, start: datetime, end: datetime) -> Steps:
        self.asked.append((start, end))
        if self.fails:
            raise ProviderUnavailable("it is silent")
        hours = int((min(end, self.until) - start) / HOUR)
        begin = start.replace(minute=0)
        return Steps.of(Span(begin + n * HOUR, begin + (n + 1) * HOUR, 0.1) for n in range(hours + 1))


class Memory:
    """A store of one source."""

    def __init__(self) -> None:
        self.rows: dict[datetime, Span] = {}

    def electricity_prices(self, source: str, start: datetime, end: datetime) -> Steps:
        return Steps.of(row for _, row in sorted(self.rows.items()) if row.end > start and row.start < end)

    def save_electricity_prices(self, source: str, prices: Steps, currency: str, *, fetched_at: datetime) -> None:
        assert (source, currency) == ("energy_charts DE-LU", "EUR")
        self.rows |= {row.start: row for row in prices.spans()}


def test_what_is_missing_is_asked_for_and_no_more() -> None:
    """At first a month, then from where the last answer ended; and a hole anew, whatever comes after it."""
    market, memory = Market(), Memory()
    prices = DayAheadPrices(market, memory)
    prices.refresh(NOW)
    assert market.asked == [(NOW - BACK, NOW + AHEAD)]
    reached = max(row.end for row in memory.rows.values())
    prices.refresh(NOW + HOUR)
    assert market.asked[-1] == (reached, NOW + HOUR + AHEAD)
    del memory.rows[NOW.replace(minute=0) - 5 * HOUR]
    prices.refresh(NOW + HOUR)
    assert market.asked[-1][0] == NOW.replace(minute=0) - 5 * HOUR
    spans = prices.kept(NOW - BACK + HOUR, reached).spans()
    assert all(before.end == after.start for before, after in pairwise(spans))


def test_nobody_is_asked_when_nothing_is_missing() -> None:
    market, memory = Market(), Memory()
    market.until = NOW + 3 * AHEAD
    prices = DayAheadPrices(market, memory)
    prices.refresh(NOW)
    prices.refresh(NOW)
    assert len(market.asked) == 1


def test_a_source_that_fails_is_told_once_and_asked_again() -> None:
    market, memory = Market(), Memory()
    prices = DayAheadPrices(market, memory)
    market.fails = True
    with capture_logs() as logs:
        prices.refresh(NOW)
        prices.refresh(NOW)
    assert (len(market.asked), len(logs), memory.rows) == (2, 1, {})
    market.fails = False
    prices.refresh(NOW)
    assert memory.rows

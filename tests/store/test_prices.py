"""Prices of electricity are kept as they were told last, each source's apart."""

from datetime import UTC, datetime, timedelta

import pytest

from greenrun.core.accounting.step_function import Span, Steps
from greenrun.store import Store

T0 = datetime(2026, 11, 1, tzinfo=UTC)
QUARTER, HOUR = timedelta(minutes=15), timedelta(hours=1)


def prices(*values: float, step: timedelta = HOUR, start: datetime = T0) -> Steps:
    return Steps.of(Span(start + i * step, start + (i + 1) * step, value) for i, value in enumerate(values))


def kept(store: Store, source: str = "DE") -> list[tuple[int, int, float]]:
    """What is kept of a source: start and end in minutes, and price."""
    spans = store.prices.electricity_prices(source, T0 - HOUR, T0 + 99 * HOUR).spans()
    minute = timedelta(minutes=1)
    return [((row.start - T0) // minute, (row.end - T0) // minute, row.value) for row in spans]


def test_what_was_told_last_of_a_time_holds(store: Store) -> None:
    """Also where it was cut into other lengths: hours, then quarters, then an hour again."""
    store.prices.save_electricity_prices("DE", prices(0.1, -0.2, 0.3), "EUR", fetched_at=T0)
    store.prices.save_electricity_prices(
        "DE", prices(1, 2, 3, 4, step=QUARTER, start=T0 + HOUR), "EUR", fetched_at=T0 + HOUR
    )
    assert kept(store) == [(0, 60, 0.1), (60, 75, 1), (75, 90, 2), (90, 105, 3), (105, 120, 4), (120, 180, 0.3)]
    store.prices.save_electricity_prices("DE", prices(-0.2, start=T0 + HOUR), "EUR", fetched_at=T0 + 2 * HOUR)
    assert kept(store) == [(0, 60, 0.1), (60, 120, -0.2), (120, 180, 0.3)]


def test_sources_are_apart_and_only_what_touches_the_time_is_returned(store: Store) -> None:
    store.prices.save_electricity_prices("DE", prices(0.1, 0.2, 0.3), "EUR", fetched_at=T0)
    store.prices.save_electricity_prices("FR", prices(9.0), "EUR", fetched_at=T0)
    assert kept(store, "FR") == [(0, 60, 9.0)]
    found = store.prices.electricity_prices("DE", T0 + HOUR, T0 + HOUR + QUARTER)
    assert [row.value for row in found.spans()] == [pytest.approx(0.2)]
    assert len(store.prices.electricity_prices("XX", T0, T0 + HOUR)) == 0

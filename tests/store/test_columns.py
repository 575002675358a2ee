"""Instants are kept as text that sorts like time and comes back as the same instant in UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.errors import StoreError
from greenrun.store import Store
from greenrun.store.columns import Instant, to_text
from tests.store.examples import NOW, spec

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
FIRST, LAST = NOW.replace(year=2, tzinfo=None), NOW.replace(year=9998, tzinfo=None)
INSTANTS = st.datetimes(FIRST, LAST, timezones=st.just(UTC) | OFFSETS | st.timezones())


def round_trip(instant: datetime) -> datetime | None:
    column = Instant()
    return column.process_result_value(column.process_bind_param(instant, None), None)  # type: ignore[arg-type]


@given(INSTANTS)
def test_every_instant_of_every_zone_round_trips_into_utc(instant: datetime) -> None:
    back = round_trip(instant)
    assert back == instant.astimezone(UTC)
    assert back.tzinfo is UTC


@given(INSTANTS, INSTANTS)
def test_text_order_is_time_order(one: datetime, other: datetime) -> None:
    one, other = one.astimezone(UTC), other.astimezone(UTC)
    assert (to_text(one) < to_text(other)) == (one < other)


def test_the_text_has_a_fixed_width() -> None:
    assert to_text(NOW) == "2026-11-23T03:00:00.000000Z"


def test_a_naive_instant_is_refused_with_nothing_stored(store: Store) -> None:
    with pytest.raises(StoreError, match=r"nothing was stored: .* has no time zone"):
        store.jobs.add_job(spec(), user="ada", uid=1000, now=NOW.replace(tzinfo=None))
    assert store.jobs.jobs() == []

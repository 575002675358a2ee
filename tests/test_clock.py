"""What was noted down by a clock that was set since, or by another one, is dated by the present one."""

from datetime import UTC, datetime, timedelta

import pytest

from greenrun.clock import both_clocks, by_this_clock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOOTED_S = 90_000.0


@pytest.mark.parametrize("off", [timedelta(hours=5), -timedelta(hours=5), timedelta(seconds=3), -timedelta(days=400)])
def test_an_instant_of_another_clock_is_as_long_ago_as_it_is(off: timedelta) -> None:
    at = NOW - timedelta(seconds=30)
    assert by_this_clock(at + off, BOOTED_S - 30, (NOW, BOOTED_S)) == at


@pytest.mark.parametrize("off_s", [0.0, 1e-6, -0.4, 1.9])
def test_an_instant_of_a_clock_that_was_not_set_stays_as_it_was_noted_down(off_s: float) -> None:
    at = NOW - timedelta(seconds=30 + off_s)
    assert by_this_clock(at, BOOTED_S - 30, (NOW, BOOTED_S)) == at


def test_without_seconds_of_this_boot_an_instant_is_what_was_noted_down() -> None:
    for steady_s in (None, BOOTED_S + 1):
        assert by_this_clock(NOW - timedelta(hours=5), steady_s, (NOW, BOOTED_S)) == NOW - timedelta(hours=5)


def test_both_clocks_go_on() -> None:
    (one, one_s), (other, other_s) = both_clocks(), both_clocks()
    assert one.tzinfo is other.tzinfo is UTC
    assert one_s <= other_s

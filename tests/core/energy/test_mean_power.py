"""The mean power of devices over the last whole minutes that are booked."""

from datetime import UTC, datetime, timedelta

import pytest

from greenrun.core.energy.mean_power import LATEST, mean_powers
from greenrun.core.energy.model import Component, Quality, Slice

NOW = datetime(2026, 3, 2, 12, 0, 40, tzinfo=UTC)
NOON = NOW.replace(second=0)
MINUTE = timedelta(minutes=1)


def piece(start_s: float, seconds: float, watts: float | None, run: int | None = None, device: str = "a") -> Slice:
    """A slice that begins so many seconds from noon."""
    start = NOON + timedelta(seconds=start_s)
    return Slice(
        device=device, component=Component.GPU, run_id=run, start=start, end=start + timedelta(seconds=seconds),
        energy_j=None if watts is None else watts * seconds,
        quality=Quality.UNKNOWN if watts is None else Quality.MEASURED,
    )  # fmt: skip


def minutes(watts: float | None, first: int = -8, device: str = "a") -> list[Slice]:
    """Slices of a minute each, up to noon."""
    return [piece(60 * number, 60, watts, device=device) for number in range(first, 0)]


@pytest.mark.parametrize("beyond_s", [0, 1, 33])
def test_what_is_booked_beyond_the_last_minute_does_not_count(beyond_s: float) -> None:
    """A run that begins or ends in the middle of a minute is booked up to there."""
    later = [piece(0, beyond_s, 900.0, run=1)] if beyond_s else []
    (found,) = mean_powers([*minutes(100.0), *later], NOW)
    assert (found.power_w, found.unattributed_w) == (100.0, 100.0)


def test_a_run_has_its_part_of_the_five_minutes() -> None:
    pieces = [*minutes(60.0)[:-2], piece(-120, 30, 60.0), piece(-90, 90, 360.0, run=7)]
    (found,) = mean_powers(pieces, NOW)
    assert found.power_w == pytest.approx((210 * 60 + 90 * 360) / 300)
    assert found.unattributed_w == pytest.approx(210 * 60 / 300)


def test_a_slice_over_a_gap_counts_as_far_as_it_is_in_them() -> None:
    (found,) = mean_powers([piece(-900, 780, 50.0), *minutes(110.0)[-2:]], NOW)
    assert found.power_w == pytest.approx((180 * 50 + 120 * 110) / 300)


def test_a_device_that_is_not_wholly_known_is_left_out() -> None:
    unknown = [*minutes(100.0, device="b")[:-1], piece(-60, 60, None, device="b")]
    young = minutes(100.0, first=-4, device="c")
    assert [row.device for row in mean_powers([*minutes(70.0), *unknown, *young], NOW)] == ["a"]


def test_what_was_booked_long_ago_is_not_now() -> None:
    assert mean_powers(minutes(70.0), NOON + LATEST + timedelta(seconds=1)) == []
    assert mean_powers([], NOW) == []

"""The history of readings: bounded, in order, and told again for as long as nobody booked it."""

from datetime import UTC, datetime, timedelta

from greenrun.core.energy.model import Quality, Reading
from greenrun.meters.recent_readings import READINGS_KEPT, RecentReadings

T0 = datetime(2024, 1, 1, tzinfo=UTC)


def reading(second: float, device: str = "A") -> Reading:
    moment = T0 + timedelta(seconds=second)
    return Reading(device=device, at=moment, energy_j=second, quality=Quality.MEASURED, counter="c", session="s")


def test_it_tells_what_came_after_a_devices_instant_and_all_of_one_that_is_not_named() -> None:
    history = RecentReadings()
    history.add([reading(1), reading(1, "B"), reading(2), reading(2, "B")])
    assert history.since({"A": T0 + timedelta(seconds=1)}) == [reading(1, "B"), reading(2), reading(2, "B")]


def test_telling_it_again_gives_the_same() -> None:
    history = RecentReadings()
    history.add([reading(1), reading(2)])
    assert history.since({}) == history.since({})


def test_a_reading_whose_time_does_not_advance_is_dropped() -> None:
    history = RecentReadings()
    history.add([reading(5), reading(5), reading(4), reading(6)])
    assert history.since({}) == [reading(5), reading(6)]


def test_when_the_clock_is_set_back_it_begins_anew_and_other_devices_stay() -> None:
    history = RecentReadings()
    history.add([reading(3600), reading(3600, "B"), reading(3601), reading(2), reading(3)])
    assert history.since({}) == [reading(2), reading(3), reading(3600, "B")]


def test_the_oldest_are_dropped_first() -> None:
    history = RecentReadings()
    history.add(reading(second) for second in range(READINGS_KEPT + 10))
    assert [one.energy_j for one in history.since({})] == list(range(10, READINGS_KEPT + 10))

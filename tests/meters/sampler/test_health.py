"""Whether devices can be read follows from when readings came, whichever process they came from."""

from datetime import UTC, datetime, timedelta

from greenrun.core.energy.model import Device, DeviceHealth, Quality, Reading, Telemetry
from greenrun.meters.sampler.health import HealthTracker

T0 = datetime(2026, 3, 2, tzinfo=UTC)
GPU = Device(id="GPU", index=0, model="", source="test")


def reading(second: float) -> Reading:
    at = T0 + timedelta(seconds=second)
    return Reading(device="GPU", at=at, energy_j=1.0, quality=Quality.MEASURED, counter="c", session="s")


def heard(*seconds: float) -> HealthTracker:
    wellness = HealthTracker([GPU], 0.0)
    for second in seconds:
        wellness.hear([reading(second)], second)
    return wellness


def only(wellness: HealthTracker, now_s: float) -> DeviceHealth:
    (health,) = wellness.devices(now_s)
    return health


def test_a_device_is_up_for_some_seconds_after_a_reading() -> None:
    assert not only(heard(), 0.0).is_up
    assert only(heard(1.0), 5.0).is_up
    assert not only(heard(1.0), 7.0).is_up


def test_only_pauses_are_gaps_and_they_add_up() -> None:
    assert only(heard(1, 2, 3, 5), 5.0).gap_s == 0.0
    assert only(heard(1, 2, 7, 8, 12), 12.0).gap_s == 9.0


def test_a_device_that_never_is_read_has_nothing_but_a_gap() -> None:
    wellness = heard()
    assert (only(wellness, 3.0).gap_s, only(wellness, 60.0).gap_s, only(wellness, 60.0).was_read) == (0.0, 60.0, False)
    wellness.hear([reading(61)], 61.0)
    assert (only(wellness, 61.0).gap_s, only(wellness, 61.0).was_read) == (60.0, True)


def test_setting_the_clock_is_no_gap() -> None:
    wellness = heard(1, 2)
    wellness.hear([reading(3600)], 3.0)
    wellness.hear([reading(10)], 4.0)
    wellness.hear([reading(11)], 44.0)  # what was read in time may come late
    assert only(wellness, 44.0).gap_s == 0.0


def test_what_ended_processes_counted_is_kept_and_unknown_devices_are_passed_over() -> None:
    wellness = heard()
    wellness.count({"GPU": {"gap": 2}, "another": {"gap": 9}})
    wellness.start_new_process()
    wellness.count({"GPU": {"gap": 1, "stuck": 0}})
    assert only(wellness, 0.0).troubles == {"gap": 3, "stuck": 0}


def test_what_a_device_told_beside_its_energy_is_forgotten_after_ten_seconds() -> None:
    wellness, told = HealthTracker([GPU], 0.0), Telemetry(power_w=300.0, utilization=0.5)
    assert only(wellness, 0.0).telemetry == Telemetry()
    wellness.note({"GPU": told, "another": told}, 1.0)
    assert only(wellness, 11.0).telemetry == told
    assert only(wellness, 11.1).telemetry == Telemetry()

"""Emulated counters are exact: what they say is the integral of the power, wherever they are looked at."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.model import Device, Quality, Reading, Telemetry
from greenrun.meters.emulation.power_model import (
    CONSTANT,
    EMULATED,
    Charge,
    Counters,
    Watts,
    WattsBackend,
    advance,
)
from greenrun.meters.run_folders import RunSpan
from tests.meters.emulation.in_process import EmulatedMeter

T0 = datetime(2024, 1, 1, tzinfo=UTC)
WATTS = Watts(idle=60.0, busy=350.0)


def at(second: float) -> datetime:
    return T0 + timedelta(seconds=second)


def integral(spans: Sequence[RunSpan], end_s: float) -> float:
    """Return the joules from T0 to `end_s` by adding up microsecond-exact overlaps of spans that do not overlap."""
    held = sum(max(0.0, (min(span.end or at(1e6), at(end_s)) - max(span.start, T0)).total_seconds()) for span in spans)
    return 60.0 * end_s + 290.0 * held


def backend(load: Callable[[datetime], Mapping[str, Sequence[RunSpan]] | None], now: list[datetime]) -> WattsBackend:
    devices = EMULATED.devices("0", 1, WATTS)
    return WattsBackend(devices, Quality.MEASURED, WATTS, load, lambda: now[0], Counters(name="base"))


GPU = EMULATED.devices("0", 1, WATTS)[0].id

instants = st.integers(0, 10**8).map(lambda microseconds: microseconds / 1e6)


@given(st.sets(instants, max_size=12), st.sets(instants, min_size=1, max_size=8))
def test_a_counter_is_the_integral_of_the_power(bounds: set[float], ticks: set[float]) -> None:
    """At every tick, and straight in between: a reading stands at each change of load."""
    spans = [RunSpan(at(start), at(end)) for start, end in list(pairwise(sorted(bounds)))[::2]]
    charge = Charge(at=T0, energy_j=0.0)
    charges = [charge]
    for tick in sorted(ticks):
        charges += advance(charges[-1], spans, at(tick), WATTS)
    for one in charges:
        assert one.energy_j == pytest.approx(integral(spans, (one.at - T0).total_seconds()), rel=1e-9)
    for first, second in pairwise(charges):
        middle = (first.at - T0).total_seconds() / 2 + (second.at - T0).total_seconds() / 2
        expected = integral(spans, middle)
        assert (first.energy_j + second.energy_j) / 2 == pytest.approx(expected, rel=1e-9, abs=1e-3)


def test_runs_that_overlap_make_a_device_no_busier() -> None:
    spans = [RunSpan(at(0), at(6)), RunSpan(at(4), None)]
    assert advance(Charge(at=T0, energy_j=0.0), spans, at(10), WATTS)[-1].energy_j == 3500.0


def test_time_that_does_not_advance_gives_no_reading() -> None:
    assert advance(Charge(at=at(5), energy_j=7.0), [], at(5), WATTS) == []
    assert advance(Charge(at=at(5), energy_j=7.0), [], at(4), WATTS) == []


def test_the_first_sample_of_a_session_tells_of_its_own_instant_alone() -> None:
    """A change of load before it is in the counter, but nobody was there to read it."""
    counters = Counters(name="base", charges={GPU: Charge(at=T0, energy_j=100.0)})
    devices = EMULATED.devices("0", 1, WATTS)
    load = {GPU: [RunSpan(at(2), at(4))]}
    restarted = WattsBackend(devices, Quality.MEASURED, WATTS, lambda _: load, lambda: at(10), counters)
    assert told(restarted) == [(10.0, 100 + 600 + 580)]


def test_a_clock_that_is_set_back_is_gone_along_with() -> None:
    """What was used meanwhile cannot be told from the clock, so the counter stands still over that."""
    now = [T0]
    meter = backend(lambda _: {}, now)
    told(meter)
    said = []
    for second in (3600, 10, 20, 19.5, 21):
        now[0] = at(second)
        said += told(meter)
    assert said == [(3600.0, 216_000.0), (10.0, 216_000.0), (20.0, 216_600.0), (21.0, 216_660.0)]


@pytest.mark.parametrize("step", [18_000.0, -18_000.0, 3.0, -3.0, 1.5, -1.5])
def test_energy_follows_steady_time_however_the_wall_clock_is_set(step: float) -> None:
    """Twelve seconds of 350 W are 4.2 kJ, also for a clock that is set by five hours after four of them."""
    wall, second = [T0], [0.0]
    load = {GPU: [RunSpan(at(-1e6), None)]}
    devices = CONSTANT.devices("0", 1, WATTS)
    meter = WattsBackend(
        devices, Quality.ESTIMATED, WATTS, lambda _: {devices[0].id: load[GPU]}, lambda: wall[0],
        Counters(name="base"), clock=lambda: second[0],
    )  # fmt: skip
    said = [meter.sample() or []]
    for passed in range(1, 13):
        second[0] = passed
        wall[0] = at(passed + (step if passed > 4 else 0.0))
        said.append(meter.sample() or [])
    readings = [reading for each in said for reading in each]
    assert readings[-1].energy_j - readings[0].energy_j == pytest.approx(4200.0, rel=1e-9)
    assert len({reading.counter for reading in readings}) == 1


def test_a_load_that_changed_while_the_clock_was_set_leaves_that_step_unknown_and_no_other() -> None:
    """The instants of the change belong to a clock that is not this one any more."""
    wall, second, load = [T0], [0.0], {GPU: list[RunSpan]()}
    devices = EMULATED.devices("0", 2, WATTS)
    meter = WattsBackend(
        devices, Quality.MEASURED, WATTS, lambda _: load, lambda: wall[0], Counters(name="base"),
        clock=lambda: second[0],
    )  # fmt: skip

    def look(at_s: float, shown_s: float) -> dict[str, Reading]:
        second[0], wall[0] = at_s, at(shown_s)
        return {reading.device: reading for reading in meter.sample() or ()}

    look(0, 0)
    before = look(1, 1)
    load[GPU] = [RunSpan(at(1.5), None)]
    across, after = look(2, 7202), look(4, 7204)
    other = devices[1].id
    assert across[GPU].counter != before[GPU].counter
    assert after[GPU].counter == across[GPU].counter
    assert after[GPU].energy_j - across[GPU].energy_j == 700.0
    assert (across[other].counter, after[other].energy_j) == (before[other].counter, 240.0)


def test_a_load_that_cannot_be_told_yet_moves_no_counter() -> None:
    now, load = [T0], {GPU: [RunSpan(at(1), at(2))]}
    knows = [True]
    meter = backend(lambda _: load if knows[0] else None, now)
    assert told(meter) == [(0.0, 0.0)]
    knows[0], now[0] = False, at(3)
    assert meter.sample() is None
    knows[0], now[0] = True, at(4)
    assert told(meter) == [(1.0, 60.0), (2.0, 410.0), (4.0, 530.0)]


def told(meter: WattsBackend) -> list[tuple[float, float]]:
    readings = meter.sample()
    assert readings is not None
    return [((reading.at - T0).total_seconds(), reading.energy_j) for reading in readings]


def test_an_emulated_device_says_so_everywhere() -> None:
    assert EMULATED.devices("c0ffee00", 2, WATTS)[1] == Device(
        id="EMULATED-c0ffee00-1",
        index=1,
        model="emulated GPU (350 W)",
        source="emulated",
        power_w=350.0,
        emulated=True,
        vendor="emulated",
    )


def test_a_constant_device_is_real_and_its_energy_an_estimate() -> None:
    device = CONSTANT.devices("c0ffee00", 1, WATTS)[0]
    assert (device.id, device.source, device.emulated) == ("CONSTANT-c0ffee00-0", "constant", False)
    assert CONSTANT.quality is Quality.ESTIMATED


def test_the_meter_in_this_process_reads_on_the_clock_it_is_given() -> None:
    """For virtual time: the same physics, on any clock, without a file or a process."""
    now = [T0]
    meter = EmulatedMeter(2, 60.0, 350.0, lambda _: {first: [RunSpan(at(1), None)]}, lambda: now[0])
    first, second = (device.id for device in meter.devices())
    meter.read({})
    now[0] = at(3)
    readings = meter.read({first: T0, second: T0})
    energies = [(reading.device, (reading.at - T0).total_seconds(), reading.energy_j) for reading in readings]
    assert energies == [(first, 1.0, 60.0), (first, 3.0, 760.0), (second, 3.0, 180.0)]


def test_every_backend_is_a_session_of_its_own() -> None:
    one, two = backend(lambda _: {}, [T0]).sample(), backend(lambda _: {}, [T0]).sample()
    assert isinstance(one, list)
    assert isinstance(two, list)
    assert _session(one) != _session(two)


def _session(readings: list[Reading]) -> str:
    return readings[0].session


def test_an_emulated_gpu_is_busy_while_a_run_holds_it_and_tells_so() -> None:
    now = [at(0)]
    meter = backend(lambda _: {GPU: [RunSpan(at(1), at(3))]}, now)
    told: list[float | None] = []
    for second in (0, 2, 4):
        now[0] = at(second)
        told += [reading.utilization for reading in meter.sample() or ()]
    assert told == [None, 0.0, 1.0, 1.0, 0.0]


def test_what_an_emulated_gpu_draws_is_told_once_per_sample() -> None:
    now = [at(0)]
    meter = backend(lambda instant: {GPU: [RunSpan(at(1), at(3))]}, now)
    for second, told in ((0, Telemetry(power_w=60.0, utilization=0.0)), (2, Telemetry(power_w=350.0, utilization=1.0))):
        now[0] = at(second)
        meter.sample()
        assert (meter.telemetry(), meter.telemetry()) == ({GPU: told}, {})


def test_of_a_gpu_whose_watts_the_user_vouches_for_nothing_but_energy_is_told() -> None:
    """What is shown would be no more than what the settings say."""
    devices = CONSTANT.devices("0", 1, WATTS)
    meter = WattsBackend(devices, Quality.ESTIMATED, WATTS, lambda _: {}, lambda: at(0), Counters(name="base"))
    assert [reading.utilization for reading in meter.sample() or ()] == [None]
    assert meter.telemetry() == {}

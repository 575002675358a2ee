"""A GPU's energy from what its driver says, against scripted boards whose energy is known exactly."""

from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.model import Quality
from greenrun.meters.gpu.accumulator import Accumulated, Accumulator, Sample, Trouble

LIMIT_W = 700.0
QUANTUM_S = 0.1  # both counter and power are renewed so often

Trace = Callable[[float], float]


def constant(at_s: float) -> float:
    """300 W."""
    return 300.0


def square(at_s: float) -> float:
    """A second of 600 W and one of 100 W, in turns."""
    return 600.0 if int(at_s) % 2 == 0 else 100.0


def burst(at_s: float) -> float:
    """A fifth of a second of 600 W every two seconds."""
    return 600.0 if at_s % 2.0 < 0.2 else 100.0


def plateau(at_s: float) -> float:
    """Ten seconds of 100 W, then 600 W."""
    return 100.0 if at_s < 10 else 600.0


TRACES = [constant, square, burst, plateau]


def energy_j(trace: Trace, start_s: float, end_s: float) -> float:
    """What a board that draws this uses, in J; traces change at whole tenths of a second."""
    return sum(trace(tenth / 10 + 0.05) for tenth in range(round(start_s * 10), round(end_s * 10))) / 10


def instants(end_s: float, every_s: float, jitter_s: float = 0.0, seed: int = 1) -> Iterator[float]:
    """When a sampler looks, from 0 on."""
    random, at_s = Random(seed), 0.0
    while at_s <= end_s:
        yield at_s
        at_s += every_s + random.uniform(-jitter_s, jitter_s)


def sampled(trace: Trace, at_s: float, *, base_j: float = 1000.0, counts: bool = True, powers: bool = True) -> Sample:
    """What a good driver says."""
    tick_s = int(at_s / QUANTUM_S + 1e-9) * QUANTUM_S
    return Sample(
        at_s, base_j + energy_j(trace, 0, tick_s) if counts else None, trace(tick_s + 1e-6) if powers else None
    )


def run(accumulator: Accumulator, samples: Iterator[Sample]) -> list[Accumulated]:
    """Everything that is told of these samples."""
    return [total for sample in samples if (total := accumulator.add(sample)) is not None]


def used_j(told: list[Accumulated]) -> float:
    """What was told from the first sample on."""
    return told[-1].energy_j - told[0].energy_j


@pytest.mark.parametrize("trace", TRACES)
def test_the_counter_is_told_as_it_is(trace: Trace) -> None:
    """With a counter the energy is the counter's, to 0.1 % over a minute."""
    told = run(Accumulator(LIMIT_W), (sampled(trace, at_s) for at_s in instants(60, 1.0)))
    assert used_j(told) == pytest.approx(energy_j(trace, 0, 60), rel=1e-3)
    assert {total.quality for total in told} == {Quality.MEASURED}


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_power_is_integrated_where_there_is_no_counter(trace: Trace, seed: int) -> None:
    """At ten readings a second, a little out of step, the integral is within 2 % over two minutes."""
    told = run(Accumulator(LIMIT_W), (sampled(trace, s, counts=False) for s in instants(120, 0.09, 0.02, seed)))
    assert used_j(told) == pytest.approx(energy_j(trace, 0, 120), rel=0.02)
    assert {total.quality for total in told} == {Quality.INTEGRATED}


@pytest.mark.parametrize("trace", TRACES)
def test_a_driver_reload_costs_next_to_nothing_and_is_flagged(trace: Trace) -> None:
    """The counter begins anew at 30 s: the total goes on, within 0.5 % of a constant draw."""

    def read(at_s: float) -> Sample:
        good = sampled(trace, at_s)
        return good if at_s < 30.05 else Sample(at_s, energy_j(trace, 30, int(at_s * 10 + 1e-9) / 10), good.power_w)

    accumulator = Accumulator(LIMIT_W)
    told = run(accumulator, (read(at_s) for at_s in instants(60, 1.0)))
    tolerance = 0.02 if trace is burst else 0.005  # one second of it is seen at one point
    assert used_j(told) == pytest.approx(energy_j(trace, 0, 60), rel=tolerance)
    assert accumulator.troubles[Trouble.REBASED] == 1
    assert Quality.BRIDGED in {total.quality for total in told}


@pytest.mark.parametrize("length_s", [0.5, 1.2, 3.0, 40.0])
def test_a_spike_is_passed_over_and_flagged(length_s: float) -> None:
    """A counter of 99 MJ for a while, even up to the end, changes the total by less than 2 %."""

    def read(at_s: float) -> Sample:
        good = sampled(constant, at_s)
        return Sample(at_s, 99_876_543.0, good.power_w) if 10 <= at_s < 10 + length_s else good

    accumulator = Accumulator(LIMIT_W)
    told = run(accumulator, (read(at_s) for at_s in instants(30, 0.5)))
    assert used_j(told) == pytest.approx(energy_j(constant, 0, 30), rel=0.02)
    assert accumulator.troubles[Trouble.IMPLAUSIBLE] == 1
    assert accumulator.troubles[Trouble.REBASED] == 0


def test_a_gpu_that_was_lost_loses_nothing() -> None:
    """Five seconds without a reading are bridged by the counter, and counted as a gap."""
    accumulator = Accumulator(LIMIT_W)
    told = run(accumulator, (sampled(square, s) for s in instants(60, 1.0) if not 20 < s < 25))
    assert used_j(told) == pytest.approx(energy_j(square, 0, 60), rel=1e-3)
    assert accumulator.troubles[Trouble.GAP] == 1
    assert [total.quality for total in told].count(Quality.BRIDGED) == 1


def test_a_counter_that_stands_still_is_bridged() -> None:
    """Power drawn while the counter stands (as some do until the next boot) is not lost."""

    def read(at_s: float) -> Sample:
        good = sampled(constant, at_s)
        stands = sampled(constant, min(at_s, 10.0)).counter_j if at_s < 30 else (good.counter_j or 0) - 300.0 * 20
        return Sample(at_s, stands, good.power_w)

    accumulator = Accumulator(LIMIT_W)
    told = run(accumulator, (read(at_s) for at_s in instants(60, 1.0)))
    assert used_j(told) == pytest.approx(energy_j(constant, 0, 60), rel=0.02)
    assert accumulator.troubles[Trouble.STUCK] == 1


@pytest.mark.parametrize("counts", [True, False])
def test_zero_watts_are_no_reading(counts: bool) -> None:
    """A running board draws something: 0 W is passed over, not integrated."""

    def read(at_s: float) -> Sample:
        good = sampled(constant, at_s, counts=counts)
        return Sample(at_s, good.counter_j, 0.0) if int(at_s * 10) % 7 == 0 else good

    accumulator = Accumulator(LIMIT_W)
    told = run(accumulator, (read(at_s) for at_s in instants(30, 0.09, 0.02)))
    assert used_j(told) == pytest.approx(energy_j(constant, 0, 30), rel=0.02)
    assert accumulator.troubles[Trouble.NO_POWER] > 0


NUMBERS = st.none() | st.floats(-1e9, 1e12)


@given(st.lists(st.tuples(st.floats(0.001, 30), NUMBERS, NUMBERS), min_size=1, max_size=60))
def test_whatever_is_read_the_energy_never_falls_and_never_outruns_the_board(
    rows: list[tuple[float, float | None, float | None]],
) -> None:
    """No reading takes energy back or gives more than the board can use; what says nothing is told as nothing."""
    accumulator, at_s, first_s, told = Accumulator(LIMIT_W), 0.0, None, 0.0
    for step_s, counter_j, power_w in rows:
        at_s += step_s
        total = accumulator.add(Sample(at_s, counter_j, power_w))
        if total is None:
            continue
        first_s = at_s if first_s is None else first_s
        assert total.energy_j >= told
        told = total.energy_j
        readings = len(rows)
        assert told <= 1.25 * LIMIT_W * (at_s - first_s + 0.2 * readings) + 1e-6

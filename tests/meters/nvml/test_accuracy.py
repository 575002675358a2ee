"""How exact the NVML meter is, on an emulated driver whose energy is known exactly: the bars of the benchmarks."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from greenrun.core.energy.model import Mark, Quality, Reading, boards
from greenrun.core.energy.slicing import cut
from tests.meters.nvml.bench import T0, Bench
from tests.meters.nvml.driver import Driver, Trace, board, burst, constant, energy_j, plateau, square, uuid

LENGTH_S = 70.5
TRACES = [
    pytest.param(constant(), id="constant"),
    pytest.param(square(130), id="square"),
    pytest.param(burst(130), id="burst"),
    pytest.param(plateau(30.3), id="plateau"),
]
ENERGY = "nvmlDeviceGetTotalEnergyConsumption"


def qualities(readings: list[Reading]) -> set[Quality]:
    """Return the grades that there are."""
    return {reading.quality for reading in readings}


@pytest.mark.parametrize("trace", TRACES)
def test_a_counter_is_told_to_a_thousandth(virtual: Driver, trace: Trace) -> None:
    virtual.play(*board(0, trace))
    bench = Bench(virtual)
    bench.run(LENGTH_S)
    assert bench.used_j() == pytest.approx(energy_j(trace, 0.5, LENGTH_S), rel=0.001)
    assert qualities(bench.readings) == {Quality.MEASURED}
    assert bench.troubles() == {}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("trace", TRACES)
def test_without_a_counter_power_is_integrated_to_two_hundredths(virtual: Driver, trace: Trace, seed: int) -> None:
    virtual.play(*board(0, trace, energy=0))
    bench = Bench(virtual, seed=seed)
    bench.run(120.5)
    assert bench.used_j() == pytest.approx(energy_j(trace, 0.5, 120.5), rel=0.02)
    assert qualities(bench.readings) == {Quality.INTEGRATED}


@pytest.mark.parametrize("at_s", [30.05, 30.5, 30.9])
@pytest.mark.parametrize("trace", TRACES)
def test_a_driver_reload_costs_a_second_of_guessing_at_most_and_is_flagged(
    virtual: Driver, trace: Trace, at_s: float
) -> None:
    virtual.play(*board(0, trace), f"reset_energy 0 {at_s}")
    bench = Bench(virtual)
    bench.run(LENGTH_S)
    unseen_j = 0 if len(trace) == 1 else 151  # what an uneven load may have used in the second that nobody counted
    assert bench.used_j() == pytest.approx(energy_j(trace, 0.5, LENGTH_S), rel=0.005, abs=unseen_j)
    assert qualities(bench.readings) == {Quality.MEASURED, Quality.BRIDGED}
    assert bench.troubles() == {"implausible": 1, "rebased": 1}


@pytest.mark.parametrize("length_s", [0.6, 1.2, 100])
def test_a_spike_of_the_counter_is_passed_over_and_flagged(virtual: Driver, length_s: float) -> None:
    """Also one that is still there at the end."""
    virtual.play(*board(0, constant()), f"glitch 0 {ENERGY} 20 {20 + length_s} 99876543000")
    bench = Bench(virtual)
    bench.run(LENGTH_S)
    assert bench.used_j() == pytest.approx(energy_j(constant(), 0.5, LENGTH_S), rel=0.02)
    assert Quality.BRIDGED in qualities(bench.readings)
    assert bench.troubles() == {"implausible": 1}


@pytest.mark.parametrize("trace", TRACES)
def test_a_gpu_that_was_lost_for_five_seconds_loses_nothing(virtual: Driver, trace: Trace) -> None:
    """What it used meanwhile is in its counter: bridged, and told to be."""
    virtual.play(*board(0, trace), *board(1, constant()), "fault 0 * 20 25 15")
    bench = Bench(virtual)
    bench.run(LENGTH_S)
    assert bench.used_j() == pytest.approx(energy_j(trace, 0.5, LENGTH_S), rel=1e-6)
    assert [reading.quality for reading in bench.of(0)].count(Quality.BRIDGED) == 1
    assert bench.troubles() == {"gap": 1, "unreadable": 5}
    assert bench.troubles(1) == {}
    pauses = [(b.at - a.at).total_seconds() for a, b in zip(bench.of(0), bench.of(0)[1:], strict=False)]
    assert max(pauses) == 6.0


@pytest.mark.parametrize("moves_on", [True, False])
def test_a_counter_that_stands_still_while_power_is_drawn_is_bridged(virtual: Driver, moves_on: bool) -> None:
    """As some do until the next boot."""
    stands_at_mj = 123456789 + 300_000 * 10
    virtual.play(*board(0, constant()), f"glitch 0 {ENERGY} 10 {40 if moves_on else 99} {stands_at_mj}")
    bench = Bench(virtual)
    bench.run(LENGTH_S)
    assert bench.used_j() == pytest.approx(energy_j(constant(), 0.5, LENGTH_S), rel=0.02)
    assert Quality.BRIDGED in qualities(bench.readings)
    assert bench.troubles() == {"stuck": 1}


def test_no_watts_are_no_reading(virtual: Driver) -> None:
    virtual.play(*board(0, constant(), energy=0), *(f"glitch 0 nvmlDeviceGetPowerUsage {s} {s}.3 0" for s in range(70)))
    bench = Bench(virtual)
    bench.run(LENGTH_S)
    assert bench.used_j() == pytest.approx(energy_j(constant(), 0.5, LENGTH_S), rel=0.02)
    assert bench.troubles()["no_power"] > 0


def test_a_board_that_is_split_is_counted_once(virtual: Driver) -> None:
    """Each slice of it tells the whole board's power."""
    virtual.play(*board(0, constant(), mig=1, slices=3), *board(1, constant()))
    bench = Bench(virtual)
    bench.run(10.5)
    assert [device.id for device in boards(bench.backend.devices)] == [uuid(0), uuid(1)]
    assert bench.used_j() == pytest.approx(3000, rel=0.001)


def test_two_boards_swapped_swap_their_joules(virtual: Driver) -> None:
    used = []
    for first, second in ((constant(), square(20)), (square(20), constant())):
        virtual.play(*board(0, first), *board(1, second))
        bench = Bench(virtual)
        bench.run(20.5)
        used.append((bench.used_j(0), bench.used_j(1)))
    assert used[0] == pytest.approx(used[1][::-1], rel=1e-9)


# --- restarts


def restarted(virtual: Driver, *changed: str, before: Sequence[str] = ()) -> tuple[Reading, Reading]:
    """Stop at 10.5 s, begin again at 15.5 s with these lines changed; return the readings before and after."""
    lines = ["driver 550.54", *board(0, square(30))]
    virtual.play(*lines, *before)
    bench = Bench(virtual)
    bench.run(10.5)
    virtual.play(*lines, *changed)
    bench.skip(15.5)
    bench.open()
    bench.run(16.5)
    return next(pair for pair in zip(bench.of(0), bench.of(0)[1:], strict=False) if pair[0].session != pair[1].session)


def booked(before: Reading, after: Reading) -> tuple[Quality, float | None]:
    """Return how the time between two readings is booked."""
    mark = Mark(
        device=before.device, at=before.at, energy_j=before.energy_j, counter=before.counter, session=before.session
    )
    (piece,), _ = cut(mark, [after], [], [after.at], after.at)
    return piece.quality, piece.energy_j


def test_a_restart_of_greenrun_is_bridged_by_the_counter(virtual: Driver) -> None:
    before, after = restarted(virtual)
    assert after.at - before.at == timedelta(seconds=5)
    quality, used_j = booked(before, after)
    assert quality is Quality.BRIDGED
    assert used_j == pytest.approx(energy_j(square(30), 10.5, 15.5), rel=0.005)


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(f"glitch 0 {ENERGY} 8 11 99876543000", id="in a spike"),
        pytest.param("fault 0 * 8 11 15", id="while the GPU is lost"),
        pytest.param(f"fault 0 {ENERGY} 8 11 999", id="while the counter is away"),
    ],
)
def test_a_restart_amid_trouble_is_bridged_from_the_last_counter_that_was_believed(
    virtual: Driver, trouble: str
) -> None:
    before, after = restarted(virtual, before=[trouble])
    quality, used_j = booked(before, after)
    since_s = (before.at - T0).total_seconds()
    assert quality is Quality.BRIDGED
    assert used_j == pytest.approx(energy_j(square(30), since_s, 15.5), rel=0.1)  # as far as power told it before
    assert after.energy_j == pytest.approx(energy_j(square(30), 0.5, 15.5), rel=0.005)


@pytest.mark.parametrize("changed", ["driver 560.1", "reset_energy 0 12"])
def test_a_restart_with_another_driver_or_another_counter_is_not_bridged(virtual: Driver, changed: str) -> None:
    """It cannot be known what was used meanwhile, so it is not told."""
    assert booked(*restarted(virtual, changed)) == (Quality.UNKNOWN, None)


def test_a_restart_after_a_boot_is_not_bridged(virtual: Driver) -> None:
    virtual.play(*board(0, constant()))
    bench = Bench(virtual)
    bench.run(5.5)
    file = virtual.folder / "meter-nvml.json"
    file.write_text(file.read_text().replace('"boot": "', '"boot": "another-'))
    bench.open()
    bench.run(6.5)
    assert len({reading.counter for reading in bench.of(0)}) == 2

"""Energy and emissions belong to the runs, not to the daemon: how often it ticks or restarts changes neither."""

import pytest
from hypothesis import given

from greenrun.core.jobs.job import JobSpec
from tests.engine.day import BEATS, DAY, JOBS, Beat, live, same
from tests.sampling import examples
from tests.world import World


@examples(10)
@given(jobs=JOBS, beat=BEATS)
def test_ticks_and_restarts_do_not_change_energy_or_emissions(jobs: list[JobSpec], beat: Beat) -> None:
    same(live(jobs, beat), live(jobs, Beat()))


@examples(2)
@given(jobs=JOBS)
def test_twice_the_intensity_is_twice_the_emissions(jobs: list[JobSpec]) -> None:
    once, twice = live(jobs, Beat()), live(jobs, Beat(), values=[2 * value for value in DAY])
    assert twice.settled_g == pytest.approx([2 * (grams or 0.0) for grams in once.settled_g], rel=1e-12)
    assert twice.energy_j == once.energy_j


@examples(2)
@given(jobs=JOBS)
def test_two_devices_swapped_swap_their_energy(jobs: list[JobSpec]) -> None:
    def swap(world: World) -> None:
        world.devices = world.devices[::-1]

    plain, swapped = live(jobs, Beat()), live(jobs, Beat(), change=swap)
    first, second = plain.device_j
    assert swapped.device_j == pytest.approx({first: plain.device_j[second], second: plain.device_j[first]}, rel=1e-12)
    assert swapped.settled_g == pytest.approx(plain.settled_g, rel=1e-12)

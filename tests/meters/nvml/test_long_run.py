"""A long run leaves nothing behind, neither in the sampler nor in what the daemon keeps of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.meters.nvml.driver import Driver
from tests.meters.nvml.growth import WARM_S
from tests.sampling import EFFORT

PROJECT = Path(__file__).parents[3]
TWO_S, EIGHT_S = 720, (900, 1800, 3600)[EFFORT]
TWO_WARM_S = 120
OBJECT_BYTES = 56  # of the smallest that could be left behind each second; what is kept once comes to some 15 kB


def growth(which: str, driver: Driver, seconds: int) -> dict[str, int]:
    """How a sampler's memory grows in a process of its own."""
    command = [sys.executable, "-m", "tests.meters.nvml.growth", which, driver.binary, driver.folder, str(seconds)]
    found: dict[str, int] = json.loads(subprocess.check_output(command, cwd=PROJECT, text=True))
    return found


def test_memory_does_not_grow(virtual: Driver) -> None:
    """Over ten minutes, with a GPU that has no counter and one that is lost again and again."""
    assert growth("two", virtual, TWO_S)["traced_bytes"] < OBJECT_BYTES * (TWO_S - TWO_WARM_S)


@pytest.mark.slow
def test_a_long_run_of_eight_gpus_grows_neither_the_sampler_nor_the_daemon(virtual: Driver) -> None:
    """Neither in what Python holds nor in what it has of the system, once as many readings are kept as ever are.

    Over a quarter of an hour, or half of one in CI, or a whole one in the long tests.
    """
    found = growth("eight", virtual, EIGHT_S)
    assert found["readings"] == 8 * WARM_S // 2
    assert found["traced_bytes"] < OBJECT_BYTES * (EIGHT_S - WARM_S)
    assert found["resident_kib"] < 1024

"""Whatever devices use is some run's or nobody's: nothing is lost and nothing is counted twice."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenrun.core.energy.model import Hold, Reading
from greenrun.core.energy.slicing import cut
from tests.core.energy.build import at, mark, most_j, worlds

Device = tuple[list[Reading], list[Hold], list[float]]


def known_j(readings: list[Reading]) -> float:
    """What a device's counter says that it used, over every stretch in which it can be believed."""
    points = [(mark().at, "c0", 0.0), *((one.at, one.counter, one.energy_j) for one in readings)]
    steps = [(b[2] - a[2], most_j(a[0], b[0])) for a, b in pairwise(points) if a[1] == b[1]]
    return fsum(step_j for step_j, highest_j in steps if 0 <= step_j <= highest_j)


@given(st.lists(worlds(), min_size=2, max_size=4))
def test_runs_and_nobody_together_use_what_all_devices_use(devices: list[Device]) -> None:
    """Runs hold several devices, samplers come and go, counters begin anew: to a billionth of the sum."""
    by_run: defaultdict[int | None, float] = defaultdict(float)
    for number, (readings, holds, edges) in enumerate(devices):
        name = f"GPU-{number}"
        own = [replace(one, device=name) for one in readings]
        held = [replace(one, device=name) for one in holds]
        cuts = [*(at(edge) for edge in edges), own[-1].at]
        slices, _ = cut(mark(device=name, counter="c0"), own, held, cuts, at(100))
        for piece in slices:
            by_run[piece.run_id] += piece.energy_j or 0.0
    assert fsum(by_run.values()) == pytest.approx(fsum(known_j(readings) for readings, _, _ in devices), rel=1e-9)

"""GPUs are held for a job that others kept waiting only where it is known when the others come back."""

from datetime import timedelta

import pytest

from greenrun.core.planning.model import Situation
from greenrun.core.planning.planner import plan
from tests.core.build import SLOT, T0, grid, job

DEVICES = ("gpu0", "gpu1", "gpu2")


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_nothing_is_held_idle_for_a_job_that_needs_what_somebody_else_holds(*, is_elsewhere: bool) -> None:
    large, small = job(1, slots=4, gpus=3, start_now=True), job(2, slots=1, gpus=1, start_now=True)
    last, now = None, T0
    for jobs in ((large,), (large, small), (large, small)):
        busy = {"gpu0": now + timedelta(minutes=10)}
        elsewhere = {"gpu0": "bob"} if is_elsewhere else {}
        world = Situation(
            now=now, jobs=jobs, devices=DEVICES, busy=busy, elsewhere=elsewhere, forecast=grid([300.0] * 96), last=last
        )
        last = plan(world)
        now += SLOT
    placed = last.placement(2)
    assert placed
    assert (placed.start == world.now) == is_elsewhere

"""The power limit of a GPU that several runs share: no run is slowed down more than it allows."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from greenrun.core.energy.model import Device
from greenrun.core.jobs.job import Job, Run, State
from greenrun.core.planning.model import Plan
from greenrun.core.planning.power_capping.capping_rule import Capping, CappingCode
from greenrun.engine.power_limits import PowerLimitController, PowerLimitSettings
from greenrun.simulation.memory_power_limits import PowerLimitMemory
from tests.core.build import T0, job
from tests.engine.limited_gpus import DEFAULT_W, LimitedGpus

GPU = Device(id="gpu0", index=0, model="H100", source="nvml", power_w=DEFAULT_W)
MINUTE = timedelta(minutes=1)


class InDirtyHours(PowerLimitController):
    """All hours are dirty for whoever allows a lower limit."""

    def _wanted(self, *args: Any) -> Capping:
        return Capping(
            is_on=True, code=CappingCode.DIRTY, why="dirty", intensity_g_per_kwh=400.0, threshold_g_per_kwh=200.0
        )


class Shared:
    def __init__(self) -> None:
        self.gpus = LimitedGpus()
        settings = PowerLimitSettings(change_every=timedelta(0))
        self.controller = InDirtyHours(PowerLimitMemory(), self.gpus, lambda: [GPU], settings)
        self.now = T0

    def with_caps(self, caps: Mapping[int, str | None]) -> float:
        """Return the limit of the GPU once these jobs share it, by id with what each allows."""
        live = [(run_of(number), job_of(number, cap)) for number, cap in caps.items()]
        for _ in range(2):  # what is restored first is lowered again at the next look
            self.now += MINUTE
            self.controller.act(live, {}, None, Plan(made_at=self.now), self.now)
        return self.gpus.limit_w("gpu0")


def job_of(number: int, cap: str | None) -> Job:
    return replace(job(number, power_cap=cap), state=State.RUNNING)


def run_of(number: int, at: datetime = T0) -> Run:
    return Run(id=number, job_id=number, number=1, token="t", devices=("gpu0",), claimed_at=at, started_at=at)


def test_of_two_limits_the_one_that_slows_nobody_more_than_agreed_is_set() -> None:
    assert Shared().with_caps({1: "60%", 2: "80%"}) == 0.8 * DEFAULT_W
    assert Shared().with_caps({1: "80%", 2: "60%"}) == 0.8 * DEFAULT_W
    assert Shared().with_caps({1: "200W", 2: "60%", 3: "250W"}) == 250.0


def test_with_one_that_allows_none_it_stays_as_it_is() -> None:
    assert Shared().with_caps({1: "60%", 2: None}) == DEFAULT_W


def test_it_is_raised_for_one_that_comes_later_and_lowered_again_when_that_has_gone() -> None:
    shared = Shared()
    seen = [shared.with_caps(caps) for caps in (
        {1: "60%"}, {1: "60%", 2: "80%"}, {1: "60%"}, {1: "60%", 3: None}, {1: "60%", 4: "50%"}, {4: "50%"},
    )]  # fmt: skip
    assert seen == [share * DEFAULT_W for share in (0.6, 0.8, 0.6, 1.0, 0.6, 0.5)]

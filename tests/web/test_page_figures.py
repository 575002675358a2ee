"""Each figure of the page says what it is of: which GPU, which signal, how far it is known, and what is left out."""

import re
from dataclasses import replace
from typing import Any

import pytest

from greenrun.core.energy.gpu_parts import instance_of, instances_of, slots_of
from greenrun.core.energy.model import Device
from greenrun.core.jobs.job import State
from tests.api.fakes import CPU, GPU, stored
from tests.web.pages import PageWorld, busy, text_of

SLOTS = slots_of(GPU, 2)
INSTANCES = instances_of(
    GPU,
    [
        instance_of(GPU, f"MIG-{number}", number=number, profile="1g.10gb", slices=(1, 7), memory_bytes=10 << 30)
        for number in (0, 1)
    ],
)


def on_parts(devices: list[Device]) -> PageWorld:
    """With one job on each of the two parts of the only board."""
    world = busy()
    world.scheduler.devices = lambda: [*devices, CPU]
    (run,) = world.store.job_runs[1]
    parts = [device for device in devices if device.part]
    world.store.keep(stored(4, State.RUNNING, name="llama"))
    world.store.job_runs = {
        1: [replace(run, devices=(parts[0].id,))], 4: [replace(run, id=9, job_id=4, devices=(parts[1].id,))],
    }  # fmt: skip
    return world


@pytest.mark.parametrize("devices", [SLOTS, INSTANCES], ids=["slots", "instances"])
def test_parts_of_a_gpu_are_told_apart(devices: list[Device]) -> None:
    world = on_parts(devices)
    lanes = [f"GPU {device.name}" for device in devices if device.part]
    data = world.get("/page/timeline").json()
    assert data["lanes"] == lanes
    assert [bar["lane"] for bar in data["bars"] if bar["kind"] == "running"] == lanes
    rows: Any = re.findall(r'<td data-name="on">(.*?)</td>', world.get("/").text)
    assert rows == lanes
    text = text_of(world.get("/devices").text)
    for lane in lanes:
        assert f"{lane} Emulated GPU" in text

"""Tests of what a site makes of its devices: which GPUs no job gets, by whatever name."""

from pathlib import Path

import pytest

from greenrun.core.energy.device_names import named
from greenrun.core.energy.model import Component, Device, gpus
from greenrun.core.errors import InvalidInput
from greenrun.core.jobs.availability import gpus_named
from greenrun.meters import MeterSettings, open_meter
from greenrun.meters.arrangement import arranged, not_there
from greenrun.meters.settings import EmulatedSettings

UUIDS = ("GPU-aaaa0000-0000-0000-0000-000000000000", "GPU-bbbb0000-0000-0000-0000-000000000001")
TWO = (
    Device(id=UUIDS[0], index=0, model="H100", source="nvml", pci="00000000:17:00.0"),
    Device(id=UUIDS[1], index=1, model="H100", source="nvml", pci="00000001:65:00.0"),
    Device(id="package-0", index=0, model="CPU", source="rapl", kind=Component.CPU),
)


def excluding(*names: str, energy: str = "idle") -> MeterSettings:
    return MeterSettings(kinds=("nvml",), exclude=names, excluded_energy=energy)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    ["1", UUIDS[1], UUIDS[1].upper(), "GPU-bbbb", "00000001:65:00.0", "0001:65:00.0", "1:65:00.0", " 1 "],
)
def test_a_gpu_is_excluded_by_any_of_its_names(name: str) -> None:
    first, second, cpu = arranged(TWO, excluding(name))
    assert (first.excluded, second.excluded, cpu.excluded) == (None, name, None)
    assert [device.id for device in gpus((first, second, cpu))] == [UUIDS[0]]


@pytest.mark.parametrize("name", ["65:00.0", "2", "GPU-", "GPU-0000", "0000:65:00.0", "package-0", "", "GPU-bbbb1"])
def test_what_names_no_gpu_excludes_none_and_is_told_with_those_that_there_are(name: str) -> None:
    settings = excluding(name)
    assert arranged(TWO, settings) == TWO
    (sentence,) = not_there(TWO, settings)
    assert all(uuid in sentence for uuid in UUIDS)


def test_a_name_that_comes_later_is_excluded_then() -> None:
    settings = excluding(UUIDS[1])
    assert list(not_there(TWO[:1], settings))
    assert [device.excluded for device in arranged(TWO, settings)[:2]] == [None, UUIDS[1]]


def test_an_address_without_its_domain_is_that_of_domain_0() -> None:
    assert [device.id for device in named("17:00.0", TWO)] == [UUIDS[0]]


def test_an_index_is_no_beginning_of_another() -> None:
    many = [Device(id=f"EMULATED-host-{index}", index=index, model="", source="emulated") for index in range(12)]
    assert [device.index for device in named("1", many)] == [1]
    assert [device.index for device in named("EMULATED-host-1", many)] == [1]
    assert named("EMULATED-host", many) == []


@pytest.mark.parametrize(("energy", "booked"), [("idle", True), ("unmanaged", False)])
def test_the_settings_say_whether_its_energy_is_in_the_books(energy: str, booked: bool) -> None:
    assert [device.booked for device in arranged(TWO, excluding("0", energy=energy))] == [booked, True, True]


def test_it_can_be_neither_drained_nor_resumed_and_is_told_why() -> None:
    with pytest.raises(InvalidInput, match="'1' is excluded by the settings"):
        gpus_named(["1"], arranged(TWO, excluding("1")))


def test_a_meter_still_reads_it(tmp_path: Path) -> None:
    settings = MeterSettings(kinds=("emulated",), emulated=EmulatedSettings(gpus=2), exclude=("1",))
    meter = open_meter(settings, runs_dir=tmp_path / "runs", state_dir=tmp_path)
    try:
        kept = {device.id: device.excluded for device in meter.devices()}
        assert list(kept.values()) == [None, "1"]
        assert {reading.device for reading in meter.read({})} == kept.keys()
    finally:
        meter.close()

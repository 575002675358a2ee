"""Meters are tried in the order that the settings name them, and each refusal is told."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from greenrun.core.energy.model import Device
from greenrun.core.errors import ConfigError, MeterError
from greenrun.meters import CPU_KINDS, KINDS, EmulatedSettings, MeterSettings, OpenMeter, open_meter, why_no_more_gpus
from greenrun.meters.backends import BACKENDS, included
from greenrun.meters.sampler.wire import Message, Request, pack, pack_request, unpack, unpack_request
from greenrun.meters.settings import GPU_METERS, ConstantSettings, ExternalSettings

GPUS = [Device(id=name, index=index, model="", source="") for index, name in enumerate("ABC")]


def opened(tmp_path: Path, *kinds: str, include: Sequence[str | int] = (), gpus: int = 2) -> OpenMeter:
    settings = MeterSettings(kinds=kinds, include=tuple(include), emulated=EmulatedSettings(gpus=gpus))
    return open_meter(settings, runs_dir=tmp_path / "runs", state_dir=tmp_path)


def test_every_meter_that_can_be_named_can_be_opened() -> None:
    assert {*KINDS, *CPU_KINDS, "external"} == {*BACKENDS, "none"}


@pytest.mark.parametrize("kinds", [("sundial",), ("none", "sundial")])
def test_a_name_that_is_no_meter_is_a_mistake_in_the_settings(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="'sundial' is not a meter; name one of nvml, amd, emulated, constant, none"):
        opened(tmp_path, *kinds)


def test_no_name_at_all_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no meter is named"):
        opened(tmp_path)


@pytest.mark.system
def test_the_first_meter_that_works_is_taken_and_the_refusals_are_told(tmp_path: Path) -> None:
    meter = opened(tmp_path, "constant", "none")
    assert list(meter.devices()) == []
    assert meter.refusals == (
        "constant: The constant meter has no watts to go by; set gpus, watts_idle and watts_busy for it.",
    )


@pytest.mark.system
def test_when_none_works_every_refusal_is_told(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match=r"constant: The constant meter has no watts.* emulated: The meter has no dev"):
        opened(tmp_path, "constant", "emulated", gpus=0)


@pytest.mark.system
def test_only_included_devices_are_told_of(tmp_path: Path) -> None:
    meter = opened(tmp_path, "emulated", include=[1])
    assert [device.index for device in meter.devices()] == [1]
    meter.close()


@pytest.mark.parametrize(
    ("kinds", "include", "refusals", "gpus", "said"),
    [
        (GPU_METERS, (), ["nvml: No driver.", "amd: No library.", "rapl: No CPU."], 0,
         "nvml says: No driver; amd says: No library; set devices.meter and start greenrun again, or ask for no GPU"),
        (("amd", "nvml"), (), ["amd: No library."], 2,
         "amd says: No library; set devices.meter and start greenrun again"),
        (("none",), (), [], 0, 'devices.meter is "none", which reads no GPU; set devices.meter to "nvml" or "amd"'),
        (("nvml",), ("GPU-1", 3), [], 2, "devices.include names GPU-1, 3 alone"),
        (("emulated",), (), [], 2, "set gpus of [devices.emulated]"),
        (("nvml",), (), [], 2, ""),
    ],
)  # fmt: skip
def test_why_there_are_no_more_gpus_is_said_with_what_to_set(
    kinds: tuple[str, ...], include: tuple[str | int, ...], refusals: list[str], gpus: int, said: str
) -> None:
    assert why_no_more_gpus(MeterSettings(kinds=kinds, include=include), refusals, gpus) == said


@pytest.mark.parametrize(
    ("include", "expected"), [([], "ABC"), ([1], "B"), (["C", 0], "AC"), (["2"], "C"), (["A", 0], "A")]
)
def test_devices_are_included_by_name_or_index_in_index_order(include: list[str | int], expected: str) -> None:
    assert "".join(device.id for device in included(GPUS, include)) == expected


def test_including_a_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(MeterError, match=r"no device 7; name one of 0 \(A\), 1 \(B\), 2 \(C\)"):
        included(GPUS, [0, 7])


def test_a_request_reaches_the_process_whole(tmp_path: Path) -> None:
    constant = ConstantSettings(gpus=3, watts_idle=0.1, watts_busy=299.9)
    settings = MeterSettings(
        kinds=("emulated", "constant"), include=("A", 1), constant=constant,
        cpu_kinds=("rapl", "none"), powercap=tmp_path / "powercap",
        external=(
            ExternalSettings(name="a", unit="kWh", command=("b", "c"), wraps_at=7.5, component="cpu"),
            ExternalSettings(name="d", unit="J", url="https://e", value="f.0", header_file=tmp_path / "g", index=1),
        ),
    )  # fmt: skip
    request = Request(kind="constant", settings=settings, runs_dir=tmp_path, state_dir=tmp_path / "state")
    assert unpack_request(pack_request(request)) == request


@pytest.mark.parametrize("line", [b"", b"nonsense", b"[]", b"{}", b'{"devices": 7}'])
def test_a_line_that_is_no_message_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(line)


def test_a_message_reaches_the_parent_whole() -> None:
    message = Message(devices=tuple(GPUS), poke=3, trouble="none", troubles={"A": {"gap": 2}})
    assert unpack(pack(message)) == message

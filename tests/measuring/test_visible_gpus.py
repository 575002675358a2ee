"""What CUDA_VISIBLE_DEVICES names is measured, in whichever form; where that is not clear there is no sum."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import greenrun
from greenrun.core.energy.model import Component, Device
from greenrun.measuring.visible_gpus import chosen, visible
from tests.patience import until

IDS = ("GPU-8f31aaaa-0001", "GPU-8f32bbbb-0002", "GPU-c0ffee00-0003")


def boards(*models: str, mig: Sequence[int] = ()) -> list[Device]:
    """GPUs of these models, those of the indices `mig` split, and a CPU."""
    cpu = Device(id="RAPL-0", index=0, model="CPU", source="rapl", kind=Component.CPU)
    gpus = [
        Device(id=IDS[index], index=index, model=model, source="nvml", mig=index in mig)
        for index, model in enumerate(models)
    ]
    return [cpu, *gpus]


TWINS = boards("A100", "A100", "A100")
UNLIKE = boards("A100", "T4")


@pytest.mark.parametrize(
    ("value", "devices", "indices"),
    [
        ("0", TWINS, [0]),
        ("1", TWINS, [1]),
        ("2,0", TWINS, [0, 2]),
        ("1,-1,0", TWINS, [1]),
        ("GPU-8f31", TWINS, [0]),
        ("GPU-c", TWINS, [2]),
        ("gpu-8f32bbbb-0002", TWINS, [1]),
        (f"{IDS[0]}, GPU-c0ffee", TWINS, [0, 2]),
        ("GPU-8f31", UNLIKE, [0]),
        (f"MIG-{IDS[1]}/7/0", boards("A100", "A100", mig=[0, 1]), [1]),
        ("MIG-0123-4567", boards("A100", "A100", mig=[1]), [1]),
        ("", TWINS, []),
        ("-1", TWINS, []),
    ],
)
def test_the_gpus_that_are_meant_are_found(value: str, devices: Sequence[Device], indices: Sequence[int]) -> None:
    found = chosen(visible({"CUDA_VISIBLE_DEVICES": value}), devices)
    assert found.ids == {IDS[index] for index in indices}
    assert (found.why, found.note is not None) == (None, True)


@pytest.mark.parametrize(
    ("value", "devices", "why"),
    [
        ("0", UNLIKE, "CUDA counts the fastest first, and the GPUs are unlike; set CUDA_DEVICE_ORDER=PCI_BUS_ID"),
        ("GPU-8f3", TWINS, "2 GPUs begin with GPU-8f3"),
        ("GPU-dead", TWINS, "no GPU begins with GPU-dead"),
        ("0,7", TWINS, "there is no GPU 7"),
        ("MIG-0123-4567", boards("A100", "A100", mig=[0, 1]), "a part of any of 2 GPUs that are split"),
    ],
)
def test_what_is_not_clear_is_told_with_what_to_do(value: str, devices: Sequence[Device], why: str) -> None:
    found = chosen(visible({"CUDA_VISIBLE_DEVICES": value}), devices)
    assert (found.ids, why in str(found.why)) == (None, True)


@pytest.mark.parametrize(
    ("environ", "indices"),
    [
        ({}, [0, 1]),
        ({"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, [1]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-8f31", "CUDA_VISIBLE_DEVICES": "7"}, [0]),
    ],
)
def test_the_order_and_the_maker_of_the_gpus_count(environ: Mapping[str, str], indices: Sequence[int]) -> None:
    assert chosen(visible(environ), UNLIKE).ids == {IDS[index] for index in indices}


def test_without_gpus_the_rest_is_measured_whatever_is_named() -> None:
    found = chosen(visible({"CUDA_VISIBLE_DEVICES": "0"}), boards())
    assert (found.ids, found.why) == (frozenset(), None)


@pytest.mark.parametrize(("value", "count", "is_known"), [("1", 1, True), ("0,1", 2, True), ("9", 2, False)])
def test_a_measurement_reads_those_and_has_no_sum_where_it_is_not_clear(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, count: int, is_known: bool
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with greenrun.measure(meter="emulated", cpu_meter="none") as m:
        until(lambda: all(device.energy_j for device in m.so_far().devices))
    assert (len(m.devices), m.energy_j is not None) == (count, is_known)
    assert all(device.energy_j for device in m.devices)
    assert is_known or "there is no GPU 9" in str(m)

"""A run sees the GPUs that it holds and no others, whoever made them; a start that fails leaves nothing open."""

import errno
import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenrun.core.energy.model import Device
from greenrun.core.jobs.job import GpuIds, Run
from greenrun.executors.locks import DeviceLocks
from greenrun.executors.spawn import own_environment, spawn_shim, visible
from tests.api.fakes import stored

NVIDIA = [
    Device(id=f"GPU-{name}", index=index, model="", source="nvml", vendor="nvidia") for index, name in enumerate("ab")
]
UUIDS = ["GPU-00000000000000a1", "GPU-00000000000000b2"]
AMD = [Device(id=name, index=index, model="", source="amd", vendor="amd") for index, name in enumerate(UUIDS)]
NAMELESS = Device(id="abff74a1-0000-1000-80f3-000000000002", index=2, model="", source="amd", vendor="amd")
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def test_nvidias_are_named_by_index_on_request_in_the_order_of_pci_addresses() -> None:
    assert visible(["GPU-b", "GPU-a"], NVIDIA, GpuIds.INDEX) == {"CUDA_VISIBLE_DEVICES": "1,0", **ORDER}
    assert visible([], NVIDIA, GpuIds.INDEX)["CUDA_VISIBLE_DEVICES"] == ""
    assert visible(["GPU-gone"], NVIDIA, GpuIds.INDEX)["CUDA_VISIBLE_DEVICES"] == "GPU-gone"


def test_amds_are_named_alike_whatever_the_form_since_hip_counts_only_those_that_rocm_lets_through() -> None:
    assert visible([UUIDS[1]], AMD, GpuIds.INDEX) == visible([UUIDS[1]], AMD)
    both = visible([UUIDS[1], "GPU-b"], [*AMD, *NVIDIA], GpuIds.INDEX)
    assert (both["CUDA_VISIBLE_DEVICES"], both["HIP_VISIBLE_DEVICES"]) == ("1", "0")


@pytest.mark.parametrize("devices", [NVIDIA, []], ids=["told", "not told"])
def test_nvidias_are_named_by_uuid_and_nothing_is_said_to_roc(devices: list[Device]) -> None:
    assert visible(["GPU-b", "GPU-a"], devices) == {"CUDA_VISIBLE_DEVICES": "GPU-b,GPU-a", **ORDER}


def test_amds_are_named_by_uuid_to_rocm_and_counted_from_0_to_hip_which_sees_only_those() -> None:
    assert visible([UUIDS[1]], AMD) == {
        "ROCR_VISIBLE_DEVICES": UUIDS[1], "HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "0", **ORDER,
    }  # fmt: skip
    both = visible(UUIDS, AMD)
    assert (both["ROCR_VISIBLE_DEVICES"], both["HIP_VISIBLE_DEVICES"]) == (",".join(UUIDS), "0,1")


def test_one_without_a_uuid_that_rocm_takes_is_named_by_its_index() -> None:
    assert visible([NAMELESS.id, UUIDS[0]], [*AMD, NAMELESS])["ROCR_VISIBLE_DEVICES"] == f"2,{UUIDS[0]}"


def test_a_run_without_gpus_sees_none_of_anybodys() -> None:
    assert visible([], [*AMD, *NVIDIA]) == {
        "ROCR_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "-1", "CUDA_VISIBLE_DEVICES": "", **ORDER,
    }  # fmt: skip


def test_on_a_host_of_both_each_is_named_to_its_own() -> None:
    assert visible([UUIDS[0], "GPU-a"], [*AMD, *NVIDIA]) == {
        "ROCR_VISIBLE_DEVICES": UUIDS[0], "HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "GPU-a", **ORDER,
    }  # fmt: skip


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def open_now() -> set[str]:
    return {str(link) for link in Path("/proc/self/fd").iterdir() if link.exists()}


@pytest.mark.parametrize("call", ["memfd_create", "pipe", "lseek", "posix_spawn"])
def test_a_start_without_descriptors_leaves_none_open(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    before = open_now()
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="Too many open files"):
        spawn_shim({"token": "t"}, [], "1.1")
    assert open_now() == before


def test_a_lock_that_the_file_system_refuses_leaves_none_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_now()
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Too many"), DeviceLocks(tmp_path).held(["gpu"], {}):
        pass
    assert open_now() == before


def test_an_interruptible_job_is_told_how_it_is_asked_to_checkpoint_and_others_are_not() -> None:
    run = Run(id=1, job_id=1, number=1, token="t", devices=(), claimed_at=datetime(2026, 3, 3, tzinfo=UTC))
    told = [
        {name.removeprefix("GREENRUN_CHECKPOINT_"): value for name, value in variables.items() if "CHECKPOINT_" in name}
        for job in (stored(1), stored(1, interruptible=True, checkpoint_signal="USR2", checkpoint_exit_code=7))
        for variables in [own_environment(run, job, Path("/r"), Path("/c"))]
    ]
    assert told == [{"DIR": "/c"}, {"DIR": "/c", "SIGNAL": "USR2", "EXIT_CODE": "7"}]

"""Parts of boards on this machine: who locks what, which files an instance is used through, and what programs see."""

from pathlib import Path

import pytest

from greenrun.core.energy.gpu_parts import instance_of, slots_of
from greenrun.core.energy.model import Device
from greenrun.core.errors import DeviceBusy, ExecutorError
from greenrun.core.jobs.spec import GpuIds
from greenrun.executors.locks import DeviceLocks
from greenrun.executors.spawn import visible
from greenrun.executors.units.device_nodes import nodes_of

BOARD = Device(id="GPU-a", index=3, model="A100", source="nvml", vendor="nvidia")
_, FIRST, SECOND = slots_of(BOARD, 2)
PART = instance_of(
    BOARD, "MIG-x", number=0, profile="2g.20gb", slices=(2, 7), memory_bytes=20 << 30, instance=(4, 0)
)  # fmt: skip


def test_parts_are_held_side_by_side_and_keep_the_board_from_others(tmp_path: Path) -> None:
    ours, theirs = DeviceLocks(tmp_path), DeviceLocks(tmp_path)
    with ours.held([FIRST.id], {"run": "1.1"}), theirs.held([SECOND.id], {"run": "2.1"}):
        assert theirs.held_by_others([FIRST.id, SECOND.id, BOARD.id]).keys() == {FIRST.id, SECOND.id, BOARD.id}
        with pytest.raises(DeviceBusy, match=r"run 1\.1"), theirs.held([BOARD.id], {}):
            pass
    assert theirs.held_by_others([FIRST.id, SECOND.id, BOARD.id]) == {}


def test_a_board_that_is_held_keeps_its_parts_from_others(tmp_path: Path) -> None:
    ours, theirs = DeviceLocks(tmp_path), DeviceLocks(tmp_path)
    with ours.held([BOARD.id], {"run": "1.1"}):
        assert theirs.held_by_others([FIRST.id, "GPU-b"]).keys() == {FIRST.id}
        with pytest.raises(DeviceBusy), theirs.held([FIRST.id], {}):
            pass


@pytest.mark.parametrize("gpu_ids", list(GpuIds))
def test_an_instance_is_named_by_its_uuid_and_a_slot_by_its_board(gpu_ids: GpuIds) -> None:
    there = [BOARD, FIRST, SECOND, PART]
    assert visible([PART.id], there, gpu_ids)["CUDA_VISIBLE_DEVICES"] == "MIG-x"
    expected = "3" if gpu_ids is GpuIds.INDEX else "GPU-a"
    assert visible([FIRST.id], there, gpu_ids)["CUDA_VISIBLE_DEVICES"] == expected


def played(root: Path, minors: str) -> Path:
    """The driver's files in /proc: the board has the minor number 1."""
    for name, text in (
        ("driver/nvidia/gpus/0000:01/information", "GPU UUID: \t GPU-a\nDevice Minor: \t 1\n"),
        ("driver/nvidia-caps/mig-minors", minors),
    ):
        path = root / "proc" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return root


MINORS = "config 1\nmonitor 2\ngpu0/gi4/access 9\ngpu1/gi4/access 39\ngpu1/gi4/ci0/access 40\ngpu1/gi5/access 48\n"


def test_an_instance_has_the_boards_file_and_its_own_two(tmp_path: Path) -> None:
    nodes = nodes_of([PART.id], [BOARD, PART], played(tmp_path, MINORS))
    own = [node for node in nodes if node.startswith("/dev/nvidia1") or "caps" in node]
    assert own == ["/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap39", "/dev/nvidia-caps/nvidia-cap40"]


def test_a_slot_has_the_boards_file(tmp_path: Path) -> None:
    nodes = nodes_of([SECOND.id], [BOARD, FIRST, SECOND], played(tmp_path, MINORS))
    assert "/dev/nvidia1" in nodes
    assert not any("caps" in node for node in nodes)


@pytest.mark.parametrize("minors", ["", "gpu1/gi4/access 39\n", "gpu0/gi4/access 1\ngpu0/gi4/ci0/access 2\n"])
def test_an_instance_whose_files_cannot_be_told_is_not_given(tmp_path: Path, minors: str) -> None:
    with pytest.raises(ExecutorError, match="mig-minors names no"):
        nodes_of([PART.id], [BOARD, PART], played(tmp_path, minors))

"""The device files through which GPUs are used: each GPU's own, and those that all GPUs of its maker share."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from greenrun.core.energy.gpu_parts import board_of
from greenrun.core.energy.model import Device
from greenrun.core.errors import ExecutorError

NVIDIA_SHARED = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
AMD_SHARED = ("/dev/kfd",)
_MIG_MINORS = "proc/driver/nvidia-caps/mig-minors"
_MINOR = re.compile(r"^Device Minor:\s*(\d+)\s*$", re.MULTILINE)
_UUID = re.compile(r"^GPU UUID:\s*(\S+)\s*$", re.MULTILINE)


def nodes_of(held: Sequence[str], devices: Iterable[Device], root: Path = Path("/")) -> list[str]:
    """Return the device files of the GPUs that are held, by id; none without a GPU. Raise ExecutorError.

    What cannot be told is refused rather than guessed: a wrong file would be another one's GPU.
    """
    there = {device.id: device for device in devices}
    found: list[str] = []
    for name in held:
        device = there.get(name)
        if device is None:
            raise ExecutorError(f"the GPU {name} is not there any more, so nothing was started; see greenrun devices")
        found += _of_amd(device, root) if device.vendor == "amd" else _of_nvidia(device, root)
    return list(dict.fromkeys(found))


def _of_nvidia(device: Device, root: Path) -> list[str]:
    """Return the files of one of NVIDIA's GPUs, or of one that an emulation counts like theirs."""
    minors = _minors(root)
    minor = minors.get(board_of(device.id)) if minors else device.index
    if minor is None:
        raise ExecutorError(
            f"which device file the GPU {device.id} has cannot be told from /proc/driver/nvidia/gpus, so nothing was "
            "started; see that the driver is loaded as a whole (nvidia-smi)"
        )
    of_instance = _of_instance(device, minor, root) if device.part and device.mig and not device.emulated else []
    return [*NVIDIA_SHARED, f"/dev/nvidia{minor}", *of_instance]


def _of_instance(device: Device, minor: int, root: Path) -> list[str]:
    """Return the files by which the driver lets a process use one MIG instance of a board, and no other."""
    told = _caps(root)
    gpu, compute = device.instance or (-1, -1)
    wanted = (f"gpu{minor}/gi{gpu}/access", f"gpu{minor}/gi{gpu}/ci{compute}/access")
    if missing := next((name for name in wanted if name not in told), None):
        raise ExecutorError(
            f"which device files the MIG instance {device.id} has cannot be told: {_MIG_MINORS} names no {missing}, so "
            "nothing was started; see that the instance is still there (nvidia-smi -L), then start greenrun again"
        )
    return [f"/dev/nvidia-caps/nvidia-cap{told[name]}" for name in wanted]


def _caps(root: Path) -> Mapping[str, int]:
    """Return the number of the file that stands for each right on MIG instances, as `gpu0/gi1/ci0/access`."""
    try:
        lines = (root / _MIG_MINORS).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    rows = (line.split() for line in lines)
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}


def _minors(root: Path) -> Mapping[str, int]:
    """Return the number of each GPU's file by UUID, as NVIDIA's driver says; empty where there is no driver."""
    found = {}
    for path in (root / "proc/driver/nvidia/gpus").glob("*/information"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        uuid, minor = _UUID.search(text), _MINOR.search(text)
        if uuid and minor:
            found[uuid[1]] = int(minor[1])
    return found


def _of_amd(device: Device, root: Path) -> list[str]:
    """Return the files of one of AMD's GPUs: its render node is found by its unique id."""
    wanted = board_of(device.id).removeprefix("GPU-").lower()
    for node in sorted((root / "sys/class/drm").glob("renderD*")):
        try:
            unique = (node / "device/unique_id").read_text(encoding="ascii", errors="replace").strip().lower()
        except OSError:
            continue
        if unique == wanted:
            cards = sorted(path.name for path in (node / "device/drm").glob("card*"))
            return [*AMD_SHARED, f"/dev/dri/{node.name}", *(f"/dev/dri/{card}" for card in cards)]
    raise ExecutorError(
        f"which device file the GPU {device.id} has cannot be told from /sys/class/drm, so nothing was started; "
        "a card without a unique id cannot be given to one job alone"
    )

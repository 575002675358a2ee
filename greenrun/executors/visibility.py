"""What a run's environment says of the GPUs it may use: each vendor's programs look at variables of their own."""

import re
from collections.abc import Iterable, Sequence

from greenrun.core.energy.model import Device

NO_GPU = "-1"  # what HIP reads as "none"; an empty text it reads as "not set"
_ROCR_UUID = re.compile(r"GPU-[0-9a-f]{16}")


def visible(held: Sequence[str], devices: Iterable[Device]) -> dict[str, str]:
    """Return the variables by which programs see those of `devices` that are `held` (by id), and no others.

    ROCm's runtime hides AMD's GPUs first, by UUID or else by index; HIP, which knows indices alone, then counts what
    is left from 0. Where no GPU is AMD's, nothing is said of it.
    """
    amds = {device.id: device for device in devices if device.vendor == "amd"}
    if not amds:
        return {"CUDA_VISIBLE_DEVICES": ",".join(held), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    mine = [amds[name] for name in held if name in amds]
    counted = ",".join(str(number) for number in range(len(mine)))
    others = [name for name in held if name not in amds]
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(others) or counted,  # HIP reads this too
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "ROCR_VISIBLE_DEVICES": ",".join(_rocr_name(device) for device in mine),
        "HIP_VISIBLE_DEVICES": counted or NO_GPU,
    }


def _rocr_name(device: Device) -> str:
    return device.id if _ROCR_UUID.fullmatch(device.id) else str(device.index)

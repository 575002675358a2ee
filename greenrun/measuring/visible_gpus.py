"""Tell which GPUs a process sees by CUDA_VISIBLE_DEVICES or ROCR_VISIBLE_DEVICES, as those libraries read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from greenrun.core.energy.model import Device, every_gpu

CUDA, ROCR, ORDER = "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"
_PARENT = "MIG-GPU-"  # the older name of a part: MIG-GPU-UUID/INSTANCE/INSTANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class VisibleGpus:
    """What a variable names: numbers, UUIDs or their first letters, parts (MIG). `is_pci_order`: by PCI address."""

    variable: str
    text: str
    names: tuple[str, ...]
    is_pci_order: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenGpus:
    """The ids of the GPUs that are meant, and a `note` that tells so; None where that is not clear, with why."""

    ids: frozenset[str] | None
    note: str | None = None
    why: str | None = None


def visible(environ: Mapping[str, str]) -> VisibleGpus | None:
    """Return what the environment names; None where it leaves all GPUs to this process.

    Where ROCm's variable names GPUs, CUDA numbers those from 0 again. What stands behind a -1 is not seen either.
    """
    variable = ROCR if environ.get(ROCR) else CUDA
    text = environ.get(variable)
    if text is None:
        return None
    named = (name.strip() for name in text.split(",") if name.strip())
    names = tuple(takewhile(lambda name: not name.startswith("-"), named))
    return VisibleGpus(variable=variable, text=text, names=names, is_pci_order=environ.get(ORDER) == "PCI_BUS_ID")


def chosen(seen: VisibleGpus | None, devices: Sequence[Device]) -> ChosenGpus:
    """Return which of the devices are meant, in the order of PCI addresses, as drivers list them."""
    there = every_gpu(devices)
    if seen is not None and not seen.names:
        return ChosenGpus(ids=frozenset(), note=f"{seen.variable} names no GPU, so none is measured")
    if seen is None or not there:
        return ChosenGpus(ids=frozenset(device.id for device in there))
    found = [_meant(name, seen, there) for name in seen.names]
    unclear = [each for each in found if isinstance(each, str)]
    if unclear:
        why = f"{seen.variable}={seen.text} does not tell which GPUs are meant: {unclear[0]}"
        return ChosenGpus(ids=None, why=f"{why}; each of them is listed, and name them by UUID for a sum")
    meant = [device for device in found if isinstance(device, Device)]
    parts = any(name.startswith("MIG-") for name in seen.names)
    whole = "; a part (MIG) is measured with its whole GPU, as drivers tell no other energy" if parts else ""
    note = f"of the GPUs, those that {seen.variable} names are measured{whole}"
    return ChosenGpus(ids=frozenset(device.id for device in meant), note=note)


def _meant(name: str, seen: VisibleGpus, there: Sequence[Device]) -> Device | str:
    """Return the GPU that a name means, or why that is not clear."""
    if name.isdigit():
        return _numbered(int(name), seen, there)
    if name.startswith("MIG-") and not name.startswith(_PARENT):
        split = [device for device in there if device.mig]
        return split[0] if len(split) == 1 else f"{name} may be a part of any of {len(split)} GPUs that are split"
    wanted = name.removeprefix("MIG-").partition("/")[0]
    fitting = [device for device in there if device.id.lower().startswith(wanted.lower())]
    exact = [device for device in fitting if device.id.lower() == wanted.lower()]
    fitting = exact or fitting
    if len(fitting) == 1:
        return fitting[0]
    return f"{len(fitting)} GPUs begin with {name}" if fitting else f"no GPU begins with {name}"


def _numbered(number: int, seen: VisibleGpus, there: Sequence[Device]) -> Device | str:
    """Return the GPU of a number: CUDA counts the fastest first, which among equal ones is the order of the driver."""
    found = next((device for device in there if device.index == number), None)
    if found is None:
        return f"there is no GPU {number}"
    if not seen.is_pci_order and len({device.model for device in there}) > 1:
        return f"CUDA counts the fastest first, and the GPUs are unlike; set {ORDER}=PCI_BUS_ID"
    return found

"""The names by which settings mean a GPU: its index, its id or the beginning of one, its address on the bus."""

from collections.abc import Sequence

from greenrun.core.energy.gpu_parts import board_of, driver_name, parts_within
from greenrun.core.energy.model import Device, every_gpu

LEAST_LETTERS = 5  # of an id: fewer would name any GPU


def named(name: str, devices: Sequence[Device]) -> list[Device]:
    """Return the GPU that an index, a UUID, the beginning of one or a PCI address names; none where it names none.

    A part of one is named in full: as people call it (`0/slot-1`), by its id, or by the UUID of the MIG instance.
    """
    there, wanted = every_gpu(devices), name.strip().lower()
    exact = [device for device in there if wanted in (device.name, device.id.lower(), _instance_name(device))]
    whole = [device for device in there if not device.part]
    exact = exact or [device for device in whole if device.pci and _pci(device.pci) == _pci(wanted)]
    begins = [device for device in whole if len(wanted) >= LEAST_LETTERS and device.id.lower().startswith(wanted)]
    exact = exact or (begins if len(begins) == 1 else [])
    return exact or [device for device in there if device.part and _is_on(device, wanted)]


def _is_on(part: Device, wanted: str) -> bool:
    """Tell whether the board that a part is of has this name, of which there are only parts here."""
    board = board_of(part.id).lower()
    is_begin = len(wanted) >= LEAST_LETTERS and "/" not in wanted and board.startswith(wanted)
    return wanted == str(part.index) or is_begin or bool(part.pci and _pci(part.pci) == _pci(wanted))


def offered(chosen: Sequence[Device], devices: Sequence[Device]) -> list[Device]:
    """Return these GPUs as they are leased: a board that is divided as its parts."""
    rows = ([device, *parts_within(device.id, devices)] if device.is_divided else [device] for device in chosen)
    return list({device.id: device for row in rows for device in row if not device.is_divided}.values())


def _instance_name(device: Device) -> str | None:
    return driver_name(device.id).lower() if device.part and device.mig else None


def names_text(devices: Sequence[Device]) -> str:
    """Say which GPUs there are, by all their names."""
    said = (
        f"{device.name} ({device.id}{f', at {device.pci}' if device.pci and not device.part else ''})"
        for device in every_gpu(devices)
    )
    return "; ".join(said) or "none"


def _pci(address: str) -> str:
    """Return an address on the bus without the domain 0: drivers write it with four digits, with eight, or not."""
    domain, _, bus = address.lower().rpartition(":")[0].rpartition(":")
    return f"{domain.lstrip('0')}:{bus}:{address.lower().rpartition(':')[2]}"

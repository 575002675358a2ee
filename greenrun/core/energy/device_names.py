"""The names by which settings mean a GPU: its index, its id or the beginning of one, its address on the bus."""

from collections.abc import Sequence

from greenrun.core.energy.model import Device, every_gpu

LEAST_LETTERS = 5  # of an id: fewer would name any GPU


def named(name: str, devices: Sequence[Device]) -> list[Device]:
    """Return the GPU that an index, a UUID, the beginning of one or a PCI address names; none where it names none."""
    there, wanted = every_gpu(devices), name.strip().lower()
    exact = [device for device in there if wanted in (str(device.index), device.id.lower())]
    exact = exact or [device for device in there if device.pci and _pci(device.pci) == _pci(wanted)]
    begins = [device for device in there if len(wanted) >= LEAST_LETTERS and device.id.lower().startswith(wanted)]
    return exact or (begins if len(begins) == 1 else [])


def names_text(devices: Sequence[Device]) -> str:
    """Say which GPUs there are, by all their names."""
    said = (
        f"{device.index} ({device.id}{f', at {device.pci}' if device.pci else ''})" for device in every_gpu(devices)
    )
    return "; ".join(said) or "none"


def _pci(address: str) -> str:
    """Return an address on the bus without the domain 0: drivers write it with four digits, with eight, or not."""
    domain, _, bus = address.lower().rpartition(":")[0].rpartition(":")
    return f"{domain.lstrip('0')}:{bus}:{address.lower().rpartition(':')[2]}"

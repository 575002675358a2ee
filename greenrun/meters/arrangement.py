"""What a site makes of the devices that a meter has: which GPUs are kept from jobs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from greenrun.core.energy.model import Device, every_gpu
from greenrun.meters.settings import MeterSettings

LEAST_LETTERS = 5  # of an id: fewer would name any GPU


def arranged(devices: Sequence[Device], settings: MeterSettings) -> tuple[Device, ...]:
    """Return the devices with the GPUs that the settings keep from jobs marked as such."""
    names = {device.id: name for name in settings.exclude for device in named(name, devices)}
    booked = settings.excluded_energy == "idle"
    return tuple(
        replace(device, excluded=names[device.id], booked=booked) if device.id in names else device
        for device in devices
    )


def named(name: str, devices: Sequence[Device]) -> list[Device]:
    """Return the GPU that an index, a UUID, the beginning of one or a PCI address names; none where it names none."""
    there, wanted = every_gpu(devices), name.strip().lower()
    exact = [device for device in there if wanted in (str(device.index), device.id.lower())]
    exact = exact or [device for device in there if device.pci and _pci(device.pci) == _pci(wanted)]
    begins = [device for device in there if len(wanted) >= LEAST_LETTERS and device.id.lower().startswith(wanted)]
    return exact or (begins if len(begins) == 1 else [])


def _pci(address: str) -> str:
    """Return an address on the bus without the domain 0: drivers write it with four digits, with eight, or not."""
    domain, _, rest = address.lower().rpartition(":")[0].rpartition(":")
    bus = rest or domain
    where = address.lower().rpartition(":")[2]
    number = domain.lstrip("0") if rest else ""
    return f"{number}:{bus}:{where}"


def not_there(devices: Sequence[Device], settings: MeterSettings) -> Iterator[str]:
    """Yield a sentence for each name in the settings that is no GPU's now: one that comes later has it."""
    there = "; ".join(_known(device) for device in every_gpu(devices)) or "none"
    for name in settings.exclude:
        if not named(name, devices):
            yield (
                f"devices.exclude names {name}, which is no GPU of this machine now; it has {there}. "
                "Should one of that name come, no job gets it"
            )


def _known(device: Device) -> str:
    return f"{device.index} ({device.id}{f', at {device.pci}' if device.pci else ''})"

"""What a site makes of the devices that a meter has: which GPUs are kept from jobs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from greenrun.core.energy.device_names import named, names_text
from greenrun.core.energy.model import Device
from greenrun.meters.settings import MeterSettings


def arranged(devices: Sequence[Device], settings: MeterSettings) -> tuple[Device, ...]:
    """Return the devices with the GPUs that the settings keep from jobs marked as such."""
    names = {device.id: name for name in settings.exclude for device in named(name, devices)}
    booked = settings.excluded_energy == "idle"
    return tuple(
        replace(device, excluded=names[device.id], booked=booked) if device.id in names else device
        for device in devices
    )


def not_there(devices: Sequence[Device], settings: MeterSettings) -> Iterator[str]:
    """Yield a sentence for each name in the settings that is no GPU's now: one that comes later has it."""
    for name in settings.exclude:
        if not named(name, devices):
            yield (
                f"devices.exclude names {name}, which is no GPU of this machine now; it has {names_text(devices)}. "
                "Should one of that name come, no job gets it"
            )

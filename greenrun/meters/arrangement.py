"""What a site makes of the devices that a meter has: which GPUs are shared in slots, or kept from jobs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from greenrun.core.energy.device_names import named, names_text
from greenrun.core.energy.gpu_parts import board_of, parts_within, slots_of
from greenrun.core.energy.model import Device
from greenrun.meters.settings import MeterSettings


def arranged(devices: Sequence[Device], settings: MeterSettings) -> tuple[Device, ...]:
    """Return the devices with the boards divided that the settings share, and those marked that they keep from jobs.

    What is said of a board holds for its parts. A board that MIG divides already is not divided again.
    """
    counts = {device.id: count for name, count in settings.shared.items() for device in named(name, devices)}
    there = [
        part
        for device in devices
        for part in (slots_of(device, counts[device.id]) if _may_be_shared(device, counts) else [device])
    ]
    names = {device.id: name for name in settings.exclude for device in named(name, there)}
    booked = settings.excluded_energy == "idle"
    return tuple(_excluded(device, names, booked=booked) for device in there)


def _may_be_shared(device: Device, counts: Mapping[str, int]) -> bool:
    return device.id in counts and device.within is None and not device.is_divided


def _excluded(device: Device, names: Mapping[str, str], *, booked: bool) -> Device:
    """Return a device marked as excluded if it is, or its board; only a board's energy may be kept out of the books."""
    by_board = names.get(board_of(device.id))
    name = by_board if by_board is not None else names.get(device.id)
    return device if name is None else replace(device, excluded=name, booked=booked or by_board is None)


def not_there(devices: Sequence[Device], settings: MeterSettings) -> Iterator[str]:
    """Yield a sentence for each name in the settings that is no GPU's now, or a GPU's that cannot be as they say."""
    there = arranged(devices, settings)
    for name in settings.exclude:
        if not named(name, there):
            yield (
                f"devices.exclude names {name}, which is no GPU of this machine now; it has {names_text(there)}. "
                "Should one of that name come, no job gets it"
            )
    for name, count in settings.shared.items():
        found = named(name, devices)
        if not found:
            yield (
                f"devices.shared names {name}, which is no GPU of this machine now; it has {names_text(devices)}. "
                f"Should one of that name come, it is offered as {count} slots"
            )
        for device in found:
            if device.within is not None or (device.is_divided and not _slots(device, there)):
                yield f"devices.shared names {name}, which is divided by its driver already, so it has no slots"


def _slots(board: Device, there: Sequence[Device]) -> bool:
    return any(not part.mig for part in parts_within(board.id, there))

"""Which of the devices that a meter finds are the ones that the settings name."""

from collections.abc import Sequence

from greenrun.core.energy.model import Device
from greenrun.core.errors import MeterError


def included(devices: Sequence[Device], include: Sequence[str | int]) -> list[Device]:
    """Return the devices named by id or index (all when nothing is named); raise MeterError when one is not there."""
    if not devices:
        raise MeterError("The meter has no devices; give it some, or choose the meter none.")
    names = [{device.id, str(device.index)} for device in devices]
    missing = [wanted for wanted in include if not any(str(wanted) in each for each in names)]
    if missing:
        there = ", ".join(f"{device.index} ({device.id})" for device in devices)
        raise MeterError(f"The meter has no device {missing[0]}; name one of {there}, or leave include empty for all.")
    wanted = {str(one) for one in include}
    return [device for device, each in zip(devices, names, strict=True) if not wanted or wanted & each]

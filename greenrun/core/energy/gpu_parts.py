"""Parts of a GPU that are leased like GPUs of their own: slots of a shared board, and MIG instances.

A part's id tells the board and how much of it the part is, so that books and reports of any time know both:
`GPU-…/slot-1-of-4` is a quarter of its board, `GPU-…/MIG-…-2-of-7` has two of its seven compute slices.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import fsum

from greenrun.core.energy.model import Device

MOST_SLOTS = 64
_SLOT = re.compile(r"slot-\d+-of-(\d+)")
_INSTANCE = re.compile(r"(.+)-(\d+)-of-(\d+)")
_PROFILE = re.compile(r"\b(\d+c\.)?\d+g\.\d+gb", re.IGNORECASE)


def board_of(device: str) -> str:
    """Return the id of the board that a device is a part of; a whole one is its own board."""
    return device.partition("/")[0]


def is_part(device: str) -> bool:
    """Tell whether an id is that of a part."""
    return "/" in device


def share_of(device: str) -> float:
    """Return how much of its board a device is: 1 for a whole one."""
    part = device.partition("/")[2]
    if slot := _SLOT.fullmatch(part):
        return 1.0 / max(1, int(slot[1]))
    if found := _INSTANCE.fullmatch(part):
        return min(1.0, max(1, int(found[2])) / max(1, int(found[3])))
    return 1.0


def weight_of(devices: Iterable[str]) -> float:
    """Return how many boards these devices are, parts counted as such."""
    return fsum(map(share_of, devices))


def driver_name(device: str) -> str:
    """Return the name that a driver knows a device by: a slot's is its board's, an instance has one of its own."""
    board, _, part = device.partition("/")
    found = None if _SLOT.fullmatch(part) else _INSTANCE.fullmatch(part)
    return found[1] if found else board


def excludes(one: str, other: str) -> bool:
    """Tell whether two devices cannot be leased at once: the same, or a board and a part of it."""
    return one == other or (board_of(one) == board_of(other) and is_part(one) != is_part(other))


def taken_with(devices: Iterable[str], there: Iterable[str]) -> set[str]:
    """Return which of the devices that are there cannot be leased while these are."""
    held = set(devices)
    boards = {board_of(device) for device in held if is_part(device)}
    return {device for device in there if device in held or device in boards or board_of(device) in held}


def slots_of(board: Device, count: int) -> list[Device]:
    """Return a board that is offered as so many slots, and the slots; none of its memory or power is kept apart."""
    memory, power_w = board.memory_bytes, board.power_w
    slots = [
        replace(
            board,
            id=f"{board.id}/slot-{number}-of-{count}",
            part=f"slot-{number}",
            of_board=f"slot of {count}",
            within=board.id,
            memory_bytes=None if memory is None else memory // count,
            power_w=None if power_w is None else power_w / count,
        )
        for number in range(1, count + 1)
    ]
    return [replace(board, is_divided=True), *slots]


def instances_of(board: Device, instances: Sequence[Device]) -> list[Device]:
    """Return a board in MIG mode and its instances, each with the power limit of its share of the board."""
    power_w = board.power_w
    parts = [replace(one, power_w=None if power_w is None else power_w * share_of(one.id)) for one in instances]
    return [replace(board, mig=True, is_divided=True), *parts]


def instance_of(
    board: Device,
    uuid: str,
    *,
    number: int,
    profile: str,
    slices: tuple[int, int],
    memory_bytes: int | None,
    instance: tuple[int, int] | None = None,
) -> Device:
    """Return a MIG instance: the `number`th of its board, with so many of the board's compute slices.

    `instance` are the numbers of its GPU instance and compute instance, which its device files go by.
    """
    own, all_of_them = slices
    return replace(
        board,
        id=f"{board.id}/{uuid}-{own}-of-{all_of_them}",
        part=f"mig-{number}",
        of_board=profile,
        model=f"{board.model} {profile}",
        within=board.id,
        memory_bytes=memory_bytes,
        mig=True,
        is_divided=False,
        instance=instance,
    )


def slices_of(profile: str) -> int | None:
    """Return how many compute slices a profile has: 2 for `2g.20gb`, and for `1c.2g.20gb`, of which it is one, 1."""
    found = re.match(r"(?:(\d+)c\.)?(\d+)g\.", profile)
    return int(found[1] or found[2]) if found else None


def names_profile(model: str | None) -> bool:
    """Tell whether a model of GPU that a job asks for names the profile of a MIG instance: `A100 1g.10gb` does."""
    return model is not None and _PROFILE.search(model) is not None


def parts_within(board: str, devices: Iterable[Device]) -> list[Device]:
    """Return the parts of a board that are leased like GPUs."""
    return [device for device in devices if device.part and device.within == board]

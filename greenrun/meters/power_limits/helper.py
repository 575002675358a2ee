"""The program that sets power limits: it reads one request, does it through the drivers, answers, and ends.

The daemon starts it as a child where nothing keeps it from that right; a driver refuses it to a user's daemon. Where
the daemon is kept from it, systemd starts it for each connection to a socket that is root's alone, with `--service`:
it then touches real GPUs only, and all that a request can have it do is set a limit within a GPU's bounds.
"""

import socket
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from greenrun.core.energy.power_limit import LimitAnswer, LimitChange, LimitFault, LimitFaultKind, LimitReading, is_same
from greenrun.core.errors import MeterError
from greenrun.meters.gpu.driver import PowerLimitError
from greenrun.meters.power_limits.limit_exchange import MOST_BYTES, emulated_in, pack_answers, unpack_changes

REFUSED = 3  # exit code


class LimitDriver(Protocol):
    """What power limits are read and set through."""

    def power_limit(self, device: str) -> LimitReading:
        """Return a device's limit; raise PowerLimitError."""

    def set_power_limit(self, device: str, limit_w: float) -> None:
        """Set it; raise PowerLimitError."""


@dataclass(frozen=True, slots=True)
class _Emulated:
    """The emulated GPUs of a state folder; `busy_w` is what each draws while busy."""

    limits: Any
    busy_w: float

    def power_limit(self, device: str) -> LimitReading:
        reading: LimitReading = self.limits.power_limit(device, self.busy_w)
        return reading

    def set_power_limit(self, device: str, limit_w: float) -> None:
        self.limits.set_power_limit(device, limit_w)


def open_nvml() -> LimitDriver:
    """Open NVIDIA's driver; raise MeterError."""
    from greenrun.meters.gpu import nvidia  # only these GPUs need its library

    nvidia.open_driver()
    return nvidia


def open_amd() -> LimitDriver:
    """Open AMD's driver; raise MeterError."""
    from greenrun.meters.gpu.amd import AmdDriver

    driver = AmdDriver()
    driver.open_driver()
    return driver


def open_emulated(state_dir: Path, busy_w: float) -> LimitDriver:
    """Open the limits of emulated GPUs, whose state is in this folder."""
    from greenrun.meters.emulation.emulated_limits import EmulatedLimits

    return _Emulated(EmulatedLimits(state_dir), busy_w)


REAL: Mapping[str, Callable[[], LimitDriver]] = {"nvml": open_nvml, "amd": open_amd}


def answer(request: bytes, *, is_service: bool = False) -> bytes:
    """Do what a request asks and return the answers; raise ValueError for what is no request."""
    changes = unpack_changes(request)
    drivers: dict[str, LimitDriver | LimitFault] = {}
    answers: dict[str, LimitAnswer] = {}
    for change in changes:
        if change.source not in drivers:
            drivers[change.source] = _opened(change.source, request, is_service)
        driver = drivers[change.source]
        answers[change.device] = driver if isinstance(driver, LimitFault) else _done(driver, change)
    return pack_answers(answers)


def _opened(source: str, request: bytes, is_service: bool) -> LimitDriver | LimitFault:
    emulated = None if is_service else emulated_in(request)
    try:
        if source == "emulated" and emulated:
            return open_emulated(*emulated)
        if source in REAL:
            return REAL[source]()
    except MeterError as exc:
        return LimitFault(kind=LimitFaultKind.UNREACHABLE, why=str(exc).rstrip("."))
    return LimitFault(kind=LimitFaultKind.UNSUPPORTED, why=f"GPUs of the meter {source} have no power limit to be set")


def _done(driver: LimitDriver, change: LimitChange) -> LimitAnswer:
    """Set a limit if it is what the daemon thinks, and read it back."""
    try:
        found = driver.power_limit(change.device)
        if change.limit_w is None:
            return found
        if change.expected_w is not None and not is_same(found.limit_w, change.expected_w):
            why = f"it is {found.limit_w:g} W by now, not {change.expected_w:g} W: somebody else has changed it"
            return LimitFault(kind=LimitFaultKind.CHANGED, why=why, limit_w=found.limit_w)
        driver.set_power_limit(change.device, max(found.least_w, min(change.limit_w, found.most_w)))
        kept = driver.power_limit(change.device)
    except PowerLimitError as exc:
        return LimitFault(kind=exc.kind, why=str(exc).rstrip("."))
    if not is_same(kept.limit_w, max(found.least_w, min(change.limit_w, found.most_w))):
        why = f"it was set to {change.limit_w:g} W and reads {kept.limit_w:g} W"
        return LimitFault(kind=LimitFaultKind.NOT_KEPT, why=why, limit_w=kept.limit_w)
    return kept


def main(arguments: list[str]) -> int:
    """Answer one request; return REFUSED for what is none, or comes from somebody who is not root."""
    is_service = "--service" in arguments
    if is_service and not _is_root_at_the_other_end():
        return REFUSED
    request = sys.stdin.buffer.readline(MOST_BYTES)
    try:
        answered = answer(request, is_service=is_service)
    except ValueError as exc:
        print(exc, file=sys.stderr)
        return REFUSED
    sys.stdout.buffer.write(answered)
    sys.stdout.buffer.flush()
    return 0


def _is_root_at_the_other_end() -> bool:
    """Whether standard input is a socket that root has connected to, by the kernel's word."""
    try:
        with socket.socket(fileno=socket.dup(0)) as peer:
            told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return False
    return bool(struct.unpack("3i", told)[1] == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

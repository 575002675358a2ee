"""Read and set the power limits of this host's GPUs, with the rights that greenrun has, without waiting for long."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from greenrun.core.energy.power_limit import LimitAnswer, LimitChange, LimitFault, LimitFaultKind
from greenrun.limited_process import run_limited
from greenrun.meters.power_limits.limit_exchange import MOST_BYTES, pack_changes, unpack_answers

LIMIT_S = 5.0  # for all devices of a driver; a tick waits for this
COMMAND = (sys.executable, "-P", "-m", "greenrun.meters.power_limits.helper")
SERVICE = Path("/run/greenrun-power-limit.socket")  # of the unit greenrun-power-limit.socket
SETTABLE = ("nvml", "amd", "emulated")  # meters whose GPUs may have a power limit that can be set


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPowerLimits:
    """A `ports.PowerLimits`. `busy_w` is what an emulated GPU draws; their limits are kept in `state_dir`.

    `service` is the socket of the helper that has the right to set limits where this process has not.
    """

    state_dir: Path
    busy_w: float
    service: Path = SERVICE
    command: Sequence[str] = COMMAND
    limit_s: float = LIMIT_S

    def change(self, changes: Sequence[LimitChange]) -> Mapping[str, LimitAnswer]:
        """See `ports.PowerLimits.change`."""
        answers: dict[str, LimitAnswer] = {}
        for source in dict.fromkeys(change.source for change in changes):
            answers |= self._of_source(source, [change for change in changes if change.source == source])
        return answers

    def _of_source(self, source: str, changes: Sequence[LimitChange]) -> Mapping[str, LimitAnswer]:
        if source not in SETTABLE:
            why = f"GPUs of the meter {source} have no power limit that can be set"
            return _all(changes, LimitFaultKind.UNSUPPORTED, why)
        packed = pack_changes(changes, (self.state_dir, self.busy_w) if source == "emulated" else None)
        try:
            told = None if source == "emulated" else self._asked_of_service(packed)
        except OSError as exc:
            return _all(changes, LimitFaultKind.UNREACHABLE, f"{self.service} does not answer ({exc})")
        trouble = ""
        if told is None:
            ended = run_limited(
                self.command, timeout_s=self.limit_s, most_bytes=MOST_BYTES, environment=dict(os.environ), given=packed
            )
            told, trouble = ended.output, ended.trouble or ("" if not ended.code else f"ended with {ended.code}")
        try:
            answers = unpack_answers(told)
        except ValueError:
            why = f"the program that sets power limits {trouble or 'gave no answer'}"
            return _all(changes, LimitFaultKind.UNREACHABLE, why)
        lacking = [change for change in changes if change.device not in answers]
        return {**_all(lacking, LimitFaultKind.UNREACHABLE, "there is no answer about it"), **answers}

    def _asked_of_service(self, packed: bytes) -> bytes | None:
        """Return what the privileged helper answers; None where there is none, or it is not for this user."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(self.limit_s)
            try:
                line.connect(str(self.service))
            except (FileNotFoundError, PermissionError, ConnectionRefusedError):
                return None
            line.sendall(packed)
            line.shutdown(socket.SHUT_WR)
            told = b""
            while len(told) <= MOST_BYTES and (more := line.recv(1 << 16)):
                told += more
            return told


def _all(changes: Sequence[LimitChange], kind: LimitFaultKind, why: str) -> dict[str, LimitAnswer]:
    return {change.device: LimitFault(kind=kind, why=why) for change in changes}
